# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""All trainings and evaluations of a comparison: each method with each budget and seed, and the two baselines."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from seq2seq_mri.evaluation.image_quality.lpips import SliceLPIPS
from seq2seq_mri.files import atomic_path
from seq2seq_mri.training.checkpoint import load_weights, save_weights
from seq2seq_studies.comparison.comparison_cohort import Cohort, TrainingBatches
from seq2seq_studies.comparison.comparison_settings import Budget, ComparisonSettings
from seq2seq_studies.comparison.completion import Complete, TissueMean, complete_volume, copy_sources
from seq2seq_studies.comparison.costs import measure_costs
from seq2seq_studies.comparison.method_evaluation import evaluate_subjects
from seq2seq_studies.comparison.methods import BASELINES, title
from seq2seq_studies.comparison.quality_comparison import COMPARISON_NUMBERS, COMPARISON_TEXT, UNTRAINED
from seq2seq_studies.comparison.recipes import build_recipe
from seq2seq_studies.comparison.resources import in_fresh_process
from seq2seq_studies.comparison.training import MethodTraining
from seq2seq_studies.study_run import Facts, StudyRun, run_all, write_json
from seq2seq_studies.study_settings import whole_numbers

__all__ = ["ComparisonRuns", "MethodRun"]


@dataclass
class MethodRun(StudyRun):
    """A method, or baseline, with one budget, seed and cohort.

    Its folder holds ``last.pt`` while the training is under way, then ``weights.pt``; ``training.json`` with steps,
    seconds, machine and date; ``views.npz``, a slice of the first test subject; and ``scores.csv``.

    Args:
        folder: of the run.
        method: key of ``METHODS`` or ``BASELINES``.
        budget: as it stands in the table.
        length: of the training in steps, 0 for a baseline.
        seed: of the training.
        cohort: who is trained and tested on.
        settings: the options of the comparison.
        lpips: measures LPIPS.
    """

    folder: Path
    method: str
    budget: str
    length: int
    seed: int
    cohort: Cohort
    settings: ComparisonSettings
    lpips: SliceLPIPS

    text, numbers = COMPARISON_TEXT, COMPARISON_NUMBERS

    def __post_init__(self) -> None:
        where = [title(self.method), self.budget, f"seed {self.seed}"]
        self.label = ", ".join(where + ([self.cohort.name] if self.cohort.name != "all" else []))

    def run(self, progress: Callable[[int], object]) -> None:
        """Train, or what of it is left, and measure the test subjects."""
        cohort = self.cohort
        if self.method == "copy":
            complete: Complete = partial(copy_sources, cohort.sequences)
        elif self.method == "tissue_mean":
            complete = TissueMean(cohort.sequences).fit(cohort.volumes(cohort.training))
        else:
            complete = self._train(progress)
        rows, views = evaluate_subjects(complete, cohort.test_volumes, cohort.sequences, self.lpips)
        if not (self.folder / "training.json").is_file():
            self._write_facts(0.0)
        with atomic_path(self.folder / "views.npz", overwrite=True) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **views)  # type: ignore[arg-type]
        scores = pd.DataFrame(rows)
        self.write_scores(scores.assign(budget=self.budget, method=self.method, seed=float(self.seed)))

    def views(self) -> dict[str, np.ndarray]:
        """Return the slices of the first test subject, see :func:`evaluate_subjects`."""
        with np.load(self.folder / "views.npz", allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}

    def _train(self, progress: Callable[[int], object]) -> Complete:
        settings, sequences = self.settings, self.cohort.sequences
        recipe = build_recipe(
            self.method, settings.size, sequences, settings.slices, settings.slice_size, self.length, self.seed
        ).to(torch.device(settings.used_device))
        weights, last = self.folder / "weights.pt", self.folder / "last.pt"
        if weights.is_file():
            load_weights(recipe.network, weights)
            progress(self.length)
        else:
            batches = TrainingBatches(self.cohort.patch_data, settings.batch_size, self.seed)
            training = MethodTraining(recipe, batches, self.length, self.seed, settings.rate, last)
            training.run(progress)
            self._write_facts(training.seconds)
            save_weights(recipe.network, weights)
            last.unlink(missing_ok=True)
        return partial(complete_volume, recipe.network.eval(), slice_batch_size=settings.slice_batch_size)

    def _write_facts(self, seconds: float) -> None:
        facts = {"method": self.method, "budget": self.budget, "seed": self.seed}
        self.write_facts({**facts, "steps": self.length, "seconds": seconds}, self.settings.used_device)


class ComparisonRuns:
    """The runs, in the folders ``BUDGET/METHOD/seed_SEED`` and ``baselines/METHOD``, and what each method costs.

    Where patients are left out in turn, each of these folders has one for each of them. The costs are measured first,
    where that is not done: a number of steps may depend on them.

    Args:
        folder: of the comparison.
        cohorts: who is trained and tested on: one division of the subjects, or several.
        settings: the options of the comparison.
        lpips: measures LPIPS.

    Attributes:
        costs: by method, see :func:`measure_costs`.
        volume: shape of the first test subject's volume, on which costs are measured.
        all: the baselines, then by budget and seed first, so that a stopped job has all methods.
    """

    def __init__(
        self, folder: Path, cohorts: Sequence[Cohort], settings: ComparisonSettings, lpips: SliceLPIPS
    ) -> None:
        self.cohorts = list(cohorts)
        self.settings = settings
        self.lpips = lpips
        self.seeds = whole_numbers(settings.seeds, "seeds")
        self.costs = self._costs(folder / "costs")
        self.volume: list[int] = next(iter(self.costs.values()))["volume"]
        self.all: list[MethodRun] = []
        for name in BASELINES:
            self._plan(folder / "baselines" / name, name, UNTRAINED, 0, 0)
        for budget in settings.budgets:
            group = folder / f"{budget.unit}_{budget.amount:g}"
            for seed in self.seeds:
                for name in settings.chosen_methods:
                    self._plan(group / name / f"seed_{seed}", name, budget.name, self._steps(name, budget), seed)

    def run(self) -> None:
        """Train and evaluate what is not done."""
        run_all(self.all, "Training", "step")

    def scores(self) -> pd.DataFrame:
        """Return the scores of all runs."""
        return pd.concat([run.scores() for run in self.all], ignore_index=True)

    def _plan(self, folder: Path, method: str, budget: str, steps: int, seed: int) -> None:
        for cohort in self.cohorts:
            inside = folder / cohort.name if len(self.cohorts) > 1 else folder
            self.all.append(MethodRun(inside, method, budget, steps, seed, cohort, self.settings, self.lpips))

    def _costs(self, folder: Path) -> dict[str, Facts]:
        costs: dict[str, Facts] = {}
        first = self.cohorts[0]
        with tqdm(self.settings.chosen_methods, desc="Costs", unit="method") as bar:
            for method in bar:
                bar.set_postfix_str(title(method))
                path = folder / f"{method}.json"
                if not path.is_file():
                    known = [cost["volume"] for cost in costs.values()]
                    volume = known[0] if known else list(map(int, first.test_volumes[0]["image"].shape[1:]))
                    measured = in_fresh_process(measure_costs, self.settings, method, first.sequences, volume)
                    write_json(path, measured | {"volume": volume})
                costs[method] = json.loads(path.read_text(encoding="utf-8"))
        return costs

    def _steps(self, method: str, budget: Budget) -> int:
        if budget.unit == "steps":
            return int(budget.amount)
        return max(1, int(budget.amount / self.costs[method]["training_seconds"]))
