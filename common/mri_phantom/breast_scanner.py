# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What a scanner makes of the signals of a simulated breast: blurred, shaded, moved and noisy integers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from mri_phantom.artefacts import blurred, rician_noise
from mri_phantom.grid import fill_volume

__all__ = ["acquire", "point_spread"]

_LARGEST_SIGNAL = 4000.0

# of the point spread function, voxels: a full width at half maximum of 1.5, and of 2.1 for the coarser echo-planar DWI
_DEVIATION = 0.65
_DEVIATION_DWI = 0.9

# full width at half maximum of the thick slices of a 2D protocol, mm
_THICK_SLICE = 5.0


def point_spread(sequence: str, spacing: Sequence[float], coronal: bool) -> tuple[float, float, float]:
    """Return the standard deviation, in voxels along each axis, of the point spread function of a sequence.

    Args:
        sequence: its name.
        spacing: size of a voxel, mm.
        coronal: whether it was acquired as thick coronal slices, which blur the front-back axis.
    """
    deviation = _DEVIATION_DWI if sequence == "dwi" else _DEVIATION
    slices = np.hypot(deviation, _THICK_SLICE / 2.355 / spacing[1]) if coronal else deviation
    return deviation, float(slices), deviation


def acquire(
    generator: np.random.Generator,
    signal: np.ndarray,
    inside: np.ndarray,
    sensitivity: np.ndarray,
    deviations: Sequence[float],
    noise: float,
    motion: Sequence[float] = (0.0, 0.0, 0.0),
) -> np.ndarray:
    """Return the frames of one sequence as the scanner stores them.

    Args:
        generator: source of randomness.
        signal: noise-free, ``[T, N]``.
        inside: bool ``[X, Y, Z]``, the N points of the body.
        sensitivity: ``[N]``, of the coil, about 1.
        deviations: of the point spread function along each axis, voxels.
        noise: standard deviation of the noise on the real and on the imaginary channel, in the signal's unit.
        motion: standard deviation of the shift of each frame against the first, along each axis, voxels.

    Returns:
        int16 ``[T, X, Y, Z]``, in [1, 32767] in the body and 0 elsewhere; all frames have one scale, whose unit is
        arbitrary.
    """
    frames = np.empty_like(signal)
    for index, frame in enumerate(signal):
        received = blurred(frame, inside, deviations)
        shift = generator.standard_normal(3) * np.asarray(motion)
        if index > 0 and any(motion):
            received = ndimage.shift(fill_volume(received, inside), shift, order=1, mode="nearest")[inside]
        frames[index] = rician_noise(generator, received * sensitivity, noise)
    bright = float(np.percentile(frames.max(axis=0), 99))
    gain = generator.uniform(0.5, 1.0) * _LARGEST_SIGNAL / bright
    stored = np.clip(np.rint(frames * gain), 1, np.iinfo(np.int16).max).astype(np.int16)
    return fill_volume(stored, inside)
