# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""nnU-Net trained on one combination of sequences with one seed and fold, its predictions and their scores."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from seq2seq_studies.segmentation.combination import Combination
from seq2seq_studies.segmentation.nnunet import PLANS, NnunetJob, run_nnunet
from seq2seq_studies.segmentation.segmentation_scores import score_predictions
from seq2seq_studies.segmentation.segmentation_table import SCORE_NUMBERS, SCORE_TEXT
from seq2seq_studies.segmentation.subjects import SegmentationSubject
from seq2seq_studies.study_run import StudyRun

__all__ = ["CombinationRun"]


@dataclass
class CombinationRun(StudyRun):
    """A training in a combination's folder.

    There, ``nnunet/`` holds nnU-Net's own three folders; ``seed_S_fold_F/`` the ``predictions`` of the test subjects,
    in nested labels, ``scores.csv``, and ``training.json`` with seconds, machine and date; ``seed_S_fold_F.log`` what
    nnU-Net printed.

    Args:
        job: how to train, and where.
        combination: the sequences.
        testing: the subjects to test on.
        convention: numbering of the segmentations.
    """

    job: NnunetJob
    combination: Combination
    testing: Sequence[SegmentationSubject]
    convention: str

    text, numbers = SCORE_TEXT, SCORE_NUMBERS
    packages = ("torch", "monai", "nnunetv2")

    def __post_init__(self) -> None:
        self.folder, self.length = self.job.results, self.job.settings.epochs
        self.label = f"{self.combination.name}, seed {self.job.seed}, fold {self.job.fold}"

    def run(self, progress: Callable[[int], object]) -> None:
        """Train, predict and score, or what of it is left."""
        job = self.job
        run_nnunet(job, progress)
        plans = json.loads((job.preprocessed / f"{PLANS}.json").read_text(encoding="utf-8"))
        planned = plans["configurations"][job.settings.configuration]
        folders = {"preprocessing": job.preprocessed, "training": job.model / f"fold_{job.fold}"}
        folders["prediction"] = self.folder / "predictions"
        facts = {
            "patch": planned["patch_size"],
            "batch_size": planned["batch_size"],
            "features": planned["architecture"]["arch_kwargs"]["features_per_stage"],
            "seconds": {
                step: json.loads((path / "seconds.json").read_text(encoding="utf-8"))["seconds"]
                for step, path in folders.items()
            },
        }
        self.write_facts(facts, job.settings.used_device)
        scores = score_predictions(self.testing, folders["prediction"], self.convention)
        self.write_scores(scores.assign(combination=self.combination.name, seed=job.seed, fold=job.fold))
