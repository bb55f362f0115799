# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""One combination of sequences: exported, trained on, predicted and scored, each step only where it is not done."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd

from seq2seq_mri.evaluation.page import describe_machine
from seq2seq_mri.evaluation.records import read_records, write_records
from seq2seq_mri.files import atomic_path
from seq2seq_mri.io.grids import match_grid
from seq2seq_mri.io.read_nifti import read_volume
from seq2seq_studies.segmentation.brats_labels import regions_of
from seq2seq_studies.segmentation.combination import Combination
from seq2seq_studies.segmentation.export import export_combination
from seq2seq_studies.segmentation.nnunet_process import DATASET_ID, PLANS, TRAINER, nnunet_environment, run_nnunet
from seq2seq_studies.segmentation.segmentation_scores import mask_agreement
from seq2seq_studies.segmentation.segmentation_table import SCORE_NUMBERS, SCORE_TEXT
from seq2seq_studies.segmentation.subjects import SegmentationSubject, read_nested_labels
from seq2seq_studies.segmentation.training_plan import TrainingPlan

__all__ = ["CombinationRun", "score_predictions"]


class CombinationRun:
    """A combination's folder.

    ``nnunet/`` holds nnU-Net's own three folders; ``seed_S_fold_F/`` the ``predictions`` of the test subjects, in
    nested labels, ``scores.csv``, written last, and ``training.json`` with seconds, machine and date;
    ``seed_S_fold_F.log`` what nnU-Net printed.

    Args:
        folder: of the combination.
        combination: the sequences.
        sequences: the sequence table.
        training: the subjects to train on.
        testing: the subjects to test on.
        convention: numbering of the segmentations.
        plan: how to train.
        resample: whether images on other grids than the segmentation are resampled to it.
    """

    def __init__(
        self,
        folder: Path,
        combination: Combination,
        sequences: Mapping[str, int],
        training: Sequence[SegmentationSubject],
        testing: Sequence[SegmentationSubject],
        convention: str,
        plan: TrainingPlan,
        resample: bool = False,
    ) -> None:
        self.folder = folder
        self.combination = combination
        self.sequences = dict(sequences)
        self.training = list(training)
        self.testing = list(testing)
        self.convention = convention
        self.plan = plan
        self.resample = resample
        self.root = folder / "nnunet"
        self.dataset = f"Dataset{DATASET_ID:03d}_{combination.folder}"

    def export(self, progress: Callable[[], object] = lambda: None) -> None:
        """Write nnU-Net's raw data set, if it is not there."""
        raw = self.root / "raw" / self.dataset
        if not raw.exists():
            groups = self.training, self.testing
            export_combination(raw, self.combination, self.sequences, *groups, self.convention, self.resample, progress)

    def result(self, seed: int, fold: int) -> Path:
        """Return the folder of one training's results."""
        return self.folder / f"seed_{seed}_fold_{fold}"

    def is_done(self, seed: int, fold: int) -> bool:
        """Tell whether this training is scored."""
        return (self.result(seed, fold) / "scores.csv").is_file()

    def run(self, seed: int, fold: int, epoch_started: Callable[[int], object] = lambda epoch: None) -> None:
        """Train, predict and score, or what of it is left.

        Raises:
            ValueError: when nnU-Net fails.
        """
        result = self.result(seed, fold)
        job = {
            "root": str(self.root),
            "dataset": self.dataset,
            "fold": fold,
            "seed": seed,
            "trainer": TRAINER,
            "predictions": str(result / "predictions"),
            **{key: getattr(self.plan, key) for key in ("device", "configuration", "features", "patch", "batch_size")},
            **{key: getattr(self.plan, key) for key in ("workers", "mirroring")},
        }
        environment = nnunet_environment(self.root, seed, self.plan.epochs, self.plan.steps)
        run_nnunet(job, self.folder / f"{result.name}.log", environment, epoch_started)
        with atomic_path(result / "training.json", overwrite=True) as temporary:
            temporary.write_text(json.dumps(self._facts(seed, fold), indent=4) + "\n", encoding="utf-8")
        scores = score_predictions(self.testing, result / "predictions", self.convention)
        scores = scores.assign(combination=self.combination.name, seed=seed, fold=fold)
        write_records(result / "scores.csv", scores[[*SCORE_TEXT, *SCORE_NUMBERS]], overwrite=True)

    def scores(self, seed: int, fold: int) -> pd.DataFrame:
        """Return the scores of a training that is done."""
        return read_records(self.result(seed, fold) / "scores.csv", SCORE_TEXT, SCORE_NUMBERS)

    def facts(self, seed: int, fold: int) -> dict:
        """Return seconds, machine and date of a training that is done."""
        return json.loads((self.result(seed, fold) / "training.json").read_text(encoding="utf-8"))

    def _facts(self, seed: int, fold: int) -> dict:
        preprocessed = self.root / "preprocessed" / self.dataset
        model = self.root / "results" / f"seed_{seed}" / self.dataset / f"{TRAINER}__{PLANS}__{self.plan.configuration}"
        plans = json.loads((preprocessed / f"{PLANS}.json").read_text(encoding="utf-8"))
        planned = plans["configurations"][self.plan.configuration]
        return {
            "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
            "machine": describe_machine(self.plan.device, ("torch", "monai", "nnunetv2")),
            "patch": planned["patch_size"],
            "batch_size": planned["batch_size"],
            "features": planned["architecture"]["arch_kwargs"]["features_per_stage"],
            "seconds": {
                "preprocessing": _seconds(preprocessed),
                "training": _seconds(model / f"fold_{fold}"),
                "prediction": _seconds(self.result(seed, fold) / "predictions"),
            },
        }


def score_predictions(subjects: Sequence[SegmentationSubject], folder: Path, convention: str) -> pd.DataFrame:
    """Measure DSC and ASSD of ET, TC and WT of each subject.

    Args:
        subjects: with the true segmentations.
        folder: ``SUBJECT.nii.gz``, predicted nested labels on the grid of the true ones.
        convention: numbering of the true segmentations.

    Returns:
        Table with ``subject``, ``region``, ``empty``, ``dsc``, ``assd``.

    Raises:
        FileNotFoundError: when a prediction is missing.
        ValueError: when one cannot be read or is on another grid.
    """
    rows = []
    for subject in subjects:
        truth = read_nested_labels(subject, convention)
        prediction = read_volume(folder / f"{subject.name}.nii.gz", subject.name, allow_constant=True)
        predicted = regions_of(np.rint(match_grid(prediction, truth, subject.name, tolerance=0.01)[0]))
        spacing = nibabel.affines.voxel_sizes(truth.affine).tolist()
        for region, mask in regions_of(truth.voxels[0]).items():
            agreement = mask_agreement(predicted[region], mask, spacing)
            rows.append({"subject": subject.name, "region": region, **agreement._asdict()})
    return pd.DataFrame(rows)


def _seconds(folder: Path) -> float:
    return json.loads((folder / "seconds.json").read_text(encoding="utf-8"))["seconds"]
