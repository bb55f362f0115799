# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Writing a combination of sequences as a raw data set of nnU-Net."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from monai.utils import convert_to_numpy

from seq2seq_mri.io.grids import match_grid
from seq2seq_mri.io.load import LoadImageSequencesd
from seq2seq_mri.io.read_nifti import Volume
from seq2seq_mri.io.save import save_volume
from seq2seq_studies.segmentation.brats_labels import REGIONS
from seq2seq_studies.segmentation.combination import Combination
from seq2seq_studies.segmentation.subjects import SegmentationSubject, read_nested_labels

__all__ = ["channel_names", "dataset_json", "export_combination"]

_TITLES = {"WT": "whole tumour", "TC": "tumour core", "ET": "enhancing tumour"}


def channel_names(combination: Combination, sequences: Mapping[str, int]) -> list[str]:
    """Return the names of the network's channels: the table's order, one for each timepoint."""
    names = []
    for name in combination.order:
        title = f"{name} synthesised" if name in combination.synthesised else name
        count = sequences[name]
        names += [title] if count == 1 else [f"{title} {timepoint}" for timepoint in range(count)]
    return names


def dataset_json(combination: Combination, sequences: Mapping[str, int], training: int) -> dict:
    """Return the content of ``dataset.json``: channels, and the regions WT, TC and ET as nested labels."""
    by_size = sorted(REGIONS, key=lambda name: REGIONS[name])
    return {
        "name": combination.name,
        "channel_names": {str(place): name for place, name in enumerate(channel_names(combination, sequences))},
        # A region is the list of its labels. They are predicted one over the other, in the order given last.
        "labels": {"background": 0} | {_TITLES[name]: list(range(REGIONS[name], len(REGIONS) + 1)) for name in by_size},
        "regions_class_order": [REGIONS[name] for name in by_size],
        "numTraining": training,
        "file_ending": ".nii.gz",
    }


def export_combination(
    folder: Path,
    combination: Combination,
    sequences: Mapping[str, int],
    training: Sequence[SegmentationSubject],
    testing: Sequence[SegmentationSubject],
    convention: str,
    resample: bool = False,
    progress: Callable[[], object] = lambda: None,
) -> None:
    """Write ``dataset.json``, ``imagesTr``, ``labelsTr``, ``imagesTs`` and ``labelsTs``: all of it, or nothing.

    Images keep their intensities; nnU-Net normalises them. All lie on the grid of the subject's segmentation, whose
    geometry is copied, whatever the combination: results of combinations can be compared voxel by voxel. The same grid
    in another orientation is reoriented; another grid is refused unless ``resample``.

    Args:
        folder: the data set's folder, ``DatasetNNN_NAME``; must not exist.
        combination: the sequences.
        sequences: the sequence table.
        training: the subjects to train on.
        testing: the subjects to test on.
        convention: numbering of the segmentations, see ``labels.CONVENTIONS``.
        resample: whether images on other grids than the segmentation are resampled linearly to it.
        progress: called after each subject.

    Raises:
        FileExistsError: when the folder exists.
        ValueError: when an image or segmentation cannot be used, naming subject and file.
        OSError: when it cannot be written.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} exists; remove it, or choose another output directory.")
    partial = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}.partial")
    try:
        for suffix, subjects in (("Tr", training), ("Ts", testing)):
            for subject in subjects:
                _export_subject(partial, suffix, subject, combination, sequences, convention, resample)
                progress()
        content = dataset_json(combination, sequences, len(training))
        (partial / "dataset.json").write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _export_subject(
    folder: Path,
    suffix: str,
    subject: SegmentationSubject,
    combination: Combination,
    sequences: Mapping[str, int],
    convention: str,
    resample: bool,
) -> None:
    labels = read_nested_labels(subject, convention)
    save_volume(folder / f"labels{suffix}" / f"{subject.name}.nii.gz", labels.voxels, like=labels.path)
    channel = 0
    for name in combination.order:
        made = name in combination.synthesised
        path = subject.synthesised[name] if made else subject.measured[name]
        for frame in _read_frames(subject.name, name, path, sequences[name], labels, resample):
            file = folder / f"images{suffix}" / f"{subject.name}_{channel:04d}.nii.gz"
            save_volume(file, frame, like=labels.path)
            channel += 1


def _read_frames(
    subject: str, name: str, path: str | Sequence[str], timepoints: int, labels: Volume, resample: bool
) -> np.ndarray:
    """Return the timepoints of a sequence, ``[T, X, Y, Z]``, on the grid of the labels."""
    image = LoadImageSequencesd({name: timepoints}, resample=resample)({"subject": subject, name: path})["image"]
    source = Path(image.meta["filename_or_obj"])
    volume = Volume(convert_to_numpy(image), np.asarray(image.affine, dtype=np.float64), source)
    return match_grid(volume, labels, subject, tolerance=0.01, resample=resample)
