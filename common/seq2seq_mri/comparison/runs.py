# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""All runs of a comparison: every method with every budget and seed, and the two baselines."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from tqdm import tqdm

from seq2seq_mri.analysis.generator_comparison import UNTRAINED
from seq2seq_mri.comparison.cohort import Cohort, TrainingBatches
from seq2seq_mri.comparison.costs import CostMeasurement, measure_costs
from seq2seq_mri.comparison.method_run import MethodRun, TrainingSettings
from seq2seq_mri.comparison.methods import BASELINES, title
from seq2seq_mri.comparison.trivial import CopySource, TissueMean
from seq2seq_mri.data.subject_dataset import SubjectDataset
from seq2seq_mri.files import atomic_path

__all__ = ["Budget", "ComparisonRuns"]


class Budget(NamedTuple):
    """How long each method is trained: a number of ``steps``, or of ``seconds``."""

    unit: str
    amount: float

    @property
    def name(self) -> str:
        """The budget as it stands in tables: ``1000 steps``."""
        return f"{self.amount:g} {self.unit}"

    @property
    def folder(self) -> str:
        """A name for a folder."""
        return f"{self.unit}_{self.amount:g}"


class ComparisonRuns:
    """The runs, in the folders ``BUDGET/METHOD/seed_SEED`` and ``baselines/METHOD``, and the costs in ``costs``.

    Args:
        folder: of the comparison.
        cohort: the subjects.
        settings: what trainings have in common.
        methods: keys of ``METHODS``.
        budgets: how long is trained.
        seeds: of the trainings.
        batch_size: subjects of a step.
    """

    def __init__(
        self,
        folder: Path,
        cohort: Cohort,
        settings: TrainingSettings,
        methods: Sequence[str],
        budgets: Sequence[Budget],
        seeds: Sequence[int],
        batch_size: int,
    ) -> None:
        self.folder = folder
        self.cohort = cohort
        self.settings = settings
        self.methods = list(methods)
        self.budgets = list(budgets)
        self.seeds = list(seeds)
        self.batch_size = batch_size
        self.costs: dict[str, dict[str, Any]] = {}

    def measure_costs(self) -> None:
        """Measure what each method costs, where that is not done; :attr:`costs` has the results."""
        with tqdm(self.methods, desc="Costs", unit="method") as bar:
            for method in bar:
                bar.set_postfix_str(title(method))
                path = self.folder / "costs" / f"{method}.json"
                if not path.is_file():
                    self._write_costs(path, measure_costs(self._measurement(method)))
                self.costs[method] = json.loads(path.read_text(encoding="utf-8"))

    def all(self) -> list[MethodRun]:
        """Return all runs: the baselines, then by budget and seed first, so that a stopped job has all methods."""
        runs = [MethodRun(self.folder / "baselines" / name, name, UNTRAINED, 0, 0) for name in BASELINES]
        for budget in self.budgets:
            for seed in self.seeds:
                for method in self.methods:
                    folder = self.folder / budget.folder / method / f"seed_{seed}"
                    runs.append(MethodRun(folder, method, budget.name, self.steps(method, budget), seed))
        return runs

    def steps(self, method: str, budget: Budget) -> int:
        """Return how many steps of a method a budget is; :meth:`measure_costs` has to have been called."""
        if budget.unit == "steps":
            return int(budget.amount)
        return max(1, int(budget.amount / self.costs[method]["training_seconds"]))

    def run(self, lpips: Any = None) -> None:
        """Train and evaluate what is not done."""
        runs = self.all()
        with tqdm(total=sum(run.steps for run in runs), desc="Training", unit="step") as bar:
            done = 0
            for run in runs:
                if not run.is_done():
                    bar.set_postfix_str(f"{title(run.method)}, {run.budget}, seed {run.seed}")
                    self._run(run, lpips, lambda step, done=done: bar.update(done + step - bar.n))  # type: ignore[misc]
                done += run.steps
                bar.update(done - bar.n)

    def scores(self) -> pd.DataFrame:
        """Return the scores of all runs."""
        return pd.concat([run.scores() for run in self.all()], ignore_index=True)

    @cached_property
    def volumes(self) -> Sequence[Mapping[str, Any]]:
        """The test subjects as whole volumes."""
        return self.cohort.volumes(self.cohort.testing)

    @property
    def volume_shape(self) -> tuple[int, int, int]:
        """Shape of the first test subject's volume, on which costs are measured."""
        shape = next(iter(self.costs.values()))["volume"] if self.costs else self.volumes[0]["image"].shape[1:]
        return tuple(int(length) for length in shape)  # type: ignore[return-value]

    def _run(self, run: MethodRun, lpips: Any, progress: Callable[[int], object]) -> None:
        if run.method == "copy":
            complete: Any = CopySource(self.cohort.sequences)
        elif run.method == "tissue_mean":
            complete = TissueMean(self.cohort.sequences).fit(self.cohort.volumes(self.cohort.training))
        else:
            complete = run.train(self.settings, self._batches(run.seed), progress)
        run.evaluate(complete, self.volumes, self.cohort.sequences, lpips, self.settings.device)

    def _batches(self, seed: int) -> Callable[[int], Any]:
        # The images are read once, whatever the seed.
        self._patches.seed = seed
        return TrainingBatches(self._patches, self.batch_size, seed)

    @cached_property
    def _patches(self) -> SubjectDataset:
        return self.cohort.training_data()

    def _measurement(self, method: str) -> CostMeasurement:
        settings = self.settings
        batch = self.batch_size * self.cohort.patches
        return CostMeasurement(
            method,
            settings.size,
            settings.sequences,
            settings.slices,
            settings.patch,
            batch,
            self.volume_shape,
            settings.slice_batch_size,
            settings.device,
        )

    def _write_costs(self, path: Path, costs: dict[str, Any]) -> None:
        content = costs | {"volume": list(self.volume_shape)}
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")
