# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""All runs of a comparison: every method with every budget and seed, and the two baselines."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from tqdm import tqdm

from seq2seq_mri.files import atomic_path
from seq2seq_studies.comparison.comparison_cohort import Cohort, TrainingBatches
from seq2seq_studies.comparison.costs import CostMeasurement, measure_costs
from seq2seq_studies.comparison.method_run import MethodRun, TrainingSettings
from seq2seq_studies.comparison.methods import BASELINES, title
from seq2seq_studies.comparison.quality_comparison import UNTRAINED
from seq2seq_studies.comparison.trivial import CopySource, TissueMean

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

    Where patients are left out in turn, each of these folders has one for each of them.

    Args:
        folder: of the comparison.
        cohorts: who is trained and tested on: one division of the subjects, or several.
        settings: what trainings have in common.
        methods: keys of ``METHODS``.
        budgets: how long is trained.
        seeds: of the trainings.
        batch_size: subjects of a step.
    """

    def __init__(
        self,
        folder: Path,
        cohorts: Sequence[Cohort],
        settings: TrainingSettings,
        methods: Sequence[str],
        budgets: Sequence[Budget],
        seeds: Sequence[int],
        batch_size: int,
    ) -> None:
        self.folder = folder
        self.cohorts = list(cohorts)
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
        return [run for run, _ in self._with_cohorts()]

    def steps(self, method: str, budget: Budget) -> int:
        """Return how many steps of a method a budget is; :meth:`measure_costs` has to have been called."""
        if budget.unit == "steps":
            return int(budget.amount)
        return max(1, int(budget.amount / self.costs[method]["training_seconds"]))

    def run(self, lpips: Any = None) -> None:
        """Train and evaluate what is not done."""
        runs = self._with_cohorts()
        with tqdm(total=sum(run.steps for run, _ in runs), desc="Training", unit="step") as bar:
            done = 0
            for run, cohort in runs:
                if not run.is_done():
                    where = [title(run.method), run.budget, f"seed {run.seed}"]
                    bar.set_postfix_str(", ".join(where + ([cohort.name] if len(self.cohorts) > 1 else [])))
                    self._run(run, cohort, lpips, partial(_show_progress, bar, done))
                done += run.steps
                bar.update(done - bar.n)

    def scores(self) -> pd.DataFrame:
        """Return the scores of all runs."""
        return pd.concat([run.scores() for run in self.all()], ignore_index=True)

    @property
    def volume_shape(self) -> tuple[int, int, int]:
        """Shape of the first test subject's volume, on which costs are measured."""
        if self.costs:
            shape = next(iter(self.costs.values()))["volume"]
        else:
            shape = self.cohorts[0].test_volumes[0]["image"].shape[1:]
        return tuple(int(length) for length in shape)  # type: ignore[return-value]

    def _with_cohorts(self) -> list[tuple[MethodRun, Cohort]]:
        """Return all runs with the subjects that each is trained and tested on."""
        planned = [("baselines", name, UNTRAINED, 0, 0) for name in BASELINES]
        for budget in self.budgets:
            for seed in self.seeds:
                planned += [(budget.folder, name, budget.name, self.steps(name, budget), seed) for name in self.methods]
        runs = []
        for group, method, budget_name, steps, seed in planned:
            folder = self.folder / group / method
            if group != "baselines":
                folder /= f"seed_{seed}"
            for cohort in self.cohorts:
                inside = folder / cohort.name if len(self.cohorts) > 1 else folder
                runs.append((MethodRun(inside, method, budget_name, steps, seed), cohort))
        return runs

    def _run(self, run: MethodRun, cohort: Cohort, lpips: Any, progress: Callable[[int], object]) -> None:
        if run.method == "copy":
            complete: Any = CopySource(cohort.sequences)
        elif run.method == "tissue_mean":
            complete = TissueMean(cohort.sequences).fit(cohort.volumes(cohort.training))
        else:
            # The images are read once, whatever the seed.
            cohort.patch_data.seed = run.seed
            batches = TrainingBatches(cohort.patch_data, self.batch_size, run.seed)
            complete = run.train(self.settings, batches, progress)
        run.evaluate(complete, cohort.test_volumes, cohort.sequences, lpips, self.settings.device)

    def _measurement(self, method: str) -> CostMeasurement:
        settings = self.settings
        batch = self.batch_size * self.cohorts[0].patches
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


def _show_progress(bar: tqdm, before: int, steps: int) -> None:
    """Show the steps of a training, with those of the trainings before."""
    bar.update(before + steps - bar.n)
