# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Which subjects of a datalist have everything that a comparison of combinations needs, and where it is."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seq2seq_mri.io.read_nifti import Volume, read_volume
from seq2seq_mri.io.save import sequence_file
from seq2seq_studies.segmentation.brats_labels import detect_convention, label_values, to_nested_labels
from seq2seq_studies.segmentation.combination import Combination

__all__ = ["SegmentationSubject", "find_convention", "read_nested_labels", "select_subjects"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SegmentationSubject:
    """A subject with all images of all combinations.

    Attributes:
        name: the subject's.
        measured: sequence → path, or list of paths, one for each timepoint.
        synthesised: sequence → path.
        segmentation: path of the labels.
    """

    name: str
    measured: Mapping[str, str | Sequence[str]]
    synthesised: Mapping[str, str]
    segmentation: str


def select_subjects(
    entries: Iterable[Mapping],
    combinations: Sequence[Combination],
    synthesised_dir: str | os.PathLike | None = None,
    segmentation: str | None = None,
    dataset_dir: str | os.PathLike = ".",
    withheld: bool = False,
    incomplete: str = "error",
) -> list[SegmentationSubject]:
    """Return the subjects that every combination can be trained or tested on: the same for all, so tests are paired.

    Args:
        entries: the subjects of a datalist, with absolute paths.
        combinations: what will be compared.
        synthesised_dir: the output folder of a bundle's inference, ``SUBJECT/SUBJECT_SEQUENCE.nii.gz``.
        segmentation: path of the labels, with ``{subject}``, from ``dataset_dir``, for subjects whose entry names no
            ``lesion``.
        dataset_dir: where ``segmentation`` starts from.
        withheld: whether sequences that are silenced on purpose count as measured.
        incomplete: ``error`` or ``leave_out`` subjects that lack something.

    Raises:
        ValueError: when a subject lacks something and is not to be left out, a combination has a synthesised sequence
            and there is no ``synthesised_dir``, or an option is none of those named.
    """
    if incomplete not in ("error", "leave_out"):
        raise ValueError(f"incomplete is {incomplete!r}; give error or leave_out.")
    needed = {name for combination in combinations for name in combination.measured}
    made = {name for combination in combinations for name in combination.synthesised}
    if made and synthesised_dir is None:
        raise ValueError(
            f"{min(made)} is to be synthesised; give synthesised_dir, the output folder of the bundle's inference."
        )
    if segmentation is not None and "{subject}" not in segmentation:
        raise ValueError(f"segmentation is {segmentation!r}; give a path with {{subject}} in place of the name.")
    found, lacking = [], []
    for entry in entries:
        name = entry["subject"]
        images = {**(entry.get("withheld", {}) if withheld else {}), **{key: entry[key] for key in needed & set(entry)}}
        images = {key: images[key] for key in sorted(needed & set(images))}
        files = {key: Path(synthesised_dir or ".") / name / sequence_file(name, key) for key in sorted(made)}
        labels = entry.get("lesion")
        if labels is None and segmentation is not None:
            labels = str(Path(dataset_dir) / segmentation.replace("{subject}", name))
        missing = [f"{key} measured" for key in sorted(needed - set(images))]
        missing += [f"{key} synthesised ({path})" for key, path in files.items() if not path.is_file()]
        if labels is None or not Path(labels).is_file():
            missing.append("its segmentation" if labels is None else f"its segmentation ({labels})")
        if missing:
            lacking.append(f"{name} lacks {', '.join(missing)}")
        else:
            made_files = {key: str(path) for key, path in files.items()}
            found.append(SegmentationSubject(name, images, made_files, str(labels)))
    if lacking:
        listed = "; ".join(lacking[:5]) + (f"; and {len(lacking) - 5} more subjects" if len(lacking) > 5 else "")
        if incomplete == "error":
            raise ValueError(
                f"Every combination needs the same subjects, but {listed}. Name the segmentations by segmentation, "
                "count sequences silenced on purpose as measured by withheld true, or leave these subjects out by "
                "incomplete leave_out."
            )
        logger.warning(f"{len(lacking)} subjects are left out: {listed}.")
    return found


def find_convention(subjects: Iterable[SegmentationSubject], labels: str = "auto") -> str:
    """Return the numbering of the labels, told from all segmentations when ``labels`` is ``auto``.

    Raises:
        ValueError: when it cannot be told, or a segmentation has a label that the numbering has not.
    """
    values = {}
    for subject in subjects:
        volume = _read_segmentation(subject)
        if labels != "auto":
            to_nested_labels(volume.voxels[0], labels, _where(subject))
        else:
            values[subject.name] = label_values(volume.voxels[0], _where(subject))
    return detect_convention(values) if labels == "auto" else labels


def read_nested_labels(subject: SegmentationSubject, convention: str) -> Volume:
    """Return a subject's segmentation in nested labels, ``[1, X, Y, Z]``; see ``to_nested_labels``."""
    volume = _read_segmentation(subject)
    return Volume(to_nested_labels(volume.voxels, convention, _where(subject)), volume.affine, volume.path)


def _read_segmentation(subject: SegmentationSubject) -> Volume:
    volume = read_volume(subject.segmentation, subject.name, allow_constant=True)
    if len(volume.voxels) != 1:
        raise ValueError(f"{_where(subject)} has {len(volume.voxels)} timepoints; a segmentation is a 3D volume.")
    return volume


def _where(subject: SegmentationSubject) -> str:
    return f"Subject '{subject.name}': {subject.segmentation}"
