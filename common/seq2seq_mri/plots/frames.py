# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The axis of a 4D sequence's timepoints (seconds, b-values or numbers), and the one to show where only one fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from seq2seq_mri.sequences import check_sequences, sequence_index

__all__ = ["FrameAxis", "frame_axes", "frame_axis"]

_LABELS = {"time": "time from the first frame (s)", "b_value": "b-value (s/mm²)", "timepoint": "timepoint"}


@dataclass(frozen=True)
class FrameAxis:
    """The timepoints of one sequence: seconds from the first frame, b-values in s/mm², or 1 to T."""

    kind: Literal["time", "b_value", "timepoint"]
    values: tuple[float, ...]

    @property
    def label(self) -> str:
        """The quantity and its unit."""
        return _LABELS[self.kind]

    @property
    def shown(self) -> int:
        """The timepoint to show alone, counted from 0.

        That of the highest b-value, where lesions stand out most; else timepoint T // 2, which in a dynamic series is
        one after the contrast agent.
        """
        return int(np.argmax(self.values)) if self.kind == "b_value" else len(self.values) // 2

    def name(self, timepoint: int) -> str:
        """Return how a timepoint (counted from 0) is named: ``"90 s"``, ``"b = 800"`` or ``"timepoint 2/6"``."""
        value = self.values[timepoint]
        if self.kind == "time":
            return f"{value:g} s"
        return f"b = {value:g}" if self.kind == "b_value" else f"timepoint {timepoint + 1}/{len(self.values)}"


def frame_axis(
    timepoints: int, times: Sequence[float] | None = None, b_values: Sequence[float] | None = None
) -> FrameAxis:
    """Return the axis of ``timepoints`` timepoints.

    Args:
        timepoints: their number T.
        times: for each the time in seconds from the first frame, increasing; or None.
        b_values: for each the b-value in s/mm²; or None.

    Raises:
        ValueError: when both are given, their number is not T, or they are not as described.
    """
    if times is not None and b_values is not None:
        raise ValueError("There are both times and b-values for one sequence; give one of the two.")
    if times is None and b_values is None:
        return FrameAxis("timepoint", tuple(float(number) for number in range(1, timepoints + 1)))
    name, given = ("times", times) if times is not None else ("b-values", b_values)
    values = np.asarray(given, dtype=float)
    if values.shape != (timepoints,):
        raise ValueError(f"The {name} are {given}, but there are {timepoints} timepoints; give one for each.")
    if not np.isfinite(values).all() or values.min() < 0 or (times is not None and (np.diff(values) <= 0).any()):
        raise ValueError(
            f"The {name} are {given}; give finite numbers of at least 0{', increasing' if times is not None else ''}."
        )
    return FrameAxis("time" if times is not None else "b_value", tuple(values.tolist()))


def frame_axes(
    sequences: Mapping[str, int],
    times: Mapping[str, Sequence[float]] | None = None,
    b_values: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, FrameAxis]:
    """Return the axis of every sequence of a table, of which some have times or b-values, as in :func:`frame_axis`.

    Raises:
        ValueError: when a name is not in the table, or as :func:`frame_axis`; the message names the sequence.
    """
    for name in {**(times or {}), **(b_values or {})}:
        sequence_index(sequences, name)
    axes = {}
    for name, timepoints in check_sequences(sequences).items():
        try:
            axes[name] = frame_axis(timepoints, (times or {}).get(name), (b_values or {}).get(name))
        except ValueError as error:
            raise ValueError(f"Sequence '{name}': {error}") from error
    return axes
