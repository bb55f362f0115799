# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What happens around the iterations of a training: seeding, progress, history, image grids."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from ignite.engine import Events
from ignite.exceptions import NotComputableError
from ignite.handlers import EMAHandler, ProgressBar
from ignite.metrics import Average
from torch.optim.swa_utils import get_ema_multi_avg_fn

from seq2seq_mri.files import atomic_path
from seq2seq_mri.training.distributed import rank
from seq2seq_mri.training.training_figures import training_grid

__all__ = [
    "EpochSeed",
    "LossProgressBar",
    "SubjectAverage",
    "SubjectProgressBar",
    "TrainingHistory",
    "TranslationImageHandler",
    "WeightAverage",
    "loss_terms",
]


def loss_terms(output: dict[str, Any]) -> dict[str, float]:
    """Return the numbers of a trainer's output, the loss and its terms; this waits for the device."""
    return {name: float(value) for name, value in _numbers(output).items()}


def _numbers(output: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in output.items()
        if isinstance(value, float) or (isinstance(value, torch.Tensor) and value.ndim == 0)
    }


class WeightAverage(EMAHandler):
    """ignite's moving average of a network's weights, in one fused operation instead of two for each parameter."""

    @torch.no_grad()
    def _update_ema_model(self, engine: Any, name: str) -> None:
        average = get_ema_multi_avg_fn(1.0 - getattr(engine.state, name))
        average(list(self.ema_model.parameters()), list(self.model.parameters()), None)
        for mine, theirs in zip(self.ema_model.buffers(), self.model.buffers(), strict=True):
            mine.copy_(theirs)


class SubjectAverage(Average):
    """The mean of a number over the subjects of a validation; a subject that has no such number does not count.

    Args:
        name: of the number in a TranslationEvaluator's output, for example ``"psnr_foreground"`` (dB): the mean over
            the subject's pairs of two different sequences.

    Raises:
        ValueError: when it is computed and no subject had the number; it says why.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._failures: list[tuple[str, str]] = []
        super().__init__(output_transform=lambda output: output[name])

    def iteration_completed(self, engine: Any) -> None:
        """Take in a subject's number, if it has one."""
        self._failures = getattr(engine, "failures", [])
        if self.name in engine.state.output:
            super().iteration_completed(engine)

    def compute(self) -> Any:
        """Return the mean over the subjects of all processes."""
        try:
            return super().compute()
        except NotComputableError as error:
            if self._failures:
                listed = "\n".join(f"  {subject}: {reason}" for subject, reason in self._failures)
                raise ValueError(f"No subject could be measured, so there is no {self.name}:\n{listed}") from error
            raise ValueError(
                f"No subject has two measured sequences, so there is no {self.name} to average; "
                "put a subject with two or more sequences into the datalist's section."
            ) from error


class EpochSeed:
    """Seeds all randomness at the start of each epoch from (seed, epoch, process).

    An epoch then does not depend on those before it, so that a training which is resumed after epoch n takes the same
    random choices in epoch n + 1 as one that was never interrupted.

    Args:
        seed: the training's seed.
        dataset: a dataset with ``set_epoch``, whose random transforms follow the epoch.
    """

    def __init__(self, seed: int, dataset: Any = None) -> None:
        self.seed = seed
        self.dataset = dataset

    def attach(self, engine: Any) -> None:
        """Seed before the epoch's data are asked for."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Any) -> None:
        seed = int(np.random.SeedSequence([self.seed, engine.state.epoch, rank()]).generate_state(1)[0])
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 -- transforms of other libraries draw from the global generator
        torch.manual_seed(seed)
        if self.dataset is not None:
            self.dataset.set_epoch(engine.state.epoch)


class LossProgressBar(ProgressBar):
    """A progress bar over the iterations of each epoch, showing the loss and its terms; process 0 only.

    Args:
        interval: iterations between two looks at the numbers, each of which waits for the device.
    """

    def __init__(self, interval: int = 1) -> None:
        super().__init__()
        self.interval = interval
        self._shown: dict[str, float] = {}

    def attach(self, engine: Any) -> None:  # type: ignore[override]
        """Attach to ``engine``."""

        def numbers(output: dict[str, Any]) -> dict[str, float]:
            if engine.state.iteration % self.interval == 0:
                self._shown = loss_terms(output) | {"skipped": int(getattr(engine, "skipped", 0))}
            return self._shown

        if rank() == 0:
            super().attach(engine, output_transform=numbers)


class SubjectProgressBar(ProgressBar):
    """A progress bar over the subjects of an evaluation or inference; process 0 only."""

    def __init__(self) -> None:
        super().__init__(desc="subjects", persist=True)

    def attach(self, engine: Any) -> None:  # type: ignore[override]
        """Attach to ``engine``."""
        if rank() == 0:
            super().attach(engine)


class TrainingHistory:
    """Keeps every epoch's mean losses, learning rate and validation metrics, and writes them as ``history.csv``.

    The learning rate is that of the epoch's first iteration; the losses are those of process 0. ``skipped`` is how many
    steps of the epoch had a gradient that was not finite; the other means are over the steps that had a finite one.

    Args:
        directory: where to write.
        optimizer: whose learning rate is recorded.
        evaluator: the validation engine, attached before this handler.
    """

    def __init__(self, directory: str | Path, optimizer: torch.optim.Optimizer, evaluator: Any = None) -> None:
        self.path = Path(directory) / "history.csv"
        self.optimizer = optimizer
        self.evaluator = evaluator
        self.rows: list[dict[str, float]] = []
        self._values: dict[str, list[torch.Tensor]] = {}
        self._learning_rate = float("nan")

    def attach(self, engine: Any) -> None:
        """Accumulate over iterations; write at each epoch's end."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)

    def state_dict(self) -> dict[str, Any]:
        """Return the rows so far."""
        return {"rows": [dict(row) for row in self.rows]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after the rows of ``state``."""
        self.rows = [dict(row) for row in state["rows"]]

    def _start(self, engine: Any) -> None:
        self._values = {}
        self._learning_rate = float(self.optimizer.param_groups[0]["lr"])

    def _add(self, engine: Any) -> None:
        for name, value in _numbers(engine.state.output).items():
            self._values.setdefault(name, []).append(torch.as_tensor(value))

    def _write(self, engine: Any) -> None:
        row = {"epoch": float(engine.state.epoch), "learning_rate": self._learning_rate}
        for name, values in self._values.items():
            numbers = torch.stack(values).double().cpu()
            finite = numbers[numbers.isfinite()]
            row[name] = float(numbers.sum() if name == "skipped" else finite.mean())
        if self.evaluator is not None and self.evaluator.state.epoch == engine.state.epoch:
            row |= {name: float(value) for name, value in self.evaluator.state.metrics.items()}
        self.rows.append(row)
        if rank() == 0:
            with atomic_path(self.path, overwrite=True) as temporary:
                pd.DataFrame(self.rows).to_csv(temporary, index=False)


class TranslationImageHandler:
    """Adds a grid of source, target, synthesised image and error to TensorBoard at the end of an epoch.

    Args:
        summary_writer: a TensorBoard ``SummaryWriter``.
        interval: epochs between two grids.
        rows: most translations to show.
    """

    def __init__(self, summary_writer: Any, interval: int = 1, rows: int = 4) -> None:
        self.summary_writer = summary_writer
        self.interval = interval
        self.rows = rows

    def attach(self, engine: Any) -> None:
        """Draw the last iteration of every ``interval``-th epoch."""
        engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), self)

    def __call__(self, engine: Any) -> None:
        output = engine.state.output["translation"]
        if not output.translations:
            return
        group = output.translations[0]
        shown = slice(0, self.rows)
        subject = output.encodings.subject[group.encoding][shown]
        source = output.encodings.source[group.encoding][shown]
        image = engine.state.output["image"]
        sources = [engine.step.view(image, subject[k : k + 1], source[k : k + 1]) for k in range(len(subject))]
        timepoints = min(view.shape[1] for view in sources)
        grid = training_grid(
            torch.cat([view[:, :timepoints] for view in sources]).float(),
            engine.step.view(image, subject, group.target[shown]).float(),
            group.prediction[shown].detach().float(),
            spatial_dims=engine.step.generator.spatial_dims,
            max_rows=self.rows,
        )
        self.summary_writer.add_image("source | target | synthesised | error", grid, engine.state.epoch)
