# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The subjects of a datalist that have everything which the compared combinations need, and their labels."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seq2seq_mri.io.datalists.datalist import load_datalist
from seq2seq_mri.io.nifti import Volume, read_volume
from seq2seq_mri.io.save import sequence_file
from seq2seq_studies.segmentation.brats_labels import detect_convention, label_values, to_nested_labels
from seq2seq_studies.segmentation.combination import Combination
from seq2seq_studies.segmentation.segmentation_settings import SegmentationSettings

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
    settings: SegmentationSettings, section: str | Sequence[str], combinations: Sequence[Combination]
) -> list[SegmentationSubject]:
    """Return the subjects that every combination can be trained or tested on: the same for all, so tests are paired.

    Args:
        settings: where datalist, synthesised images and labels are, and what is done with a subject that lacks some.
        section: of the datalist.
        combinations: what will be compared.

    Raises:
        ValueError: when a subject lacks something and is not to be left out, or ``synthesised_dir`` is not given
            although a combination needs it.
    """
    needed = {name for combination in combinations for name in combination.measured}
    made = {name for combination in combinations for name in combination.synthesised}
    if made and settings.synthesised_dir is None:
        raise ValueError(
            f"{min(made)} is to be synthesised; give synthesised_dir, the output folder of the bundle's inference."
        )
    root = Path(settings.dataset_dir or Path(settings.datalist).parent).expanduser()
    synthesised = Path(settings.synthesised_dir or "").expanduser()
    found, lacking = [], []
    for entry in load_datalist(settings.datalist, section, root):
        name = entry["subject"]
        every = {**(entry.get("withheld", {}) if settings.withheld else {}), **entry}
        images = {key: every[key] for key in sorted(needed & set(every))}
        files = {key: synthesised / name / sequence_file(name, key) for key in sorted(made)}
        labels = entry.get("lesion")
        if labels is None and settings.segmentation is not None:
            labels = str(root.resolve() / settings.segmentation.replace("{subject}", name))
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
        if settings.incomplete == "error":
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
        ValueError: when it cannot be told, or a segmentation is not 3D or has a label that the numbering lacks.
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
