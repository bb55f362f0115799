# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Sorts the slices of a 4D acquisition into frames: timepoints of a dynamic series, or b-values of DWI.

Slices come as a *stack*: for each position along the slice axis, the list of all images that were taken there.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from seq2seq_mri.io.dicom.dicom_slices import DicomSlice

__all__ = ["Frames", "frames_of"]

Stack = list[list[DicomSlice]]

# What tells frames apart, and their order, by preference.
_KEYS: dict[str, Callable[[DicomSlice], Any]] = {
    "TemporalPositionIdentifier": lambda part: part.temporal_position,
    "TriggerTime": lambda part: part.trigger_time,
    "the time of acquisition": lambda part: part.acquired,
    "AcquisitionNumber": lambda part: part.acquisition_number,
    "SeriesNumber": lambda part: part.series_number,
}
_CLOCKS = ("TriggerTime", "the time of acquisition")
# How much, as a share, the time from one frame to the next may differ between slices.
_UNEVEN = 0.1
_BEGINNING = datetime(1900, 1, 1)


@dataclass(frozen=True)
class Frames:
    """The frames of one acquisition, in order.

    Attributes:
        images: for each frame and each position of the stack, the images to be averaged there.
        times: seconds from the first frame to each; ``None`` with one frame, for DWI, or where no file says.
        b_values: of each frame in s/mm²; ``None`` where it is no DWI.
        start: seconds from the beginning of 1900 to the first frame, or from midnight where the day is unknown;
            ``None`` where no file says.
    """

    images: list[Stack]
    times: tuple[float, ...] | None = None
    b_values: tuple[float, ...] | None = None
    start: float | None = None


def frames_of(stack: Stack) -> Frames:
    """Sort a stack into frames; errors leave the folder to the caller.

    An acquisition is DWI when a b-value above 0 is among its images, or when all are 0 and it has one frame.

    Raises:
        ValueError: when a frame lacks a slice, a frame is missing, images cannot be told apart, some images have a
            b-value and others none, or the frames' times do not increase; the message leaves the folder to the caller.
    """
    parts = _flat(stack)
    b_values = {part.b_value for part in parts}
    if any(b_values - {None}):
        if None in b_values:
            lacking = [part for part in parts if part.b_value is None]
            raise ValueError(
                f"{len(lacking)} of {len(parts)} images have no b-value, for example {lacking[0].path.name}; remove "
                "what does not belong to the DWI, or convert it to NIfTI with a .bval file."
            )
        return _diffusion(stack)
    frames = _dynamic(stack)
    moments = [part.acquired for part in _flat(frames[0]) if part.acquired is not None]
    return Frames(
        frames,
        times=_times(frames) if len(frames) > 1 else None,
        b_values=(0.0,) if len(frames) == 1 and None not in b_values else None,
        start=(min(moments) - _BEGINNING).total_seconds() if moments else None,
    )


def _diffusion(stack: Stack) -> Frames:
    # Scanners round b-values that they compute from gradients.
    weights = sorted({round(part.b_value or 0) for part in _flat(stack)})
    frames = []
    for weight in weights:
        frame = [[part for part in place if round(part.b_value or 0) == weight] for place in stack]
        if any(part.trace for part in _flat(frame)):
            # A trace image is the mean over the directions already, which may be stored beside it.
            frame = [[part for part in place if part.trace] for place in frame]
        _check_even(frame, f"b = {weight} s/mm²: ")
        frames.append(frame)
    return Frames(frames, b_values=tuple(float(weight) for weight in weights))


def _dynamic(stack: Stack) -> list[Stack]:
    numbers, parts = [len(place) for place in stack], _flat(stack)
    for name, key in _KEYS.items():
        values = {key(part) for part in parts}
        # A number of the timepoint means frames even where no position was measured twice: all have lost slices.
        several = max(numbers) > 1 or (name == "TemporalPositionIdentifier" and len(values) < len(parts))
        if None in values or len(values) < 2 or not several:
            continue
        order = sorted(values)
        frames = [[[part for part in place if key(part) == value] for place in stack] for value in order]
        if any(len(place) > 1 for frame in frames for place in frame):
            continue
        if len(frames) == max(numbers) or name == "TemporalPositionIdentifier":
            _check_complete(frames, order, name)
            return frames
        if name in _CLOCKS and min(numbers) == max(numbers):
            return _slice_by_slice(stack, name)
    _check_even(stack)
    if max(numbers) > 1:
        first, second = stack[0][:2]
        raise ValueError(
            f"{max(numbers)} images lie at every slice position, and neither times, nor numbers of timepoint, "
            f"acquisition or series, nor b-values tell them apart: {first.path.name} ({first.image_type}) and "
            f"{second.path.name} ({second.image_type}). Remove copies, and keep one kind of image, such as magnitude."
        )
    return [stack]


def _slice_by_slice(stack: Stack, name: str) -> list[Stack]:
    """Sort slices that were measured one after another, and so each have their own time."""
    by_time = [sorted(place, key=_KEYS[name]) for place in stack]
    frames = [[[place[index]] for place in by_time] for index in range(len(by_time[0]))]
    for number, (earlier, later) in enumerate(itertools.pairwise(frames), start=1):
        # Whatever the order of the slices, as long as it is that of all frames, this is the same for all of them.
        intervals = [
            _in_seconds(_KEYS[name](new) - _KEYS[name](old))
            for old, new in zip(_flat(earlier), _flat(later), strict=True)
        ]
        if max(intervals) - min(intervals) > _UNEVEN * max(intervals):
            raise ValueError(
                f"{name} differs by {min(intervals):g} to {max(intervals):g} s between the slices of frames {number} "
                f"and {number + 1}; the times of some are wrong, or the folder holds unrelated series."
            )
    return frames


def _check_even(stack: Stack, which: str = "") -> None:
    numbers = [len(place) for place in stack]
    if min(numbers) != max(numbers):
        raise ValueError(
            f"{which}slice position {numbers.index(min(numbers)) + 1} of {len(stack)} has {min(numbers)} images and "
            f"position {numbers.index(max(numbers)) + 1} has {max(numbers)}; a file is missing, or one does not belong "
            "to the series. Export the series again."
        )


def _check_complete(frames: list[Stack], order: Sequence, name: str) -> None:
    for number, (frame, value) in enumerate(zip(frames, order, strict=True), start=1):
        found = sum(map(len, frame))
        if found < len(frame):
            lost = next(place for place, parts in enumerate(frame, start=1) if not parts)
            raise ValueError(
                f"frame {number} of {len(frames)} ({name} {value}) has {found} slices where there are {len(frame)} "
                f"positions; it lacks position {lost}. A file is missing, or the frames lie on different grids."
            )
    if name == "TemporalPositionIdentifier" and order[-1] - order[0] + 1 != len(order):
        lost = next(value for value in range(order[0], order[-1]) if value not in order)
        raise ValueError(
            f"the frames have {name} {', '.join(map(str, order))}: frame {lost} is missing. Export the series again."
        )


def _times(frames: list[Stack]) -> tuple[float, ...] | None:
    """Return when each frame's first slice was measured, from the first clock in the headers that tells them apart."""
    contradiction = ""
    for name in _CLOCKS:
        readings = [[_KEYS[name](part) for part in _flat(frame)] for frame in frames]
        if any(reading is None for frame in readings for reading in frame):
            continue
        starts = [min(frame) for frame in readings]
        seconds = [_in_seconds(start - starts[0]) for start in starts]
        if all(later > earlier for earlier, later in itertools.pairwise(seconds)):
            # Microseconds, in which DICOM counts, undo the rounding of the subtraction.
            return tuple(round(second, 6) for second in seconds)
        if len(set(seconds)) > 1:
            contradiction = f"{name} puts the frames at {', '.join(f'{second:g}' for second in seconds)} s"
    if contradiction:
        raise ValueError(
            f"{contradiction}, which do not increase; the series' headers contradict each other. Convert the frames to "
            "one 4D NIfTI file in the right order."
        )
    resolution = frames[0][0][0].temporal_resolution
    return tuple(number * resolution for number in range(len(frames))) if resolution else None


def _in_seconds(interval: timedelta | float) -> float:
    return interval.total_seconds() if isinstance(interval, timedelta) else float(interval)


def _flat(frame: Stack) -> list[DicomSlice]:
    return [part for place in frame for part in place]
