# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Makes the timepoints of a sequence from the frames of a series, by interpolation in time or by their b-values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from seq2seq_mri.io.nifti import Volume, sidecar_path
from seq2seq_mri.sequences import check_sequences, sequence_index

__all__ = ["TimepointTable", "check_b_values", "check_times", "weighted_frames"]

# b-values are set to round numbers, but recorded with the imaging gradients added, and differ between vendors.
_B_VALUE_TOLERANCE = 0.05
_LEAST_B_VALUE_TOLERANCE = 10.0


def check_times(
    sequences: Mapping[str, int], times: Mapping[str, Sequence[float]] | None
) -> dict[str, tuple[float, ...]]:
    """Return ``times``, sequence → seconds from its first frame to each timepoint, checked; ``None`` becomes empty.

    Raises:
        ValueError: when a sequence is not in the table, or its times are not one for each timepoint, finite, strictly
            increasing and 0 first.
    """
    checked = _check_values(sequences, times, "times", "seconds")
    for name, values in checked.items():
        if values[0] != 0 or not (np.diff(values) > 0).all():
            raise ValueError(
                f"times of '{name}' are {_listed(values)}; give seconds from the first frame, 0 first, increasing."
            )
    return checked


def check_b_values(
    sequences: Mapping[str, int], b_values: Mapping[str, Sequence[float]] | None
) -> dict[str, tuple[float, ...]]:
    """Return ``b_values``, sequence → b-value of each timepoint in s/mm², checked; ``None`` becomes empty.

    Raises:
        ValueError: when a sequence is not in the table, or its b-values are not one for each timepoint, finite, zero or
            above, and all different.
    """
    checked = _check_values(sequences, b_values, "b_values", "s/mm²")
    for name, values in checked.items():
        if min(values) < 0 or len(set(values)) < len(values):
            raise ValueError(
                f"b_values of '{name}' are {_listed(values)}; give numbers from 0 in s/mm², all different."
            )
    return checked


class TimepointTable:
    """What the timepoints of the sequence table are: times of a dynamic series, or b-values of diffusion weighting.

    Args:
        sequences: the sequence table.
        times: sequence → seconds from the first frame to each of its timepoints.
        b_values: sequence → b-values of its timepoints in s/mm².
        resample_time: whether series at other times are interpolated linearly in time, or refused.

    Raises:
        ValueError: as :func:`check_times` and :func:`check_b_values`, and when a sequence is in both.
    """

    def __init__(
        self,
        sequences: Mapping[str, int],
        times: Mapping[str, Sequence[float]] | None = None,
        b_values: Mapping[str, Sequence[float]] | None = None,
        resample_time: bool = False,
    ) -> None:
        self.sequences = check_sequences(sequences)
        self.times = check_times(sequences, times)
        self.b_values = check_b_values(sequences, b_values)
        self.resample_time = resample_time
        both = self.times.keys() & self.b_values.keys()
        if both:
            raise ValueError(f"Sequence '{min(both)}' has both times and b_values; its timepoints can be one of them.")

    def weights(self, name: str, parts: Sequence[Volume], subject: str) -> np.ndarray | None:
        """Return how the frames of a series combine to the timepoints of a sequence.

        A series with the table's number of frames, at the table's times, is taken as it is; its times may differ from
        the table's by up to half of the table's smallest step, and a series that does not say its times is believed.
        Frames of series that are separate files are in the order of these, unless all say when they start. Diffusion
        weighted frames are picked by their b-values, which may differ by 5 % or 10 s/mm², whichever is more; frames of
        one b-value (directions, repetitions) are averaged arithmetically.

        The weights are float64 ``[T, N]``, ``T`` timepoints of the table by ``N`` frames of all parts, each row of
        sum 1; ``None`` when the frames are the timepoints.

        Raises:
            ValueError: when frames or b-values are missing or too many, or the times are not the table's and cannot, or
                may not, be interpolated.
        """
        if name in self.b_values:
            return self._b_value_weights(name, parts, subject)
        if name in self.times:
            return self._time_weights(name, parts, subject)
        frames = sum(len(part.voxels) for part in parts)
        if frames != self.sequences[name]:
            raise ValueError(
                f"Subject '{subject}': {_files(parts)} has {frames} timepoints where sequence '{name}' has "
                f"{self.sequences[name]}; correct the file or the sequence table."
            )
        return None

    def _b_value_weights(self, name: str, parts: Sequence[Volume], subject: str) -> np.ndarray | None:
        table = np.array(self.b_values[name])
        measured: list[float] = []
        for part in parts:
            if part.b_values is None:
                raise ValueError(
                    f"Subject '{subject}': {part.path} has no b-values, by which the frames of sequence '{name}' are "
                    f"picked ({_listed(table)} s/mm²); {_where_to_put(part, '.bval')}."
                )
            measured += part.b_values
        distances = np.abs(table[:, None] - np.array(measured))
        tolerances = np.maximum(_B_VALUE_TOLERANCE * table, _LEAST_B_VALUE_TOLERANCE)
        chosen = (distances <= tolerances[:, None]) & (distances == distances.min(axis=0))
        # A frame exactly between two b-values of the table counts for the first.
        chosen &= np.cumsum(chosen, axis=0) == 1
        missing = table[~chosen.any(axis=1)]
        if missing.size:
            raise ValueError(
                f"Subject '{subject}': {_files(parts)} has no frame with b = {_listed(missing)} s/mm², which sequence "
                f"'{name}' needs; it has {_listed(measured)}. Correct its b-values, leave the sequence out, or change "
                "the table's b_values."
            )
        return _unless_identity(chosen / chosen.sum(axis=1, keepdims=True))

    def _time_weights(self, name: str, parts: Sequence[Volume], subject: str) -> np.ndarray | None:
        table = np.array(self.times[name])
        frames = sum(len(part.voxels) for part in parts)
        series = f"Subject '{subject}': {_files(parts)}"
        wanted = f"sequence '{name}' has {len(table)} timepoints at {_listed(table)} s"
        moments = _moments(parts)
        if moments is None:
            if frames == len(table):
                return None
            raise ValueError(
                f"{series} has {frames} frames and does not say their times, {wanted}. Without times it cannot be "
                f"brought to these; complete the series, or {_where_to_put(parts[0], '.json', len(parts))}."
            )
        order = np.argsort(moments, kind="stable")
        # Microseconds, in which DICOM counts, undo the rounding of the subtraction.
        times = np.round(moments[order] - moments[order[0]], 6)
        if (np.diff(times) <= 0).any():
            raise ValueError(f"{series} has frames at the same time ({_listed(times)} s); leave one of them out.")
        found = f"{series} has {frames} frames at {_listed(times)} s, {wanted}"
        correct = f"If its times are wrong, {_where_to_put(parts[0], '.json', len(parts))}."
        tolerance = float(np.diff(table).min()) / 2 if len(table) > 1 else 0.0
        if frames == len(table) and np.abs(times - table).max() <= tolerance:
            return _unless_identity(np.eye(frames)[order])
        if not self.resample_time:
            raise ValueError(
                f"{found}. Load with `resample_time: true`, which interpolates it to these times, or change the "
                f"table's times. {correct}"
            )
        # A frame lasts until the next one starts, so the end of the series is one step after the last start.
        half_frame = float(times[-1] - times[-2]) / 2 if frames > 1 else 0.0
        if table[-1] > times[-1] + half_frame:
            raise ValueError(
                f"{found}. It ends too early to be interpolated to {table[-1]:g} s; leave the sequence out, or change "
                f"the table's times. {correct}"
            )
        weights = np.zeros((len(table), frames))
        weights[:, order] = np.stack([np.interp(table, times, frame) for frame in np.eye(frames)], axis=1)
        return weights


def weighted_frames(weights: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Return the sums ``[T, X, Y, Z]`` of float32 frames ``[N, X, Y, Z]`` with weights ``[T, N]``, most of them zero.

    Where a frame has all of the weight, its values come back unchanged.
    """
    result = np.zeros((len(weights), *frames.shape[1:]), dtype=np.float32)
    for timepoint, row in zip(result, weights, strict=True):
        for frame in np.flatnonzero(row):
            timepoint += np.float32(row[frame]) * frames[frame]
    return result


def _moments(parts: Sequence[Volume]) -> np.ndarray | None:
    """Return the seconds at which all frames start, in the order of the parts, or ``None`` when a part does not say."""
    if len(parts) == 1:
        return None if parts[0].times is None else np.array(parts[0].times)
    moments: list[float] = []
    for part in parts:
        times = (0.0,) if len(part.voxels) == 1 else part.times
        if part.start is None or times is None:
            return None
        moments += [part.start + time for time in times]
    return np.array(moments)


def _unless_identity(weights: np.ndarray) -> np.ndarray | None:
    return None if np.array_equal(weights, np.eye(*weights.shape)) and np.equal(*weights.shape) else weights


def _check_values(
    sequences: Mapping[str, int], values: Mapping[str, Sequence[float]] | None, argument: str, unit: str
) -> dict[str, tuple[float, ...]]:
    checked = {}
    for name, listed in (values or {}).items():
        sequence_index(sequences, name)
        if not isinstance(listed, Sequence) or isinstance(listed, str) or len(listed) != sequences[name]:
            raise ValueError(
                f"{argument} of '{name}' are {listed!r}; give {sequences[name]}, one for each timepoint, in {unit}."
            )
        if not all(isinstance(value, (int, float)) and np.isfinite(value) for value in listed):
            raise ValueError(f"{argument} of '{name}' are {listed!r}; give finite numbers, in {unit}.")
        checked[name] = tuple(float(value) for value in listed)
    return checked


def _files(parts: Sequence[Volume]) -> str:
    return ", ".join(str(part.path) for part in parts)


def _where_to_put(part: Volume, ending: str, parts: int = 1) -> str:
    what = "their start in seconds as FrameTimesStart" if ending == ".json" else "one number for each frame"
    if part.path.is_dir():
        header = "acquisition or trigger times" if ending == ".json" else "b-values"
        return f"correct the {header} in the headers of its DICOM files, or convert it to a 4D NIfTI file with {what}"
    if parts > 1 or len(part.voxels) == 1:
        return f"merge the frames to one 4D file, and put {what} into a {ending} file of its name"
    return f"put {what} into {sidecar_path(part.path, ending)}"


def _listed(values: Sequence[float] | np.ndarray) -> str:
    texts = [f"{value:g}" for value in values]
    return ", ".join(texts if len(texts) <= 10 else [*texts[:3], "...", texts[-1]])
