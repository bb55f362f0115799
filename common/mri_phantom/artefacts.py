# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What a scanner does to the signal: blur, uneven sensitivity and noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

__all__ = ["bias_field", "blurred", "rician_noise"]


def bias_field(generator: np.random.Generator, points: np.ndarray, strength: float, extent: float = 90.0) -> np.ndarray:
    """Return a smooth positive sensitivity, the exponential of a random polynomial of second degree.

    Args:
        generator: source of randomness.
        points: ``[3, N]``, mm.
        strength: standard deviation of the logarithm at the distance ``extent`` from the origin along an axis.
        extent: mm.

    Returns:
        ``[N]`` factors about 1.
    """
    scaled = points / np.asarray(extent, dtype=points.dtype)
    x, y, z = scaled
    terms = np.stack([x, y, z, x * x, y * y, z * z, x * y, x * z, y * z])
    coefficients = generator.standard_normal(len(terms)).astype(points.dtype) * strength / np.sqrt(2)
    return np.exp(coefficients @ terms)


def rician_noise(generator: np.random.Generator, signal: np.ndarray, deviation: float) -> np.ndarray:
    """Return the magnitude of ``signal`` with independent Gaussian noise on its real and imaginary part.

    Args:
        generator: source of randomness.
        signal: noise-free magnitude, any shape.
        deviation: standard deviation of each part's noise, in the signal's unit.

    Returns:
        noisy magnitude, same shape and type (Rice distribution; Gudbjartsson & Patz, Magnetic Resonance in
        Medicine 34:910, 1995).
    """
    noise = generator.standard_normal((2, *signal.shape), dtype=np.float32) * np.float32(deviation)
    return np.hypot(signal + noise[0], noise[1]).astype(signal.dtype)


def blurred(signal: np.ndarray, inside: np.ndarray, deviation: float | Sequence[float] = 0.65) -> np.ndarray:
    """Return the signal as seen with a Gaussian point spread function, nothing coming from outside.

    Args:
        signal: ``[N]``, at the points inside.
        inside: bool ``[X, Y, Z]``, the N points, in the order of a C array.
        deviation: of the point spread function, voxels, one for all axes or one for each; 0.65 is a full width
            at half maximum of 1.5.

    Returns:
        ``[N]``, of the type of ``signal``; a constant signal stays as it is.
    """
    volume = np.zeros(inside.shape, dtype=signal.dtype)
    volume[inside] = signal
    received = ndimage.gaussian_filter(volume, deviation)[inside]
    return received / ndimage.gaussian_filter(inside.astype(signal.dtype), deviation)[inside]
