# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Checks a subject's images before they are listed, and makes the table that shows a user what was found."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np

from seq2seq_mri.io.datalists.layouts import patient_of
from seq2seq_mri.io.datalists.scan import FoundSubject, Series
from seq2seq_mri.io.dicom.read_dicom import read_dicom_grid, read_dicom_series
from seq2seq_mri.io.grids import match_grid
from seq2seq_mri.io.nifti import Volume, claimed_bytes, read_volume

__all__ = ["Checks", "SubjectReport", "datalist_table", "inspect_series", "inspect_subject"]

# In mm; the default of LoadImageSequencesd. Headers differ by rounding.
_TOLERANCE = 0.01


@dataclass(frozen=True)
class Checks:
    """How closely images are looked at, and what is only worth a note.

    Attributes:
        check_images: whether to read the voxels, not only the headers, and so to find damage inside, NaN, infinite
            values and constant images.
        allow_different_grids: whether unequal grids are only worth a note, for images that are resampled on loading.
        allow_other_timepoints: likewise for another number of timepoints than the table says, where both it and the
            image have several: loading may resample a series in time, or pick its b-values.
    """

    check_images: bool = False
    allow_different_grids: bool = False
    allow_other_timepoints: bool = False


@dataclass
class SubjectReport:
    """What was found about one subject.

    Attributes:
        name: the subject.
        patient: whose examination it is.
        files: its usable image of each sequence.
        unique: its mask of what each sequence alone shows, if any.
        lesion: its mask of the lesion, if any.
        grids: of each usable image, :class:`Volume` whose voxels are zeros that take no memory.
        problems: what makes the subject unusable; each names the files.
        notes: what a user may want to know, but is legal.
    """

    name: str
    patient: str
    files: dict[str, Series] = field(default_factory=dict)
    unique: dict[str, Path] = field(default_factory=dict)
    lesion: Path | None = None
    grids: dict[str, Volume] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def inspect_subject(subject: FoundSubject, sequences: Mapping[str, int], checks: Checks) -> SubjectReport:
    """Check every image of a subject, and whether their grids agree; its files come in the table's order."""
    report = SubjectReport(subject.name, subject.patient or patient_of(subject.name))
    for name in sequences:
        images = subject.files.get(name, [])
        if len(images) > 1:
            places = [str(image[0].parent if isinstance(image, tuple) else image) for image in images]
            report.problems.append(f"{name} found {len(images)} times, keep one of {', '.join(places)}")
        elif images:
            report.files[name] = images[0]
        mask = _only_mask(subject.unique.get(name, []), f"mask of {name}", report)
        if mask is not None:
            report.unique[name] = mask
    report.lesion = _only_mask(subject.lesion, "mask of the lesion", report)
    missing = [name for name in sequences if not subject.files.get(name)]
    if len(missing) == len(sequences):
        report.problems.append("no sequence available")
    elif missing:
        report.notes.append(f"no {', '.join(missing)}")
    noted: dict[str, list[str]] = defaultdict(list)
    for name, series in report.files.items():
        grid, problems, notes = inspect_series(series, subject.name, sequences[name], checks)
        if grid is not None:
            report.grids[name] = grid
        report.problems += [f"{name}: {problem}" for problem in problems]
        for note in notes:
            noted[note].append(name)
    report.notes += [f"{', '.join(names)}: {note}" for note, names in noted.items()]
    first, *others = report.grids or [""]
    for name in others:
        difference = _difference(report.grids[first], report.grids[name], subject.name)
        if difference and checks.allow_different_grids:
            report.notes.append(f"{first} and {name}: {difference}")
        elif difference:
            keep = "--allow_different_grids keeps such subjects in the datalist."
            report.problems.append(f"{first} and {name}: {difference} {keep}")
    return report


def _only_mask(masks: Sequence[Path], what: str, report: SubjectReport) -> Path | None:
    """Return the one mask found; ``None``, with the problem in the report, where it is not one or not readable."""
    if len(masks) > 1:
        report.problems.append(f"{what} found {len(masks)} times, keep one of {', '.join(map(str, masks))}")
    elif masks:
        try:
            # A mask without a voxel measures nothing.
            return masks[0] if read_volume(masks[0], report.name, allow_constant=True).voxels.any() else None
        except (FileNotFoundError, ValueError) as error:
            report.problems.append(f"{what}: {_first_line(error, report.name)}")
    return None


def inspect_series(
    series: Series, subject: str, timepoints: int, checks: Checks
) -> tuple[Volume | None, list[str], list[str]]:
    """Check the image of a sequence: a NIfTI file, a folder of DICOM files, or one 3D NIfTI file for each timepoint.

    Returns:
        the grid, ``None`` where there are problems; the problems, each naming a file or folder; the notes.
    """
    frames = series if isinstance(series, tuple) else (series,)
    grids: list[Volume] = []
    problems: list[str] = []
    notes: dict[str, None] = {}
    for path in frames:
        try:
            grid, found = _inspect_image(path, subject, checks.check_images)
        except (FileNotFoundError, ValueError) as error:
            problems.append(_first_line(error, subject))
            continue
        grids.append(grid)
        notes |= dict.fromkeys(found)
        shape = grid.voxels.shape[1:]
        if len(frames) > 1 and len(grid.voxels) > 1:
            problems.append(f"{len(grid.voxels)} timepoints ({path}), a file of several has to have one")
        elif timepoints == 1 and min(shape) == 1:
            problems.append(f"2D ({' x '.join(map(str, shape))}) where 3D is expected, {path}")
    if not problems:
        differences = [_difference(grids[0], grid, subject) for grid in grids[1:]]
        problems += [difference for difference in differences if difference][:1]
        number = len(frames) if len(frames) > 1 else len(grids[0].voxels)
        where = f"{frames[0]} to {frames[-1].name}" if len(frames) > 1 else f"{series}"
        text = f"{number} timepoints ({where}), the sequence table says {timepoints}"
        if number != timepoints and min(number, timepoints) == 1:
            problems.append(text)
        elif number != timepoints and checks.allow_other_timepoints:
            notes[text] = None
        elif number != timepoints:
            problems.append(f"{text}; --allow_other_timepoints keeps such subjects in the datalist")
    return None if problems else grids[0], problems, list(notes)


def _inspect_image(path: Path, subject: str, check_voxels: bool) -> tuple[Volume, list[str]]:
    """Return the grid and the number of timepoints of a file or folder, as zeros that take no memory, and notes.

    Raises:
        FileNotFoundError, ValueError: when it cannot be read; the message names it.
    """
    notes = []
    if path.is_dir():
        volume = (read_dicom_series if check_voxels else read_dicom_grid)(path, subject)
        shape, affine = volume.voxels.shape, volume.affine
    else:
        if (check_voxels or not _seems_complete(path)) and read_volume(path, subject).voxels.min() < 0:
            notes.append("negative values, which loading clips to 0")
        image: nib.Nifti1Image = nib.load(path)  # type: ignore[assignment]
        if not (image.header["qform_code"] or image.header["sform_code"]):
            notes.append("the header does not say how the image is oriented")
        shape, affine = (int(np.prod(image.shape[3:])), *image.shape[:3]), image.affine
    return Volume(np.broadcast_to(np.float32(0), shape), np.asarray(affine, dtype=np.float64), path), notes


def _seems_complete(path: Path) -> bool:
    """Return whether a NIfTI file's header is usable and the file as large as it says, without reading voxels.

    A truncated file shows in its size alone: a gzip file ends with the length of what it holds.
    """
    try:
        image: nib.Nifti1Image = nib.load(path)  # type: ignore[assignment]
        affine, shape, dtype = image.affine, image.shape, image.get_data_dtype()
        expected = claimed_bytes(image)
        if path.name.lower().endswith(".gz"):
            with open(path, "rb") as file:
                file.seek(-4, 2)
                complete = int.from_bytes(file.read(4), "little") == expected % 2**32
        else:
            complete = path.stat().st_size >= expected
    except Exception:  # on a damaged header nibabel raises nearly anything
        return False
    is_series = len(shape) >= 3 and 0 not in shape and sum(size != 1 for size in shape[3:]) < 2
    has_place = np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > 1e-12
    return bool(complete and is_series and has_place and isinstance(image, nib.Nifti1Image) and dtype.kind in "iuf")


def _difference(first: Volume, other: Volume, subject: str) -> str:
    """Return why an image cannot be brought onto the grid of another by reorienting; empty where it can."""
    try:
        match_grid(other, first, subject, _TOLERANCE)
    except ValueError as error:
        return _first_line(error, subject)
    return ""


def _first_line(error: Exception, subject: str) -> str:
    """Return the first line of an error's message, without the subject that a table names anyway."""
    return str(error).splitlines()[0].removeprefix(f"Subject '{subject}': ")


def datalist_table(
    sequences: Mapping[str, int],
    split: Mapping[str, Sequence[Mapping]],
    reports: Sequence[SubjectReport],
    remarks: Sequence[str] = (),
) -> str:
    """Return the table that a user sees: sections, grids, orientations, problems and notes.

    Args:
        sequences: the sequence table.
        split: for each section, the entries of the datalist.
        reports: of every subject found, those that are left out of the datalist as well.
        remarks: further lines about the dataset as a whole.
    """
    lines = [" " * 12 + "".join(f"{f'{name} ({len(entries)})':^30}" for name, entries in split.items())]
    lines.append("sequence".ljust(12) + f"{'have':>8}{'missing':>10}{'withheld':>10}  " * len(split))
    for name in sequences:
        cells = ""
        for entries in split.values():
            have = sum(name in entry for entry in entries)
            withheld = sum(name in entry.get("withheld", {}) for entry in entries)
            cells += f"{have:>8}{len(entries) - have - withheld:>10}{withheld:>10}  "
        lines.append(name.ljust(12) + cells)
    lines += ["", *remarks] if remarks else []
    grids: Counter[str] = Counter()
    axes: Counter[str] = Counter()
    for report in reports:
        grids.update({_grid_text(grid) for grid in report.grids.values()})
        axes.update({"".join(nib.aff2axcodes(grid.affine)) for grid in report.grids.values()})
    lines += ["", "Grids (subjects)", *_counted(grids), "", "Orientations (subjects)", *_counted(axes)]
    unusable = sum(bool(report.problems) for report in reports)
    lines += ["", f"Problems: {f'{unusable} subjects are left out' if unusable else 'none'}"]
    lines += [f"  {report.name}: {problem}" for report in reports for problem in report.problems]
    notes = [f"  {report.name}: {note}" for report in reports for note in report.notes]
    lines += ["", "Notes", *notes] if notes else []
    return "\n".join(line.rstrip() for line in lines)


def _grid_text(grid: Volume) -> str:
    spacing = " x ".join(f"{size:.3g}" for size in nib.affines.voxel_sizes(grid.affine))
    return f"{' x '.join(map(str, grid.voxels.shape[1:]))}, {spacing} mm"


def _counted(counter: Counter[str]) -> Iterable[str]:
    return (f"  {text:<40}{count:>6}" for text, count in counter.most_common())
