# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Handlers of a training: seeds, averages of weights and metrics, progress bars, history.csv, a check of the loss."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from ignite.engine import Engine, Events
from ignite.exceptions import NotComputableError
from ignite.handlers import EMAHandler, ProgressBar
from ignite.metrics import Average
from torch.optim.swa_utils import get_ema_multi_avg_fn

from seq2seq_mri.files import atomic_path
from seq2seq_mri.training.distributed import rank
from seq2seq_mri.training.subject_dataset import SubjectDataset

__all__ = [
    "EpochSeed",
    "FiniteLoss",
    "LossProgressBar",
    "SubjectAverage",
    "SubjectProgressBar",
    "TrainingHistory",
    "WeightAverage",
    "loss_terms",
]


def loss_terms(output: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a trainer's output, the loss and its terms; this waits for the device."""
    return {name: float(value) for name, value in _numbers(output).items()}


def _numbers(output: Mapping[str, Any]) -> dict[str, float | torch.Tensor]:
    return {
        name: value
        for name, value in output.items()
        if isinstance(value, float) or (isinstance(value, torch.Tensor) and value.ndim == 0)
    }


class WeightAverage(EMAHandler):
    """ignite's moving average of a network's weights, in one fused operation instead of two for each parameter."""

    @torch.no_grad()
    def _update_ema_model(self, engine: Engine, name: str) -> None:
        average = get_ema_multi_avg_fn(1.0 - getattr(engine.state, name))
        average(list(self.ema_model.parameters()), list(self.model.parameters()), None)
        for mine, theirs in zip(self.ema_model.buffers(), self.model.buffers(), strict=True):
            mine.copy_(theirs)


class SubjectAverage(Average):
    """The mean of a number over the subjects of a validation; a subject that has no such number does not count.

    Args:
        name: of the number in a TranslationEvaluator's output, for example ``"psnr_foreground"`` (dB): the mean over
            the subject's pairs of two different sequences.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._failures: list[tuple[str, str]] = []
        super().__init__(output_transform=lambda output: output[name])

    def iteration_completed(self, engine: Engine) -> None:
        """Take in a subject's number, if it has one."""
        self._failures = getattr(engine, "failures", [])
        output: Any = engine.state.output
        if self.name in output:
            super().iteration_completed(engine)

    def compute(self) -> float | torch.Tensor:
        """Return the mean over the subjects of all processes.

        Raises:
            ValueError: when no subject had the number; it says why.
        """
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


class FiniteLoss:
    """Stops a training when a loss is not finite, and gives the loss to other handlers as a plain number."""

    def attach(self, engine: Engine) -> None:
        """Look at the loss after every iteration."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        state: Any = engine.state
        loss = state.output["loss"].detach().item()
        if not math.isfinite(loss):
            raise ValueError(
                f"The loss is {loss} in iteration {state.iteration}; lower the learning rate, or check the images of "
                f"{', '.join(state.batch.get('subject', []))}."
            )
        # MONAI's keys are members of an enumeration, which a checkpoint of the history could not be read back with.
        state.output = {**{str(name): value for name, value in state.output.items()}, "loss": loss}


class EpochSeed:
    """Seeds all randomness at the start of each epoch from (seed, epoch, process).

    An epoch then does not depend on those before it, so that a training which is resumed after epoch n takes the same
    random choices in epoch n + 1 as one that was never interrupted.

    Args:
        seed: the training's seed.
        dataset: whose random transforms follow the epoch.
    """

    def __init__(self, seed: int, dataset: SubjectDataset | None = None) -> None:
        self.seed = seed
        self.dataset = dataset

    def attach(self, engine: Engine) -> None:
        """Seed before the epoch's data are asked for."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
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

    def attach(self, engine: Engine) -> None:  # type: ignore[override]
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

    def attach(self, engine: Engine) -> None:  # type: ignore[override]
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

    def __init__(
        self, directory: str | Path, optimizer: torch.optim.Optimizer, evaluator: Engine | None = None
    ) -> None:
        self.path = Path(directory) / "history.csv"
        self.optimizer = optimizer
        self.evaluator = evaluator
        self.rows: list[dict[str, float]] = []
        self._values: dict[str, list[torch.Tensor]] = {}
        self._learning_rate = float("nan")

    def attach(self, engine: Engine) -> None:
        """Accumulate over iterations; write at each epoch's end."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)

    def state_dict(self) -> dict[str, Any]:
        """Return the rows so far."""
        return {"rows": [dict(row) for row in self.rows]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on after the rows of ``state``."""
        self.rows = [dict(row) for row in state["rows"]]

    def _start(self, engine: Engine) -> None:
        self._values = {}
        self._learning_rate = float(self.optimizer.param_groups[0]["lr"])

    def _add(self, engine: Engine) -> None:
        output: Any = engine.state.output
        for name, value in _numbers(output).items():
            self._values.setdefault(name, []).append(torch.as_tensor(value))

    def _write(self, engine: Engine) -> None:
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
