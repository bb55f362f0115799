# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Reads a NIfTI file as a volume, and names each defect that makes the file unusable in one clear error."""

from __future__ import annotations

import gzip
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from seq2seq_mri.io.sidecars import frame_b_values, frame_times

__all__ = ["Volume", "check_intensities", "read_volume"]


@dataclass(frozen=True)
class Volume:
    """One image series on one voxel grid.

    Attributes:
        voxels: float32 array of shape ``[T, X, Y, Z]``.
        affine: float64 array of shape ``[4, 4]``, from voxel indices to millimetres in RAS+ space.
        path: the file or folder it was read from, for messages.
        times: seconds from the first frame to the start of each of the ``T`` frames, so 0 comes first; strictly
            increasing. ``None`` where the file does not say.
        b_values: diffusion weighting of each of the ``T`` frames in s/mm². ``None`` where the file does not say.
        start: seconds from an origin that is common to all series of an examination to the first frame; it lays series
            that are read one by one on one axis of time. ``None`` where the file does not say, and for NIfTI.
    """

    voxels: np.ndarray
    affine: np.ndarray
    path: Path
    times: tuple[float, ...] | None = None
    b_values: tuple[float, ...] | None = None
    start: float | None = None


def read_volume(path: str | os.PathLike, subject: str, allow_constant: bool = False) -> Volume:
    """Read a 3D or 4D NIfTI file and check that it can be used.

    The times of the frames of a 4D file come from ``FrameTimesStart`` of a BIDS sidecar ``.json`` of the same name, or
    else from the header, when that gives a time between frames in s, ms or µs; b-values from a ``.bval`` file of the
    same name. A 3D file has neither.

    Intensities are as stored in the file after its scaling (arbitrary units; negative values are kept). With
    ``allow_constant`` a timepoint may have the same value everywhere. Whatever makes the file unusable is a
    ``FileNotFoundError`` or a ``ValueError`` that names ``subject`` and file.

    Raises:
        FileNotFoundError: when the file does not exist.
        ValueError: when it cannot be read, is corrupt, truncated, not a NIfTI, not 3D or 4D, holds NaN or infinite
            values, or has a timepoint that is constant; or when times or b-values beside it are unreadable, not finite,
            not increasing (times), negative (b-values), or not one for each frame.
    """
    path = Path(path)
    where = f"Subject '{subject}': {path}"
    if not path.is_file():
        raise FileNotFoundError(f"{where} does not exist; correct the datalist or its dataset_dir.")
    try:
        image = nibabel.load(path)
        if not isinstance(image, nibabel.nifti1.Nifti1Pair):
            raise ValueError(f"{where} is not a NIfTI file but {type(image).__name__}; convert it to .nii.gz.")
        kind = image.get_data_dtype().kind
    except PermissionError as error:
        raise ValueError(f"{where} may not be read: permission denied; change the file's permissions.") from error
    except ImageFileError as error:
        raise ValueError(f"{where} is not a NIfTI file, or is corrupt ({error}); replace it.") from error
    except (OSError, EOFError, zlib.error, HeaderDataError) as error:
        raise ValueError(f"{where} is corrupt or truncated ({error}); copy or convert it again.") from error
    if kind not in "iuf":
        raise ValueError(f"{where} holds {image.get_data_dtype()} voxels, not grey values; give a grey-scale image.")
    if not np.isfinite(image.affine).all() or abs(np.linalg.det(image.affine[:3, :3])) < 1e-12:
        raise ValueError(f"{where} has an affine that is singular or not finite; correct the file's header.")
    try:
        if path.suffix == ".gz" and isinstance(image, nibabel.Nifti1Image):
            # Decompressed once and to its end, where gzip compares checksums; nibabel stops after the last voxel.
            image = type(image).from_bytes(gzip.decompress(path.read_bytes()))
        voxels = image.get_fdata(dtype=np.float32, caching="unchanged")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ValueError(f"{where} is corrupt or truncated ({error}); copy or convert it again.") from error
    voxels = _timepoints_first(voxels, where)
    check_intensities(voxels, where, allow_constant)
    times = frame_times(path, image, where)
    b_values = frame_b_values(path, len(voxels), where)
    return Volume(voxels, np.asarray(image.affine, dtype=np.float64), path, times, b_values)


def _timepoints_first(voxels: np.ndarray, where: str) -> np.ndarray:
    if voxels.ndim < 3:
        raise ValueError(f"{where} is {voxels.ndim}D, of shape {voxels.shape}; a 3D volume is expected.")
    # A "vector" NIfTI keeps its timepoints in the fifth dimension, behind a fourth of size one.
    series_shape = [size for size in voxels.shape[3:] if size != 1]
    if len(series_shape) > 1:
        raise ValueError(f"{where} has shape {voxels.shape}; a 3D volume or a 4D series is expected.")
    if voxels.size == 0:
        raise ValueError(f"{where} has no voxels: its shape is {voxels.shape}.")
    return np.moveaxis(voxels.reshape(*voxels.shape[:3], -1, order="F"), -1, 0)


def check_intensities(voxels: np.ndarray, where: str, allow_constant: bool = False) -> None:
    """Raise a ``ValueError`` when a timepoint of ``[T, X, Y, Z]`` is not finite everywhere, or is constant."""
    for timepoint, volume in enumerate(voxels):
        which = f"{where}, timepoint {timepoint}," if len(voxels) > 1 else where
        # The minimum and maximum of values among which there is a NaN are NaN.
        lowest, highest = float(volume.min()), float(volume.max())
        if not (np.isfinite(lowest) and np.isfinite(highest)):
            count = int(np.count_nonzero(~np.isfinite(volume)))
            raise ValueError(f"{which} has {count} voxels that are NaN or infinite; repair or leave out the image.")
        if lowest == highest and not allow_constant:
            kind = "all zero" if lowest == 0 else f"constant ({lowest:g} everywhere)"
            raise ValueError(f"{which} is {kind}; leave the sequence out of the datalist.")
