# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What a subject's images are like: grids, orientations, and whatever would stop them from being loaded."""

from __future__ import annotations

import gzip
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np

from seq2seq_mri.data.layouts import FoundSubject
from seq2seq_mri.transforms.grids import match_grid
from seq2seq_mri.transforms.read import Volume, read_volume

__all__ = ["Grid", "SubjectReport", "datalist_table", "inspect_image", "inspect_subject"]

# In mm; the default of LoadImageSequencesd. Headers differ by rounding.
_TOLERANCE = 0.01

_READ_ERRORS = (
    nib.filebasedimages.ImageFileError,
    nib.spatialimages.HeaderDataError,
    OSError,
    EOFError,
    ValueError,
    zlib.error,
)


@dataclass(frozen=True)
class Grid:
    """Where an image's voxels lie.

    Attributes:
        shape: voxels along the three axes.
        affine: from voxel indices to mm, 4 × 4.
    """

    shape: tuple[int, ...]
    affine: np.ndarray

    @property
    def spacing(self) -> tuple[float, ...]:
        """The voxels' size in mm."""
        return tuple(float(value) for value in nib.affines.voxel_sizes(self.affine))

    @property
    def orientation(self) -> str:
        """Where the axes point to, such as ``RAS``."""
        return "".join(code or "?" for code in nib.aff2axcodes(self.affine))

    def __str__(self) -> str:
        return f"{' x '.join(map(str, self.shape))}, {' x '.join(f'{value:.3g}' for value in self.spacing)} mm"


@dataclass
class SubjectReport:
    """What was found about one subject.

    Attributes:
        name: the subject.
        files: its usable image of each sequence.
        unique: its mask of what each sequence alone shows, if any.
        grids: of each sequence whose header could be read.
        problems: what makes the subject unusable; each names the files.
        notes: what a user may want to know, but is legal.
    """

    name: str
    files: dict[str, Path] = field(default_factory=dict)
    unique: dict[str, Path] = field(default_factory=dict)
    grids: dict[str, Grid] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def inspect_subject(
    subject: FoundSubject,
    sequences: Mapping[str, int],
    *,
    check_images: bool = False,
    allow_different_grids: bool = False,
) -> SubjectReport:
    """Check every image of a subject, and whether their grids agree.

    Args:
        subject: the files that were found for it.
        sequences: the sequence table; an image of several timepoints has them as its fourth axis.
        check_images: whether to read the voxels too, not only the headers.
        allow_different_grids: whether unequal grids are only worth a note, for images that are resampled on loading.

    Returns:
        the subject's files in the table's order, with problems and notes.
    """
    report = SubjectReport(subject.name)
    for name in sequences:
        paths = subject.files.get(name, [])
        if len(paths) > 1:
            report.problems.append(f"{name} found {len(paths)} times, keep one of {', '.join(map(str, paths))}")
        elif paths:
            report.files[name] = paths[0]
        masks = subject.unique.get(name, [])
        if len(masks) > 1:
            report.problems.append(f"mask of {name} found {len(masks)} times, keep one of {', '.join(map(str, masks))}")
        elif masks:
            try:
                # A mask without a voxel measures nothing.
                if read_volume(masks[0], subject.name, allow_constant=True).voxels.any():
                    report.unique[name] = masks[0]
            except (FileNotFoundError, ValueError) as error:
                report.problems.append(f"mask of {name}: {_reason(error, subject.name)}")
    missing = [name for name in sequences if not subject.files.get(name)]
    if len(missing) == len(sequences):
        report.problems.append("no sequence available")
    elif missing:
        report.notes.append(f"no {', '.join(missing)}")
    noted: dict[str, list[str]] = defaultdict(list)
    for name, path in report.files.items():
        grid, problems, notes = inspect_image(path, subject.name, sequences[name], check_voxels=check_images)
        if grid is not None:
            report.grids[name] = grid
        report.problems += [f"{name}: {problem}" for problem in problems]
        for note in notes:
            noted[note].append(name)
    report.notes += [f"{', '.join(names)}: {note}" for note, names in noted.items()]
    for difference in _differences(report):
        if allow_different_grids:
            report.notes.append(difference)
        else:
            report.problems.append(f"{difference} --allow_different_grids keeps such subjects in the datalist.")
    return report


def inspect_image(
    path: Path, subject: str, timepoints: int = 1, *, check_voxels: bool = False
) -> tuple[Grid | None, list[str], list[str]]:
    """Check one NIfTI file.

    A truncated file shows in its size alone: a gzip file ends with the length of what it holds. So the voxels of a
    file are read only where they are asked for, or where its size is not what the header says.

    Args:
        path: the file.
        subject: the subject's name.
        timepoints: how many its fourth axis must have; 1 for a 3D image.
        check_voxels: whether to read the voxels, and so to find damage inside, NaN, infinite values and constant
            images.

    Returns:
        the grid, ``None`` where the header is of no use; the problems, each naming the file; the notes.
    """
    try:
        image = nib.load(path)
    except _READ_ERRORS as error:
        return None, [f"cannot be read as NIfTI, {path} ({_reason(error)})"], []
    if not isinstance(image, nib.Nifti1Image):
        return None, [f"not a NIfTI image but {type(image).__name__}, {path}"], []
    shape, kind = tuple(image.shape), image.get_data_dtype().kind
    affine = np.asarray(image.affine, dtype=np.float64)
    problems = _shape_problems(shape, timepoints)
    if kind not in "iuf":
        problems.append("voxels are not grey values but complex or coloured")
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        problems.append("the header gives no usable voxel size and position")
    if problems:
        return None, [f"{problem}, {path}" for problem in problems], []
    notes = []
    if not (image.header["qform_code"] or image.header["sform_code"]):
        notes.append("the header does not say how the image is oriented")
    if check_voxels or not _has_expected_size(path, image):
        try:
            # Only the end of the whole file tells whether its checksum is right; the image's reader stops before.
            if path.name.lower().endswith(".gz"):
                _read_to_the_end(path)
            if read_volume(path, subject).voxels.min() < 0:
                notes.append("negative values, which loading clips to 0")
        except _READ_ERRORS as error:
            # The reader's own messages name the file already.
            reason = _reason(error, subject)
            problems.append(reason if str(path) in reason else f"truncated or corrupt, {path} ({reason})")
    return Grid(shape[:3], affine), problems, notes


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
    lines = [" " * 12 + "".join(f"{f'{name} ({len(entries)})':^30}" for name, entries in split.items()).rstrip()]
    lines.append("sequence".ljust(12) + f"{'have':>8}{'missing':>10}{'withheld':>10}  " * len(split))
    for name in sequences:
        cells = ""
        for entries in split.values():
            have = sum(name in entry for entry in entries)
            withheld = sum(name in entry.get("withheld", {}) for entry in entries)
            cells += f"{have:>8}{len(entries) - have - withheld:>10}{withheld:>10}  "
        lines.append(name.ljust(12) + cells)
    lines += ["", *remarks] if remarks else []
    grids = Counter(text for report in reports for text in {str(grid) for grid in report.grids.values()})
    axes = Counter(text for report in reports for text in {grid.orientation for grid in report.grids.values()})
    lines += ["", "Grids (subjects)", *_counted(grids), "", "Orientations (subjects)", *_counted(axes)]
    unusable = sum(bool(report.problems) for report in reports)
    lines += ["", f"Problems: {f'{unusable} subjects are left out' if unusable else 'none'}"]
    lines += [f"  {report.name}: {problem}" for report in reports for problem in report.problems]
    notes = [f"  {report.name}: {note}" for report in reports for note in report.notes]
    lines += ["", "Notes", *notes] if notes else []
    return "\n".join(line.rstrip() for line in lines)


def _counted(counter: Counter[str]) -> Iterable[str]:
    return (f"  {text:<40}{count:>6}" for text, count in counter.most_common())


def _shape_problems(shape: tuple[int, ...], timepoints: int) -> list[str]:
    size = " x ".join(map(str, shape))
    if len(shape) < 3 or (timepoints == 1 and min(shape[:3]) == 1):
        return [f"2D ({size}) where 3D is expected"]
    if 0 in shape:
        return [f"no voxels ({size})"]
    # A "vector" NIfTI has its timepoints on the fifth axis, after a fourth of size one.
    found = [size for size in shape[3:] if size != 1] or [1]
    if found != [timepoints]:
        return [f"{' x '.join(map(str, found))} timepoints ({size}), the sequence table says {timepoints}"]
    return []


def _has_expected_size(path: Path, image: nib.Nifti1Image) -> bool:
    # nibabel resets the header's own vox_offset on reading.
    expected = getattr(image.dataobj, "offset", 0) + int(np.prod(image.shape)) * image.get_data_dtype().itemsize
    if not path.name.lower().endswith(".gz"):
        return path.stat().st_size >= expected
    with open(path, "rb") as file:
        file.seek(-4, 2)
        return int.from_bytes(file.read(4), "little") == expected % 2**32


def _read_to_the_end(path: Path) -> None:
    with gzip.open(path) as file:
        while file.read(2**20):
            pass


def _differences(report: SubjectReport) -> list[str]:
    """Return one text for each sequence that cannot be brought onto the grid of the subject's first by reorienting."""
    if not report.grids:
        return []
    first, *others = report.grids
    # One number stands for all voxels: grids are compared here as on loading, but without images.
    grids = {
        name: Volume(np.broadcast_to(np.float32(0), (1, *grid.shape)), grid.affine, report.files[name])
        for name, grid in report.grids.items()
    }
    texts = []
    for name in others:
        try:
            match_grid(grids[name], grids[first], report.name, _TOLERANCE)
        except ValueError as error:
            texts.append(f"{first} and {name}: {_reason(error, report.name)}")
    return texts


def _reason(error: BaseException, subject: str = "") -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.splitlines()[0].removeprefix(f"Subject '{subject}': ")
