# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""One method with one budget and one seed: trained and evaluated where that is not done."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from seq2seq_mri.evaluation.page import describe_machine
from seq2seq_mri.evaluation.records import read_records, write_records
from seq2seq_mri.files import atomic_path
from seq2seq_mri.training.checkpoint import load_weights, save_weights
from seq2seq_studies.comparison.completion import complete_volume
from seq2seq_studies.comparison.method_evaluation import Complete, Evaluation, evaluate_subjects
from seq2seq_studies.comparison.quality_comparison import COMPARISON_NUMBERS, COMPARISON_TEXT
from seq2seq_studies.comparison.recipes import build_recipe
from seq2seq_studies.comparison.training import Batches, MethodTraining

__all__ = ["MethodRun", "TrainingSettings"]


@dataclass(frozen=True)
class TrainingSettings:
    """What the trainings have in common.

    Attributes:
        size: key of ``SIZES``.
        sequences: the sequence table.
        slices: adjacent slices that a network is given.
        patch: width and height of the patches.
        learning_rate: at the start.
        slice_batch_size: slices that are completed together.
        device: ``cpu`` or ``cuda``.
    """

    size: str
    sequences: dict[str, int]
    slices: int
    patch: tuple[int, int]
    learning_rate: float
    slice_batch_size: int
    device: str


class MethodRun:
    """The folder of a run.

    It holds ``last.pt`` while the training is under way, then ``weights.pt``; ``training.json`` with steps, seconds,
    machine and date; ``views.npz``, a slice of the first test subject; and ``scores.csv``, which is written last.

    Args:
        folder: of the run.
        method: key of ``METHODS`` or ``BASELINES``.
        budget: as it stands in the table.
        steps: length of the training, 0 for a baseline.
        seed: of the training.
    """

    def __init__(self, folder: Path, method: str, budget: str, steps: int, seed: int) -> None:
        self.folder = folder
        self.method = method
        self.budget = budget
        self.steps = steps
        self.seed = seed

    def is_done(self) -> bool:
        """Tell whether this run is scored."""
        return (self.folder / "scores.csv").is_file()

    def train(
        self, settings: TrainingSettings, batches: Batches, progress: Callable[[int], object] = lambda step: None
    ) -> Complete:
        """Train, or what of it is left; returns what completes volumes.

        Raises:
            ValueError: when files of an earlier run belong to another network, or a loss is not finite.
        """
        recipe = build_recipe(
            self.method,
            settings.size,
            settings.sequences,
            settings.slices,
            settings.patch,
            self.steps,
            self.seed,
        ).to(torch.device(settings.device))
        weights, last = self.folder / "weights.pt", self.folder / "last.pt"
        if weights.is_file():
            load_weights(recipe.network, weights)
            progress(self.steps)
        else:
            training = MethodTraining(recipe, batches, self.steps, self.seed, settings.learning_rate, last)
            training.run(progress)
            self._write_facts({"steps": self.steps, "seconds": training.seconds}, settings.device)
            save_weights(recipe.network, weights)
            last.unlink(missing_ok=True)
        return partial(complete_volume, recipe.network.eval(), slice_batch_size=settings.slice_batch_size)

    def evaluate(
        self,
        complete: Complete,
        subjects: Iterable[Mapping[str, Any]],
        sequences: Mapping[str, int],
        lpips: Any = None,
        device: str = "cpu",
    ) -> None:
        """Measure the test subjects, and write the results."""
        evaluation = evaluate_subjects(complete, subjects, sequences, lpips)
        if not (self.folder / "training.json").is_file():
            self._write_facts({"steps": 0, "seconds": 0.0}, device)
        self._write_views(evaluation)
        run = {"budget": self.budget, "method": self.method, "seed": float(self.seed)}
        table = pd.DataFrame([run | row for row in evaluation.rows])[[*COMPARISON_TEXT, *COMPARISON_NUMBERS]]
        write_records(self.folder / "scores.csv", table, overwrite=True)

    def scores(self) -> pd.DataFrame:
        """Return the scores of a run that is done."""
        return read_records(self.folder / "scores.csv", COMPARISON_TEXT, COMPARISON_NUMBERS)

    def facts(self) -> dict[str, Any]:
        """Return steps, seconds, machine and date of a run that is done."""
        return json.loads((self.folder / "training.json").read_text(encoding="utf-8"))

    def views(self) -> dict[str, np.ndarray]:
        """Return the slices of the first test subject, see :class:`Evaluation`."""
        with np.load(self.folder / "views.npz", allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}

    def _write_views(self, evaluation: Evaluation) -> None:
        with atomic_path(self.folder / "views.npz", overwrite=True) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **evaluation.views)  # type: ignore[arg-type]

    def _write_facts(self, facts: Mapping[str, Any], device: str) -> None:
        date = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
        content = {"method": self.method, "budget": self.budget, "seed": self.seed, **facts}
        content |= {"date": date, "machine": describe_machine(device)}
        with atomic_path(self.folder / "training.json", overwrite=True) as temporary:
            temporary.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")
