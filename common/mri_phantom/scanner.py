# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""A simulated scanner: signals come out blurred, unevenly received, moved and noisy, as integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from mri_phantom.grid import fill_volume

__all__ = ["Scan", "acquire", "bias_field", "blurred", "point_spread", "rician_noise"]

_LARGEST_SIGNAL = 4000.0
# of the point spread function, voxels: a full width at half maximum of 1.5, and of 2.1 for the coarser echo-planar DWI
_DEVIATION = 0.65
_DEVIATION_DWI = 0.9
# full width at half maximum of the thick slices of a 2D protocol, mm
_THICK_SLICE = 5.0


@dataclass(frozen=True)
class Scan:
    """The grid, the times and the quality of an examination's images.

    Attributes:
        shape: voxels along x (to the right), y (to the front) and z (upwards).
        spacing: size of a voxel along these, mm.
        noise: standard deviation of the noise on the real and on the imaginary channel, as a fraction of the signal of
            white matter, or of fibroglandular tissue in the sequence's first frame.
        bias: strength of the coil's uneven sensitivity, see ``bias_field``.
        motion: standard deviation of the shift of each frame of DCE along each axis, mm.
        times: start of each frame of DCE, s; the contrast agent arrives 45 s before the middle of the second.
        b_values: of the frames of DWI, s/mm².
    """

    shape: Sequence[int]
    spacing: Sequence[float]
    noise: float = 0.015
    bias: float = 0.025
    motion: float = 0.3
    times: Sequence[float] = (0, 90, 180, 270, 360, 450)
    b_values: Sequence[float] = (0, 150, 800, 1500)


def bias_field(generator: np.random.Generator, points: np.ndarray, strength: float) -> np.ndarray:
    """Return a smooth positive sensitivity, ``[N]``, the exponential of a random polynomial of second degree.

    ``strength`` is the standard deviation of its logarithm 90 mm from the origin along an axis.
    """
    x, y, z = points / np.float32(90)
    terms = np.stack([x, y, z, x * x, y * y, z * z, x * y, x * z, y * z])
    coefficients = generator.standard_normal(len(terms)).astype(points.dtype) * strength / np.sqrt(2)
    return np.exp(coefficients @ terms)


def rician_noise(generator: np.random.Generator, signal: np.ndarray, deviation: float) -> np.ndarray:
    """Return the magnitude of ``signal`` with independent Gaussian noise on its real and imaginary part.

    The result has Rice's distribution (Gudbjartsson & Patz, Magnetic Resonance in Medicine 34:910, 1995), and the
    signal's shape and type. ``deviation`` is the standard deviation of each part's noise, in the signal's unit.
    """
    noise = generator.standard_normal((2, *signal.shape), dtype=np.float32) * np.float32(deviation)
    return np.hypot(signal + noise[0], noise[1]).astype(signal.dtype)


def blurred(signal: np.ndarray, inside: np.ndarray, deviation: float | Sequence[float] = _DEVIATION) -> np.ndarray:
    """Return the signal ``[N]`` at the points inside as seen with a Gaussian point spread function.

    Nothing comes from outside, so that a constant signal stays as it is. The standard deviation is in voxels, one for
    all axes or one for each.
    """
    received = ndimage.gaussian_filter(fill_volume(signal, inside), deviation)[inside]
    return received / ndimage.gaussian_filter(inside.astype(signal.dtype), deviation)[inside]


def point_spread(sequence: str, spacing: Sequence[float], coronal: bool) -> tuple[float, float, float]:
    """Return the standard deviation, in voxels along each axis, of the point spread function of a sequence.

    ``coronal`` tells whether it was acquired as thick coronal slices, which blur the front-back axis.
    """
    deviation = _DEVIATION_DWI if sequence == "dwi" else _DEVIATION
    slices = np.hypot(deviation, _THICK_SLICE / 2.355 / spacing[1]) if coronal else deviation
    return deviation, float(slices), deviation


def acquire(
    generator: np.random.Generator,
    signal: np.ndarray,
    inside: np.ndarray,
    sensitivity: np.ndarray,
    noise: float,
    deviations: Sequence[float] = (_DEVIATION,) * 3,
    motion: Sequence[float] | None = None,
    bright: float | None = None,
) -> np.ndarray:
    """Return the frames of one sequence as the scanner stores them.

    Args:
        signal: noise-free, ``[T, N]``.
        inside: bool ``[X, Y, Z]``, the N points of the body.
        sensitivity: ``[N]``, of the coil, about 1.
        noise: standard deviation of the noise on the real and on the imaginary channel, in the signal's unit.
        deviations: of the point spread function along each axis, voxels.
        motion: standard deviation of the shift of each frame against the first, along each axis, voxels.
        bright: the signal for which the gain is chosen; by default the 99th percentile of the frames' maximum.

    Returns:
        int16 ``[T, X, Y, Z]``, in [1, 32767] in the body and 0 elsewhere; all frames have one scale, whose unit is
        arbitrary.
    """
    frames = np.empty_like(signal)
    for index, frame in enumerate(signal):
        received = blurred(frame, inside, deviations)
        if motion is not None:
            shift = generator.standard_normal(3) * np.asarray(motion)
            if index > 0 and any(motion):
                received = ndimage.shift(fill_volume(received, inside), shift, order=1, mode="nearest")[inside]
        frames[index] = rician_noise(generator, received * sensitivity, noise)
    if bright is None:
        bright = float(np.percentile(frames.max(axis=0), 99))
    gain = generator.uniform(0.5, 1.0) * _LARGEST_SIGNAL / bright
    stored = np.clip(np.rint(frames * gain), 1, np.iinfo(np.int16).max).astype(np.int16)
    return fill_volume(stored, inside)
