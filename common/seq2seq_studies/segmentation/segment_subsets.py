# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The command ``python -m seq2seq_studies segment_subsets``, which compares nnU-Nets on fewer sequences (Table 3)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from seq2seq_mri.evaluation.page import command_line
from seq2seq_mri.files import check_writable_directory
from seq2seq_mri.io.datalists.datalist import names_in_list, read_sequence_table
from seq2seq_mri.run_manifest import claim_directory
from seq2seq_studies.segmentation.combination import Combination, default_combinations, parse_combinations
from seq2seq_studies.segmentation.export import export_combination
from seq2seq_studies.segmentation.nnunet import PLANS, NnunetJob, check_nnunet, run_nnunet
from seq2seq_studies.segmentation.segmentation_page import write_results
from seq2seq_studies.segmentation.segmentation_scores import score_predictions
from seq2seq_studies.segmentation.segmentation_settings import SegmentationSettings
from seq2seq_studies.segmentation.segmentation_table import SCORE_NUMBERS, SCORE_TEXT
from seq2seq_studies.segmentation.subjects import SegmentationSubject, find_convention, select_subjects
from seq2seq_studies.study_run import StudyRun, run_all
from seq2seq_studies.study_settings import command_of, whole_numbers

__all__ = ["segment_subsets"]

_GROUPS = ("training", "testing")
_LEAST_TRAINING = 5  # nnU-Net's cross-validation has five folds


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


@command_of(SegmentationSettings)
def segment_subsets(settings: SegmentationSettings) -> str:
    """Return the table in Markdown, or the path of the folder of combinations with ``export_only``.

    Raises:
        ValueError: when nnU-Net is not installed, there are too few subjects, one is trained and tested on, or
            ``output_dir`` holds results of another protocol.
    """
    if not settings.export_only:
        check_nnunet()
    sequences = read_sequence_table(settings.datalist)
    made = settings.synthesised_dir
    names = names_in_list(settings.combinations) or default_combinations(sequences, made is not None)
    combinations = parse_combinations(names, sequences)
    groups = {group: select_subjects(settings, getattr(settings, group), combinations) for group in _GROUPS}
    _check_subjects(groups)
    subjects = [subject for group in groups.values() for subject in group]
    convention = find_convention(subjects, settings.numbering)

    folder = check_writable_directory(settings.output_dir).resolve()
    protocol = folder / "protocol.json"
    names_of = {group: [subject.name for subject in chosen] for group, chosen in groups.items()}
    exported = {"labels": convention, "resample": settings.resample, **names_of}
    claim_directory(protocol, exported, resume=True, part="data")
    if not settings.export_only:
        claim_directory(protocol, settings.protocol(), resume=True, part="training")
    for one in combinations:
        if one.synthesised and made is not None:
            source = {"synthesised_dir": str(Path(made).expanduser().resolve())}
            claim_directory(folder / one.folder / "protocol.json", source, resume=True, part="data")
    # By seed and fold first: a stopped job has all combinations of the first of them.
    runs = [
        CombinationRun(NnunetJob(folder / one.folder, seed, fold, settings), one, groups["testing"], convention)
        for seed in whole_numbers(settings.seeds, "seeds")
        for fold in whole_numbers(settings.folds, "folds")
        for one in combinations
    ]
    with tqdm(total=len(combinations) * len(subjects), desc="Exporting", unit="subject") as bar:
        for place, run in enumerate(runs[: len(combinations)], start=1):
            if not run.job.raw.exists():
                export_combination(
                    run.job.raw, run.combination, sequences, groups, convention, settings.resample, bar.update
                )
            bar.update(place * len(subjects) - bar.n)
    if settings.export_only:
        return str(folder)
    run_all(runs, "nnU-Net", "epoch")

    runs.sort(key=lambda run: combinations.index(run.combination))
    scores = pd.concat([run.scores() for run in runs], ignore_index=True)
    facts = [{"combination": run.combination.name, **run.facts()} for run in runs]
    counts = [len(chosen) for chosen in groups.values()]
    about = f"{Path(settings.datalist).name}: {counts[0]} subjects to train on, {counts[1]} to test on"
    command = command_line("segment_subsets", settings)
    return write_results(folder, settings, command, settings.data or about, scores, facts)


def _check_subjects(groups: dict[str, list[SegmentationSubject]]) -> None:
    if len(groups["training"]) < _LEAST_TRAINING:
        raise ValueError(
            f"There are {len(groups['training'])} subjects to train on; nnU-Net's five folds need at least "
            f"{_LEAST_TRAINING}."
        )
    if not groups["testing"]:
        raise ValueError("There is no subject to test on.")
    both = {subject.name for subject in groups["training"]} & {subject.name for subject in groups["testing"]}
    if both:
        raise ValueError(f"Subject {min(both)} would be both trained and tested on; give sections that share none.")
