# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Random smooth functions of space: the source of folds, deformations, ragged outlines and patches."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

__all__ = ["RandomField"]

_SIZE = 48  # lattice points per period


class RandomField:
    """A periodic Gaussian random function of space, of unit variance, with structure of one wavelength.

    White noise is filtered by a Gaussian ring in frequency space. A narrow ring gives the labyrinth of bands of equal
    width that also describes gyri; a broad one gives patches of varied size.

    Args:
        generator: source of randomness.
        wavelength: mean distance from crest to crest, in mm; at least a twelfth of ``period``, four times the lattice's
            spacing, so that linear interpolation follows it.
        bandwidth: standard deviation of the spatial frequency, as a fraction of its mean.
        period: distance in mm after which the function repeats itself in each direction.

    Example:
        >>> field = RandomField(np.random.default_rng(0), wavelength=30.0)
        >>> field(np.zeros((3, 5))).shape
        (5,)
    """

    def __init__(
        self, generator: np.random.Generator, wavelength: float, bandwidth: float = 0.3, period: float = 192.0
    ) -> None:
        self.step = period / _SIZE
        noise = np.fft.rfftn(generator.standard_normal((_SIZE, _SIZE, _SIZE), dtype=np.float32))
        along = np.fft.fftfreq(_SIZE, self.step)
        half = np.fft.rfftfreq(_SIZE, self.step)
        frequency = np.sqrt(along[:, None, None] ** 2 + along[None, :, None] ** 2 + half[None, None, :] ** 2)
        noise *= np.exp(-0.5 * ((frequency * wavelength - 1) / bandwidth) ** 2)
        noise[0, 0, 0] = 0
        lattice = np.fft.irfftn(noise, s=(_SIZE, _SIZE, _SIZE), axes=(0, 1, 2))
        self.lattice = (lattice / lattice.std()).astype(np.float32)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Return the function's values, float32 ``[N]``, at ``points`` ``[3, N]`` in mm."""
        return self._interpolate(self.lattice, points)

    def distance_to_zero(self, points: np.ndarray) -> np.ndarray:
        """Return the distance in mm from ``points`` ``[3, N]`` to the nearest zero surface, to first order, ``[N]``."""
        differences = [
            (np.roll(self.lattice, -1, axis) - np.roll(self.lattice, 1, axis)) / (2 * self.step) for axis in range(3)
        ]
        slope = np.sqrt(sum(difference**2 for difference in differences))
        # Where the function is flat the first-order distance has no bound: a floor at half the usual slope keeps it.
        slope = np.maximum(slope, 0.5 * slope.mean())
        return np.abs(self(points)) / self._interpolate(slope, points)

    def _interpolate(self, lattice: np.ndarray, points: np.ndarray) -> np.ndarray:
        return ndimage.map_coordinates(lattice, points / self.step, order=1, mode="grid-wrap", prefilter=False)
