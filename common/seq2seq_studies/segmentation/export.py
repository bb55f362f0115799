# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Writing a combination of sequences as a raw data set of nnU-Net."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from monai.utils import convert_to_numpy

from seq2seq_mri.io.grids import match_grid
from seq2seq_mri.io.load import LoadImageSequencesd
from seq2seq_mri.io.nifti import Volume
from seq2seq_mri.io.save import save_volume
from seq2seq_studies.segmentation.brats_labels import REGIONS
from seq2seq_studies.segmentation.combination import Combination
from seq2seq_studies.segmentation.subjects import SegmentationSubject, read_nested_labels
from seq2seq_studies.study_run import write_json

__all__ = ["dataset_json", "export_combination"]

_TITLES = {"WT": "whole tumour", "TC": "tumour core", "ET": "enhancing tumour"}


def dataset_json(combination: Combination, sequences: Mapping[str, int], training: int) -> dict[str, object]:
    """Return the content of ``dataset.json``: channels, and the regions WT, TC and ET as nested labels."""
    by_size = sorted(REGIONS, key=lambda name: REGIONS[name])
    channels = []
    for name in combination.order:
        title = f"{name} synthesised" if name in combination.synthesised else name
        count = sequences[name]
        channels += [title] if count == 1 else [f"{title} {timepoint}" for timepoint in range(count)]
    return {
        "name": combination.name,
        "channel_names": {str(place): name for place, name in enumerate(channels)},
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
    groups: Mapping[str, Sequence[SegmentationSubject]],
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
        groups: the subjects, ``training`` and ``testing``.
        convention: numbering of the segmentations, a key of ``CONVENTIONS``.
        resample: whether images on other grids than the segmentation are resampled linearly to it.
        progress: called after each subject.
    """
    partial = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}.partial")
    try:
        for group, suffix in (("training", "Tr"), ("testing", "Ts")):
            for subject in groups[group]:
                labels = read_nested_labels(subject, convention)
                save_volume(partial / f"labels{suffix}" / f"{subject.name}.nii.gz", labels.voxels, like=labels.path)
                frames = [
                    frame
                    for name in combination.order
                    for frame in _read_frames(subject, combination, name, sequences[name], labels, resample)
                ]
                for channel, frame in enumerate(frames):
                    file = partial / f"images{suffix}" / f"{subject.name}_{channel:04d}.nii.gz"
                    save_volume(file, frame, like=labels.path)
                progress()
        write_json(partial / "dataset.json", dataset_json(combination, sequences, len(groups["training"])))
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _read_frames(
    subject: SegmentationSubject,
    combination: Combination,
    name: str,
    timepoints: int,
    labels: Volume,
    resample: bool,
) -> np.ndarray:
    """Return the timepoints of a sequence, ``[T, X, Y, Z]``, on the grid of the labels."""
    path = (subject.synthesised if name in combination.synthesised else subject.measured)[name]
    load = LoadImageSequencesd({name: timepoints}, resample=resample)
    image = load({"subject": subject.name, name: path})["image"]
    source = Path(image.meta["filename_or_obj"])
    volume = Volume(convert_to_numpy(image), np.asarray(image.affine, dtype=np.float64), source)
    return match_grid(volume, labels, subject.name, tolerance=0.01, resample=resample)
