# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Reads and checks NIfTI files: voxels, their grid, and the times and b-values of the frames of a 4D file.

NIfTI has one field for time, which fits only evenly spaced frames, and none for diffusion weighting. By convention
``scan.json`` holds the times of frames (``FrameTimesStart`` of BIDS, the Brain Imaging Data Structure), and
``scan.bval`` the b-values (of FSL: numbers separated by white space) of ``scan.nii.gz``. A file that cannot be used
raises one error that says why.
"""

from __future__ import annotations

import gzip
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError

__all__ = [
    "Volume",
    "check_intensities",
    "claimed_bytes",
    "even_step",
    "read_volume",
    "set_time_step",
    "sidecar_path",
    "sidecar_texts",
]

# The codes for units of time in a NIfTI header, by the number of seconds.
_SECONDS = {8: 1.0, 16: 1e-3, 24: 1e-6}
_SPACE_UNIT_BITS = 0b111


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
        raise FileNotFoundError(f"{where} does not exist, or is no file; correct the datalist or its dataset_dir.")
    try:
        image, voxels = _load(path)
    except _UnusableError as error:
        raise ValueError(f"{where} {error}") from None
    except PermissionError as error:
        raise ValueError(f"{where} may not be read: permission denied; change the file's permissions.") from error
    except ImageFileError as error:
        raise ValueError(f"{where} is not a NIfTI file, or is corrupt ({error}); replace it.") from error
    except Exception as error:  # on a damaged header nibabel raises nearly anything
        raise ValueError(f"{where} is corrupt or truncated ({error}); copy or convert it again.") from error
    voxels = _timepoints_first(voxels, where)
    check_intensities(voxels, where, allow_constant)
    times = _frame_times(path, image, where)
    b_values = _frame_b_values(path, len(voxels), where)
    return Volume(voxels, np.asarray(image.affine, dtype=np.float64), path, times, b_values)


class _UnusableError(Exception):
    """Says what is wrong with a file, whose name the caller knows."""


def _load(path: Path) -> tuple[nibabel.Nifti1Pair, np.ndarray]:
    """Return a file's header and its voxels in float32, in the order of its axes."""
    image = nibabel.load(path)
    if not isinstance(image, nibabel.Nifti1Pair):
        raise _UnusableError(f"is not a NIfTI file but {type(image).__name__}; convert it to .nii.gz.")
    if path.suffix == ".gz" and isinstance(image, nibabel.Nifti1Image):
        # Decompressed once and to its end, where gzip compares checksums; nibabel stops after the last voxel.
        content = gzip.decompress(path.read_bytes())
        size: float = len(content)
        image = type(image).from_bytes(content)
    else:
        voxels = Path(image.file_map["image"].filename or path)
        size = math.inf if voxels.suffix == ".gz" else voxels.stat().st_size
    dtype, shape = image.get_data_dtype(), [int(axis) for axis in image.shape]
    if dtype.kind not in "iuf":
        raise _UnusableError(f"holds {dtype} voxels, not grey values; give a grey-scale image.")
    if not np.isfinite(image.affine).all() or abs(np.linalg.det(image.affine[:3, :3])) < 1e-12:
        raise _UnusableError("has an affine that is singular or not finite; correct the file's header.")
    needed = claimed_bytes(image)  # before memory is taken for them
    if min(shape, default=0) < 0 or needed > size:
        claimed = " x ".join(map(str, shape))
        raise _UnusableError(
            f"is corrupt or truncated: {claimed} voxels take {needed} bytes, it has {size}; copy or convert it again."
        )
    return image, image.get_fdata(dtype=np.float32, caching="unchanged")


def claimed_bytes(image: nibabel.Nifti1Pair) -> int:
    """Return how many bytes a file, decompressed, must have to hold the voxels of which its header speaks."""
    # nibabel resets the header's own vox_offset on reading.
    offset = int(getattr(image.dataobj, "offset", 0))
    return offset + math.prod(map(int, image.shape)) * image.get_data_dtype().itemsize


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
    """Check the voxels ``[T, X, Y, Z]`` of a file.

    Raises:
        ValueError: when a timepoint is not finite everywhere, or is constant.
    """
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


def sidecar_path(path: Path, ending: str) -> Path:
    """Return the path of the file beside a NIfTI file, for ``ending`` ``".json"`` or ``".bval"``."""
    return path.with_name(path.name.removesuffix(".gz")).with_suffix(ending)


def _frame_times(path: Path, image: nibabel.Nifti1Pair, where: str) -> tuple[float, ...] | None:
    """Return the seconds from the first frame to the start of each frame.

    They come from ``FrameTimesStart`` of the ``.json`` file, or else from the header, when that gives a time between
    frames in s, ms or µs; ``None`` for a 3D file, and when neither says.
    """
    frames = int(np.prod(image.shape[3:]))
    if frames < 2:
        return None
    sidecar = sidecar_path(path, ".json")
    if sidecar.is_file():
        try:
            content = json.loads(sidecar.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{where}: its sidecar {sidecar} is not readable JSON ({error}); repair it.") from error
        if not isinstance(content, dict):
            raise ValueError(f"{where}: its sidecar {sidecar} is not a JSON object; repair it.")
        if content.get("FrameTimesStart") is not None:
            times = content["FrameTimesStart"]
            times = times if isinstance(times, list) else [times]
            _check_times(times, frames, f"{where}: FrameTimesStart in {sidecar}")
            return tuple(float(time - times[0]) for time in times)
    unit = _SECONDS.get(int(image.header["xyzt_units"]) & ~_SPACE_UNIT_BITS)
    # The fourth spacing is one of time only if the timepoints are the fourth axis.
    if unit is None or image.shape[3] != frames:
        return None
    step = float(image.header["pixdim"][4]) * unit
    if not np.isfinite(step):
        raise ValueError(f"{where} has {step} as time between its frames (pixdim[4]); correct the file's header.")
    return tuple(step * frame for frame in range(frames)) if step > 0 else None


def _frame_b_values(path: Path, frames: int, where: str) -> tuple[float, ...] | None:
    """Return the b-values of the ``frames`` frames in s/mm², from the ``.bval`` file; ``None`` when there is none."""
    sidecar = sidecar_path(path, ".bval")
    if frames < 2 or not sidecar.is_file():
        return None
    try:
        values = tuple(float(word) for word in sidecar.read_text(encoding="utf-8").split())
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{where}: {sidecar} cannot be read as numbers separated by white space ({error}); correct it."
        ) from error
    _check_b_values(values, frames, f"{where}: {sidecar}")
    return values


def _check_times(values: Sequence[object], frames: int, which: str) -> None:
    _check_numbers(values, frames, which, "the start of each frame in seconds")
    if not (np.diff(np.array(values, dtype=float)) > 0).all():
        raise ValueError(f"{which} is not increasing; bring the frames, or their times, into the order of time.")


def _check_b_values(values: Sequence[object], frames: int, which: str) -> None:
    _check_numbers(values, frames, which, "the b-value of each frame in s/mm²")
    if (np.array(values, dtype=float) < 0).any():
        raise ValueError(f"{which} has negative b-values; correct it.")


def _check_numbers(values: Sequence[object], frames: int, which: str, what: str) -> None:
    if len(values) != frames:
        raise ValueError(f"{which} has {len(values)} values for {frames} frames; give {what}.")
    if not all(isinstance(value, (int, float)) for value in values):
        raise ValueError(f"{which} holds {list(values)!r}, not numbers; give {what}.")
    if not np.isfinite(np.array(values, dtype=float)).all():
        raise ValueError(f"{which} has values that are NaN or infinite; give {what}.")


def even_step(times: Sequence[float]) -> float | None:
    """Return the seconds between frames when a header can hold them: evenly spaced, the first at 0; else ``None``."""
    steps = np.diff(times)
    even = len(steps) > 0 and times[0] == 0 and np.allclose(steps, steps[0], rtol=1e-6, atol=0)
    return float(steps[0]) if even else None


def set_time_step(header: nibabel.Nifti1Header, step: float | None) -> None:
    """Put the seconds between frames into a header; ``None`` takes out what it says of time."""
    space_unit = int(header["xyzt_units"]) & _SPACE_UNIT_BITS
    header["pixdim"][4] = 1 if step is None else step
    header["xyzt_units"] = space_unit | (0 if step is None else 8)


def sidecar_texts(
    path: Path, frames: int, times: Sequence[float] | None, b_values: Sequence[float] | None
) -> dict[Path, str | None]:
    """Return the ``.json`` and the ``.bval`` path beside a 4D NIfTI file, and what is in each.

    ``None`` stands for a file that must not be; ``times`` are in seconds and ``b_values`` in s/mm².

    Raises:
        ValueError: when there is not one finite number for each frame, times do not increase, or a b-value is negative.
    """
    texts: dict[Path, str | None] = {sidecar_path(path, ".json"): None, sidecar_path(path, ".bval"): None}
    if times is not None:
        _check_times(times, frames, f"{path}: times")
        if even_step(times) is None:
            content = {"FrameTimesStart": [float(time) for time in times]}
            texts[sidecar_path(path, ".json")] = json.dumps(content, indent=4) + "\n"
    if b_values is not None:
        _check_b_values(b_values, frames, f"{path}: b_values")
        texts[sidecar_path(path, ".bval")] = " ".join(repr(float(value)) for value in b_values) + "\n"
    return texts
