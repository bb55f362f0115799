# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Whether one image can be loaded: a NIfTI file, one file for each timepoint, or a folder of DICOM files."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from seq2seq_mri.io.datalists.scan import Series
from seq2seq_mri.io.dicom.read_dicom import read_dicom_grid, read_dicom_series
from seq2seq_mri.io.grids import match_grid
from seq2seq_mri.io.read_nifti import Volume, read_volume

__all__ = ["Grid", "first_line", "grid_difference", "inspect_image", "inspect_series"]

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


def inspect_series(
    series: Series,
    subject: str,
    timepoints: int = 1,
    *,
    check_voxels: bool = False,
    allow_other_timepoints: bool = False,
) -> tuple[Grid | None, list[str], list[str]]:
    """Check one image of a sequence.

    Args:
        series: a NIfTI file, a folder of DICOM files, or one 3D NIfTI file for each timepoint.
        subject: the subject's name.
        timepoints: how many it must have, by the sequence table.
        check_voxels: whether to read the voxels, and so to find damage inside, NaN, infinite values and constant
            images.
        allow_other_timepoints: whether a series of another number of timepoints is only worth a note, where both it
            and the table have several: loading may resample it in time, or pick its b-values.

    Returns:
        the grid, ``None`` where headers are of no use; the problems, each naming a file or folder; the notes.
    """
    if isinstance(series, tuple):
        return _inspect_frames(series, subject, timepoints, check_voxels, allow_other_timepoints)
    if series.is_dir():
        return _inspect_dicom(series, subject, timepoints, check_voxels, allow_other_timepoints)
    return inspect_image(
        series, subject, timepoints, check_voxels=check_voxels, allow_other_timepoints=allow_other_timepoints
    )


def _inspect_frames(
    frames: tuple[Path, ...], subject: str, timepoints: int, check_voxels: bool, allow_other_timepoints: bool
) -> tuple[Grid | None, list[str], list[str]]:
    reports = [inspect_image(path, subject, check_voxels=check_voxels) for path in frames]
    problems = [problem for _, found, _ in reports for problem in found]
    notes = list(dict.fromkeys(note for _, _, found in reports for note in found))
    grids = [grid for grid, _, _ in reports if grid is not None]
    if not problems:
        differences = (
            grid_difference(grids[0], frames[0], grid, path, subject) for grid, path in zip(grids, frames, strict=True)
        )
        problems += [difference for difference in differences if difference][:1]
    where = f"{frames[0]} to {frames[-1].name}"
    counted = _other_timepoints(str(len(frames)), timepoints, where, allow_other_timepoints)
    return (None if problems or counted[0] else grids[0]), problems + counted[0], notes + counted[1]


def _inspect_dicom(
    folder: Path, subject: str, timepoints: int, check_voxels: bool, allow_other_timepoints: bool
) -> tuple[Grid | None, list[str], list[str]]:
    try:
        volume = (read_dicom_series if check_voxels else read_dicom_grid)(folder, subject)
    except (FileNotFoundError, ValueError) as error:
        return None, [first_line(error, subject)], []
    problems, notes = _other_timepoints(str(len(volume.voxels)), timepoints, str(folder), allow_other_timepoints)
    return None if problems else Grid(volume.voxels.shape[1:], volume.affine), problems, notes


def _other_timepoints(found: str, timepoints: int, where: str, allow: bool) -> tuple[list[str], list[str]]:
    """Return the problem, or the note, that an image has another number of timepoints than the table; or neither."""
    if found == str(timepoints):
        return [], []
    text = f"{found} timepoints{where and f' ({where})'}, the sequence table says {timepoints}"
    if not found.isdecimal() or min(int(found), timepoints) < 2:
        return [text], []
    return ([], [text]) if allow else ([f"{text}; --allow_other_timepoints keeps such subjects in the datalist"], [])


def grid_difference(first: Grid, first_path: Path, other: Grid, other_path: Path, subject: str) -> str:
    """Return why an image cannot be brought onto the grid of another by reorienting; empty where it can."""
    # One number stands for all voxels: grids are compared here as on loading, but without images.
    one, another = (
        Volume(np.broadcast_to(np.float32(0), (1, *grid.shape)), grid.affine, path)
        for grid, path in ((first, first_path), (other, other_path))
    )
    try:
        match_grid(another, one, subject, _TOLERANCE)
    except ValueError as error:
        return first_line(error, subject)
    return ""


def inspect_image(
    path: Path,
    subject: str,
    timepoints: int = 1,
    *,
    check_voxels: bool = False,
    allow_other_timepoints: bool = False,
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
        allow_other_timepoints: see :func:`inspect_series`.

    Returns:
        the grid, ``None`` where the header is of no use; the problems, each naming the file; the notes.
    """
    try:
        image = nib.load(path)
    except _READ_ERRORS as error:
        return None, [f"cannot be read as NIfTI, {path} ({first_line(error)})"], []
    if not isinstance(image, nib.Nifti1Image):
        return None, [f"not a NIfTI image but {type(image).__name__}, {path}"], []
    shape, kind = tuple(image.shape), image.get_data_dtype().kind
    affine = np.asarray(image.affine, dtype=np.float64)
    problems, notes = _shape_problems(shape, timepoints, allow_other_timepoints)
    if kind not in "iuf":
        problems.append("voxels are not grey values but complex or coloured")
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        problems.append("the header gives no usable voxel size and position")
    if problems:
        return None, [f"{problem}, {path}" for problem in problems], []
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
            reason = first_line(error, subject)
            problems.append(reason if str(path) in reason else f"truncated or corrupt, {path} ({reason})")
    return Grid(shape[:3], affine), problems, notes


def _shape_problems(
    shape: tuple[int, ...], timepoints: int, allow_other_timepoints: bool
) -> tuple[list[str], list[str]]:
    size = " x ".join(map(str, shape))
    if len(shape) < 3 or (timepoints == 1 and min(shape[:3]) == 1):
        return [f"2D ({size}) where 3D is expected"], []
    if 0 in shape:
        return [f"no voxels ({size})"], []
    # A "vector" NIfTI has its timepoints on the fifth axis, after a fourth of size one.
    found = [size for size in shape[3:] if size != 1] or [1]
    return _other_timepoints(" x ".join(map(str, found)), timepoints, size, allow_other_timepoints)


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


def first_line(error: BaseException, subject: str = "") -> str:
    """Return the first line of an error's message, without the subject that a table names anyway."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.splitlines()[0].removeprefix(f"Subject '{subject}': ")
