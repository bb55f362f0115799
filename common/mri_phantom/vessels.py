# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Small vessels of the cortex, which stand out after contrast agent and hardly before."""

from __future__ import annotations

import numpy as np

from mri_phantom.brain_anatomy import Anatomy
from mri_phantom.random_fields import RandomField
from mri_phantom.shapes import coverage
from mri_phantom.tissue import TISSUES

__all__ = ["grow_cortical_vessels"]


def grow_cortical_vessels(
    generator: np.random.Generator, points: np.ndarray, anatomy: Anatomy, width: float, radius: float = 3.4
) -> None:
    """Thread vessels through grey matter, in place.

    Two random functions vanish together along winding lines; these are the vessels' centres. Before contrast agent
    their tissue is that of grey matter, so that, as in patients, the bright dots and lines of T1Gd can be foreseen
    neither from T1 nor from T2 or FLAIR.

    Args:
        generator: source of randomness.
        points: float32 ``[3, N]``, mm.
        anatomy: the brain at these points.
        width: width of a voxel, mm.
        radius: of the vessels, mm, those too thin to be seen singly taken together.
    """
    distances = [RandomField(generator, wavelength=18.0, bandwidth=0.3).distance_to_zero(points) for _ in range(2)]
    share = coverage(radius - np.hypot(*distances), width)
    names = list(TISSUES)
    moved = anatomy.fractions[names.index("grey_matter")] * share
    anatomy.fractions[names.index("grey_matter")] -= moved
    anatomy.fractions[names.index("cortical_vessel")] += moved
