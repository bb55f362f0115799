# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The subjects that all methods see, prepared as a bundle prepares them, and batches drawn from them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser

from seq2seq_mri.io.datalists.datalist import load_datalist, read_sequence_table
from seq2seq_mri.io.datalists.labelled_datalist import patient_of_entry
from seq2seq_mri.training.distributed import default_workers
from seq2seq_mri.training.prepared_subjects import PreparedSubjects, SubjectSamples
from seq2seq_mri.training.subject_dataset import SubjectDataset
from seq2seq_studies.comparison.comparison_settings import ComparisonSettings

__all__ = ["Cohort", "TrainingBatches"]


class Cohort:
    """Subjects to train and to test on, prepared as a bundle's ``train.json`` and ``evaluate.json`` say.

    Args:
        settings: the options of the comparison.
        datalist: JSON file of the subjects; its sequence table is used.
        cache_dir: folder of the prepared subjects to train on.

    Attributes:
        training, testing: the subjects' entries in the datalist; ``testing`` is empty where each patient is left out.
        name: ``"all"``, or which patient is left out.

    Raises:
        FileNotFoundError: when the bundle or the datalist does not exist.
        ValueError: when a subject would be both trained and tested on, or there is one sequence only.
    """

    def __init__(self, settings: ComparisonSettings, datalist: Path, cache_dir: Path) -> None:
        configs = Path(settings.bundle_dir).expanduser() / "configs"
        files = [configs / "train.json", configs / "evaluate.json"]
        for file in files:
            if not file.is_file():
                raise FileNotFoundError(
                    f"There is no {file}; give bundle_dir, the folder of a bundle such as bundles/seq2seq_brats."
                )
        self.sequences = read_sequence_table(datalist)
        if len(self.sequences) < 2:
            raise ValueError(f"{datalist} has one sequence only; there is nothing to synthesise it from.")
        self.patches = settings.patches
        self.cache_dir = cache_dir
        self.training = load_datalist(datalist, settings.training, settings.dataset_dir)
        self.testing = []
        if not settings.leave_one_out:
            self.testing = load_datalist(datalist, settings.testing, settings.dataset_dir)
        self.name = "all"
        both = {entry["subject"] for entry in self.training} & {entry["subject"] for entry in self.testing}
        if both:
            raise ValueError(f"Subject {min(both)} would be both trained and tested on; give sections that share none.")
        self._parser = ConfigParser()
        self._parser.read_config([str(file) for file in files])
        options = {"sequences": self.sequences, "slice_size": list(settings.slice_size), "resample": settings.resample}
        options |= {"network_def::in_channels": settings.slices, "samples_per_subject": settings.patches}
        for key, value in options.items():
            self._parser[key] = value

    def leave_one_out(self) -> list[Cohort]:
        """Return a cohort for each patient to train on, who is tested on while all others are trained on.

        Raises:
            ValueError: when there is only one patient.
        """
        patients = list(dict.fromkeys(patient_of_entry(entry) for entry in self.training))
        if len(patients) < 2:
            raise ValueError(f"{patients[0]} is the only patient; to leave one out takes two at least.")
        cohorts = []
        for patient in patients:
            cohort = copy.copy(self)
            cohort.training = [entry for entry in self.training if patient_of_entry(entry) != patient]
            cohort.testing = [entry for entry in self.training if patient_of_entry(entry) == patient]
            cohort.name = f"without_{patient}"
            cohorts.append(cohort)
        return cohorts

    @cached_property
    def patch_data(self) -> SubjectDataset:
        """The random slices to train on, in [0, 1]; a subject's are ``len(training)`` items apart."""
        content = self._parser.get_parsed_content
        prepared = PreparedSubjects(
            self.training,
            content("prepare"),
            self.cache_dir,
            differentiation=False,
            overwrite=True,
            num_workers=default_workers(),
        )
        return SubjectDataset(SubjectSamples(prepared, self.patches), content("train::preprocessing"), seed=0)  # type: ignore[arg-type]

    @cached_property
    def test_volumes(self) -> Sequence[Mapping[str, Any]]:
        """The subjects to test on as whole volumes, kept in memory."""
        return self.volumes(self.testing)

    def volumes(self, entries: Sequence[dict[str, object]]) -> Sequence[Mapping[str, Any]]:
        """Return subjects as whole volumes, withheld sequences included."""
        dataset = SubjectDataset(entries, self._parser.get_parsed_content("preprocessing"))
        return [dataset[index] for index in range(len(dataset))]


class TrainingBatches:
    """Batches of patches; what a step gets depends on seed and step only, whatever was trained before.

    Each epoch has a random order of the subjects.

    Args:
        dataset: the :attr:`Cohort.patch_data`, which is read once whatever the seed.
        batch_size: subjects of a batch.
        seed: of the order, and of the patches.
    """

    def __init__(self, dataset: SubjectDataset, batch_size: int = 1, seed: int = 0) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        samples: SubjectSamples = dataset.data  # type: ignore[assignment]
        self.subjects, self.patches = len(samples.prepared), samples.samples_per_subject
        self.steps_per_epoch = -(-self.subjects // batch_size)

    def __call__(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the slices ``(B, ΣT, H, W, slices)`` of a step, and which sequences they have, bool ``(B, S)``."""
        epoch, position = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng([self.seed, epoch]).permutation(self.subjects)
        self.dataset.seed = self.seed
        self.dataset.set_epoch(epoch)
        chosen = order[position * self.batch_size : (position + 1) * self.batch_size].tolist()
        drawn = [self.dataset[patch * self.subjects + subject] for subject in chosen for patch in range(self.patches)]
        image = torch.stack([torch.as_tensor(sample["image"], dtype=torch.float32) for sample in drawn])
        available = torch.stack([torch.as_tensor(sample["available"], dtype=torch.bool) for sample in drawn])
        return image, available
