# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""How evenly contrast agent spreads in a simulated tumour: a texture that T1Gd alone shows."""

from __future__ import annotations

import numpy as np

from mri_phantom.random_fields import RandomField
from mri_phantom.signal import t1gd_signal
from mri_phantom.tissue import Tissue

__all__ = ["enhancement_change"]

# Crests 16 mm apart are blobs of about 8 mm, which voxels of 2 to 3 mm and their point spread function still show.
_WAVELENGTH = 16.0
_PERIOD = 96.0  # wider than a tumour, with lattice points close enough for this wavelength


def enhancement_change(
    generator: np.random.Generator,
    points: np.ndarray,
    share: np.ndarray,
    tissue: Tissue,
    deviation: float,
    heterogeneous: bool,
) -> np.ndarray:
    """Return how T1Gd changes when the contrast agent's concentration varies in a tumour by ``deviation``.

    The concentration is multiplied by a random function of space that is log-normally distributed, has a correlation
    length of a few mm and a mean of exactly 1 over the enhancing tumour. T1Gd saturates: its mean falls when the
    concentration varies about a constant mean. Enhancement that is not heterogeneous is therefore given the even signal
    that is the mean of the heterogeneous one, so that how strongly a tumour enhances does not tell how evenly.

    Args:
        generator: source of randomness; both kinds of enhancement draw the same.
        points: float32 ``[3, N]``, mm.
        share: ``[N]``, how much of each point is enhancing tumour, in [0, 1].
        tissue: the enhancing tumour, its gadolinium being the mean concentration.
        deviation: standard deviation of the concentration within the tumour, as a fraction of its mean.
        heterogeneous: whether the concentration varies, or is even.

    Returns:
        float32 ``[N]``, to be added to the noise-free T1Gd of the even, mean concentration; relative to water. The sum
        over all points does not depend on ``heterogeneous``, and is 0 or less. Zero everywhere for a deviation of 0.
    """
    change = np.zeros(points.shape[1], dtype=np.float32)
    inside = share > 0
    weight = share[inside].astype(float)
    if deviation == 0 or len(weight) < 2:
        return change
    field = RandomField(generator, wavelength=_WAVELENGTH, bandwidth=0.4, period=_PERIOD)(points[:, inside])
    # the deviation is what it says in every tumour, small ones too, in which few crests find room
    field = field - np.average(field, weights=weight)
    field /= np.sqrt(np.average(field**2, weights=weight))
    relative = np.exp(np.sqrt(np.log1p(deviation**2)) * field)
    relative /= np.average(relative, weights=weight)

    density, t1, t2 = tissue.proton_density, tissue.t1, tissue.t2
    uneven = t1gd_signal(density, t1, t2, tissue.gadolinium * relative)
    after = uneven if heterogeneous else np.average(uneven, weights=weight)
    change[inside] = weight * (after - t1gd_signal(density, t1, t2, tissue.gadolinium))
    return change
