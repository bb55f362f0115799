# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Frame times and b-values of a 4D NIfTI file: in its header, and in the .json and .bval files beside it.

NIfTI has one field for time, the spacing of frames that are evenly spaced, and none for diffusion weighting. By
convention ``scan.json`` holds the times of frames (``FrameTimesStart`` of BIDS, the Brain Imaging Data Structure), and
``scan.bval`` the b-values (of FSL: numbers separated by white space) of ``scan.nii.gz``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np

__all__ = ["even_step", "frame_b_values", "frame_times", "set_time_step", "sidecar_path", "sidecar_texts"]

# The codes for units of time in a NIfTI header, by the number of seconds.
_SECONDS = {8: 1.0, 16: 1e-3, 24: 1e-6}
_SPACE_UNIT_BITS = 0b111


def sidecar_path(path: Path, ending: str) -> Path:
    """Return the path of the file beside a NIfTI file, for ``ending`` ``".json"`` or ``".bval"``."""
    return path.with_name(path.name.removesuffix(".gz")).with_suffix(ending)


def frame_times(path: Path, image: nibabel.Nifti1Pair, where: str) -> tuple[float, ...] | None:
    """Return the seconds from the first frame to the start of each frame.

    They come from ``FrameTimesStart`` of the sidecar, or else from the header's spacing of frames; ``None`` for a 3D
    file, and when neither says.

    Raises:
        ValueError: when the sidecar or the header cannot be used.
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


def frame_b_values(path: Path, frames: int, where: str) -> tuple[float, ...] | None:
    """Return the b-values of the ``frames`` frames in s/mm², from the ``.bval`` file; ``None`` when there is none.

    Raises:
        ValueError: when the file is unreadable, or has not one finite number, zero or above, for each frame.
    """
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
