# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""A scan of a dataset's folder for its subjects and the images of their sequences."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from seq2seq_mri.io.datalists.datalist import names_in_list
from seq2seq_mri.io.datalists.layouts import Recognised, file_stem, layout_recogniser, pattern_recogniser

__all__ = ["FoundSubject", "Scan", "Series", "scan_dataset"]

#: An image of a sequence: a NIfTI file, a folder of DICOM files, or several NIfTI files, one for each timepoint.
Series = Path | tuple[Path, ...]

# Segmentations, labels, and maps that are computed from images.
_MASK = re.compile(
    r"(.*[_-])?(seg|gt|consensus_gt|gold_standard|(brain)?_?mask|glistrboost(_manuallycorrected)?|tissue|ktrans|adc)",
    re.IGNORECASE,
)


@dataclass
class FoundSubject:
    """The files that were found for one subject.

    Attributes:
        name: the subject's name.
        files: for each sequence of the table, every image found for it; two are one too many.
        unique: likewise for the masks of what only one sequence shows, which simulated cohorts have.
        lesion: every mask of the lesion; two are one too many.
        patient: whose examination it is, where folders tell.
    """

    name: str
    files: dict[str, list[Series]] = field(default_factory=dict)
    unique: dict[str, list[Path]] = field(default_factory=dict)
    lesion: list[Path] = field(default_factory=list)
    patient: str | None = None


@dataclass
class Scan:
    """What a dataset's folder holds.

    Attributes:
        subjects: the subjects by name, in alphabetical order.
        masks: files whose names are those of segmentations, brain masks and computed maps.
        unrecognised: all other NIfTI files.
    """

    subjects: dict[str, FoundSubject]
    masks: list[Path]
    unrecognised: list[Path]


def scan_dataset(
    dataset_dir: str | os.PathLike,
    sequences: Mapping[str, int],
    *,
    layout: str = "auto",
    pattern: str | None = None,
    names: str | Mapping[str, str | Sequence[str]] | None = None,
) -> Scan:
    """Find the subjects and their sequences in a folder and everything below it.

    Args:
        dataset_dir: the dataset's folder.
        sequences: the sequence table; files of other sequences count as unrecognised.
        layout: see :func:`layout_recogniser`.
        pattern: in the place of a layout, see :func:`pattern_recogniser`.
        names: the user's own names of sequences, ``"t1=MPRAGE,t1gd=MPRAGE_GD"``, or a mapping from our name to theirs,
            which may be several; the table's own names hold for the rest.

    Raises:
        FileNotFoundError: when ``dataset_dir`` is not a folder.
        ValueError: when the layout is unknown, pattern or names are not of their form, or two patients' examinations
            have the same name.
    """
    root = Path(dataset_dir).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"The dataset's folder {root} does not exist or is not a folder.")
    aliases = _aliases(names, sequences)
    if pattern is None:
        recognise = layout_recogniser(layout, aliases, sequences)
    elif layout == "auto":
        recognise = pattern_recogniser(pattern, aliases, sequences)
    else:
        raise ValueError(f"Both pattern and layout '{layout}' are given; give one of them.")
    scan = Scan({}, [], [])
    folders: dict[Path, Recognised] = {}

    def is_sequence(folder: Path) -> bool:
        found = recognise(folder.relative_to(root), True)
        if found is not None:
            folders[folder] = found
        return found is not None

    files = sorted(path for path in _files(root, is_sequence) if _is_nifti(path))
    for folder, found in sorted(folders.items(), key=lambda item: item[0]):
        contents = sorted(_files(folder), key=_in_natural_order)
        masks = [path for path in contents if _is_nifti(path) and _MASK.fullmatch(file_stem(path))]
        frames = [path for path in contents if _is_nifti(path) and path not in masks]
        scan.masks += masks
        if frames:
            _add(scan, found, frames[0] if len(frames) == 1 else tuple(frames))
        if any(_is_dicom(path) for path in contents):
            _add(scan, found, folder)
    for path in files:
        named = recognise(path.relative_to(root), False)
        if named is not None:
            _add(scan, named, path)
        else:
            (scan.masks if _MASK.fullmatch(file_stem(path)) else scan.unrecognised).append(path)
    for name in [name for name, subject in scan.subjects.items() if not subject.files and not subject.unique]:
        scan.masks += scan.subjects.pop(name).lesion
    scan.subjects = dict(sorted(scan.subjects.items()))
    return scan


def _add(scan: Scan, found: Recognised, series: Series) -> None:
    subject = scan.subjects.setdefault(found.subject, FoundSubject(found.subject, patient=found.patient))
    if found.patient is not None and subject.patient not in (None, found.patient):
        raise ValueError(
            f"Examinations of both patient {subject.patient} and patient {found.patient} would be called "
            f"'{found.subject}'; rename a folder, or describe the names by a pattern."
        )
    subject.patient = found.patient or subject.patient
    if found.kind == "lesion":
        subject.lesion.append(series)  # type: ignore[arg-type]
    else:
        getattr(subject, found.kind).setdefault(found.sequence, []).append(series)


def _aliases(names: str | Mapping[str, str | Sequence[str]] | None, sequences: Mapping[str, int]) -> dict[str, str]:
    """Return a user's names of sequences as a mapping from their name to ours."""
    if isinstance(names, Mapping):
        pairs = [(ours, theirs) for ours, value in names.items() for theirs in names_in_list(value)]
    else:
        pairs = []
        for item in names_in_list(names):
            ours, _, theirs = (part.strip() for part in item.partition("="))
            if not (ours and theirs):
                raise ValueError(f"'{item}' in names is not of the form ours=theirs, for example t1=MPRAGE.")
            pairs.append((ours, theirs))
    result: dict[str, str] = {}
    for ours, theirs in pairs:
        if ours not in sequences:
            raise ValueError(f"Unknown sequence '{ours}' in names; the sequence table has {', '.join(sequences)}.")
        if result.setdefault(theirs, ours) != ours:
            raise ValueError(f"names gives '{theirs}' to both {result[theirs]} and {ours}.")
    return result


def _files(root: Path, leave_out: Callable[[Path], bool] = lambda folder: False) -> Iterator[Path]:
    """Give all files below ``root`` but hidden ones and those in folders to leave out; links are entered once."""
    visited: set[str] = set()
    for text, subfolders, names in os.walk(root, followlinks=True):
        folder, real = Path(text), os.path.realpath(text)
        if real in visited:
            subfolders.clear()
            continue
        visited.add(real)
        visible = sorted(name for name in subfolders if not name.startswith("."))
        subfolders[:] = [name for name in visible if not leave_out(folder / name)]
        # A pipe or a device would be waited for.
        yield from (folder / name for name in names if not name.startswith(".") and (folder / name).is_file())


def _is_nifti(path: Path) -> bool:
    return path.name.lower().endswith((".nii", ".nii.gz"))


def _is_dicom(path: Path) -> bool:
    if path.name.lower().endswith((".dcm", ".dicom", ".ima")):
        return True
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


def _in_natural_order(path: Path) -> list:
    """Sort ``frame2`` before ``frame10``."""
    return [[int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)] for name in path.parts]
