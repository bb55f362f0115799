# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Reads a folder of DICOM files as one 3D or 4D volume.

MONAI's DICOM readers are for one 3D series, without timepoints or b-values. They sort by instance number, and give all
slices their mean distance; of slices that do not fit they only warn. So the slices are sorted here, and pydicom reads
the files.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import numpy as np

from seq2seq_mri.io.dicom.dicom_frames import Frames, frames_of
from seq2seq_mri.io.dicom.dicom_slices import DicomSlice, read_pixels, read_slices
from seq2seq_mri.io.nifti import Volume, check_intensities

__all__ = ["read_dicom_grid", "read_dicom_series"]

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Positions that differ by less, in mm, are one position: headers differ by rounding.
_SAME_POSITION = 0.05
# How far a slice may be from its place in an even stack, as a share of the distance of slices.
_UNEVEN = 0.05


def read_dicom_series(folder: str | os.PathLike, subject: str, allow_constant: bool = False) -> Volume:
    """Read all DICOM images below a folder as one volume, with its timepoints or b-values.

    The folder holds one series, or several of one acquisition, such as a series for each frame of a DCE or for each
    b-value; classic files (one slice each) or enhanced ones (many). Other files in it are passed over. Frames are told
    apart by TemporalPositionIdentifier, else TriggerTime, else the time of acquisition, else the number of the
    acquisition or of the series. Where images have b-values above 0, there is one frame for each b-value: the scanner's
    trace images, or else the mean over all directions and repetitions.

    The affine is the exact one of ImagePositionPatient and ImageOrientationPatient, also when oblique: X runs along the
    rows of the images, Y along their columns and Z along the normal. Intensities are those after RescaleSlope and
    RescaleIntercept (arbitrary units). With ``allow_constant`` a frame may have the same value everywhere.

    Raises:
        FileNotFoundError: when the folder does not exist, is empty, or has no DICOM image.
        ValueError: when a file is corrupt, truncated or compressed in an unknown way, slices or frames are missing,
            cannot be told apart, or differ in size or orientation, there are several unrelated series, or voxels are
            NaN, infinite or constant.
    """
    folder = Path(folder)
    frames, affine = _arrange(folder, subject)
    try:
        voxels = _read_voxels(frames.images)
    except (OSError, ValueError) as error:
        raise ValueError(f"Subject '{subject}': {error}") from error
    check_intensities(voxels, f"Subject '{subject}': {folder}", allow_constant)
    return Volume(voxels, affine, folder, frames.times, frames.b_values, frames.start)


def read_dicom_grid(folder: str | os.PathLike, subject: str) -> Volume:
    """Return what :func:`read_dicom_series` would, from headers alone: voxels are zeros, which take no memory.

    Raises:
        FileNotFoundError: as :func:`read_dicom_series`.
        ValueError: as :func:`read_dicom_series`, but for what is wrong with pixels.
    """
    frames, affine = _arrange(Path(folder), subject)
    rows, columns = frames.images[0][0][0].shape
    voxels = np.broadcast_to(np.float32(0), (len(frames.images), columns, rows, len(frames.images[0])))
    return Volume(voxels, affine, Path(folder), frames.times, frames.b_values, frames.start)


def _arrange(folder: Path, subject: str) -> tuple[Frames, np.ndarray]:
    """Return the frames of a folder, and their RAS+ affine."""
    try:
        slices = read_slices(folder)
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(f"Subject '{subject}': {error}") from error
    try:
        _check_alike(slices)
        stack, affine = _stack(slices)
        return frames_of(stack), affine
    except ValueError as error:
        raise ValueError(f"Subject '{subject}': {folder}: {error}") from error


def _check_alike(slices: list[DicomSlice]) -> None:
    first = slices[0]
    for part in slices:
        both = f"{first.path.name} and {part.path.name}"
        for what, one, other in zip(("studies", "modalities", "maps"), first.origin, part.origin, strict=True):
            if one != other:
                raise ValueError(
                    f"{both} are of different {what} ({one or 'none'} and {other or 'none'}); give a folder with one "
                    "acquisition."
                )
        if not np.allclose(part.orientation, first.orientation, atol=1e-3):
            raise ValueError(
                f"{both} have different orientations; the folder holds unrelated series, such as a localiser. Give a "
                "folder with one acquisition."
            )
        if part.shape != first.shape or not np.allclose(part.spacing, first.spacing, rtol=1e-3):
            sizes = [
                f"{p.shape[0]} x {p.shape[1]} pixels of {p.spacing[0]:g} x {p.spacing[1]:g} mm" for p in (first, part)
            ]
            raise ValueError(f"{both} have different sizes, {sizes[0]} and {sizes[1]}; give one acquisition.")


def _stack(slices: list[DicomSlice]) -> tuple[list[list[DicomSlice]], np.ndarray]:
    """Return all images at each position along the normal, and the RAS+ affine; check that positions are even."""
    along_row, along_column = slices[0].orientation
    normal = np.cross(along_row, along_column)
    stack: list[list[DicomSlice]] = []
    for part in sorted(slices, key=lambda part: float(part.position @ normal)):
        if not stack or (part.position - stack[-1][0].position) @ normal > _SAME_POSITION:
            stack.append([])
        stack[-1].append(part)
        distance = float(np.linalg.norm(part.position - stack[-1][0].position))
        if distance > 2 * _SAME_POSITION:
            raise ValueError(
                f"{stack[-1][0].path.name} and {part.path.name} lie beside each other, {distance:.3g} mm apart in one "
                "plane; give one acquisition."
            )
    positions = np.array([place[0].position for place in stack])
    if len(stack) == 1:
        thickness = slices[0].thickness
        if not thickness or thickness < 0:
            raise ValueError(
                f"{slices[0].path.name} is the only slice and has no SpacingBetweenSlices; its size is unknown."
            )
        step = normal * thickness
    else:
        step = (positions[-1] - positions[0]) / (len(stack) - 1)
        beside = positions - positions[0] - np.outer(np.arange(len(stack)), step)
        if np.linalg.norm(beside, axis=1).max() > _UNEVEN * np.linalg.norm(step):
            gaps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
            below, above = stack[int(gaps.argmax())][0], stack[int(gaps.argmax()) + 1][0]
            raise ValueError(
                f"the slices lie {gaps.min():.3g} to {gaps.max():.3g} mm apart, most between {below.path.name} and "
                f"{above.path.name}: a slice is missing, or the frames lie on different grids. Export the series "
                "again, or give a folder with one acquisition."
            )
    between_rows, between_columns = slices[0].spacing
    affine = np.eye(4)
    affine[:3] = np.stack([along_row * between_columns, along_column * between_rows, step, positions[0]], axis=1)
    return stack, _LPS_TO_RAS @ affine


def _read_voxels(frames: list[list[list[DicomSlice]]]) -> np.ndarray:
    """Return ``[T, X, Y, Z]``, the mean of the images of each frame and position."""
    # A file of many frames is read once.
    by_path: dict[Path, list[tuple[int, int, int, DicomSlice]]] = defaultdict(list)
    for time, frame in enumerate(frames):
        for place, parts in enumerate(frame):
            for part in parts:
                by_path[part.path].append((time, place, len(parts), part))
    rows, columns = frames[0][0][0].shape
    voxels = np.zeros((len(frames), columns, rows, len(frames[0])), dtype=np.float32)
    for path, contents in by_path.items():
        try:
            pixels = read_pixels(path)
        except ValueError as error:
            raise ValueError(f"{path} {error}") from error
        for time, place, number, part in contents:
            rescaled = pixels[part.index].astype(np.float64) * part.slope + part.intercept
            voxels[time, :, :, place] += (rescaled / number).T.astype(np.float32)
    return voxels
