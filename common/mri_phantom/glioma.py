# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""A glioma in a simulated brain: necrosis, tumour that enhances or not, evenly or in blobs, and oedema."""

from __future__ import annotations

import numpy as np

from mri_phantom.brain_anatomy import BrainAnatomy
from mri_phantom.random_fields import RandomField
from mri_phantom.shapes import coverage, draw_axes, stretched_ball
from mri_phantom.signal import t1gd_signal
from mri_phantom.tissue import Tissue

__all__ = ["Glioma", "enhancement_change"]

# Of the texture of enhancement: crests 16 mm apart are blobs of about 8 mm, which voxels of 2 to 3 mm and their point
# spread function still show; the period is wider than a tumour, with lattice points close enough for this wavelength.
_WAVELENGTH = 16.0
_PERIOD = 96.0


class Glioma:
    """A glioma drawn in the white matter of one hemisphere.

    Attributes:
        centre: ``[3]``, mm, in the brain's own coordinates.
        radius: mean radius of the tumour without oedema, mm.
        axes: ``[3, 3]`` matrix that turns an offset into the tumour's own stretched axes.
        rim: thickness of the tissue around the necrosis, mm.
        enhancing: share of this tissue that takes up contrast agent, in (0, 1).
        oedema: how far the oedema reaches beyond the tumour, mm.
        pressure: how strongly the tumour displaces its surroundings, in [0, 0.5].
    """

    def __init__(self, generator: np.random.Generator) -> None:
        self.radius = generator.uniform(21, 28)
        side = generator.choice([-1.0, 1.0])
        centre = side * generator.uniform(24, 38), generator.uniform(-58, 32), generator.uniform(6, 36)
        self.centre = np.array(centre, dtype=np.float32)
        self.axes = draw_axes(generator, 0.15)
        self.rim = generator.uniform(8.0, 13.0)
        self.enhancing = generator.uniform(0.3, 0.42)
        self.oedema = generator.uniform(4, 10)
        self.pressure = generator.uniform(0.15, 0.35)

    def displaced(self, points: np.ndarray) -> np.ndarray:
        """Return which point of the healthy brain lies at each of ``points`` (``[3, N]``) under the mass effect."""
        offset = points - self.centre[:, None]
        squared = np.einsum("in,in->n", offset, offset)
        factor = 1 - self.pressure * np.exp(-squared / (2 * (1.6 * self.radius) ** 2))
        return (self.centre[:, None] + offset * factor).astype(points.dtype)

    def grow(self, generator: np.random.Generator, anatomy: BrainAnatomy) -> None:
        """Paint the tumour over ``anatomy``, in place: the displaced healthy brain, at the points where it lies now.

        Enhancement follows a random function of its own: the rest of the rim is tissue with the same proton density,
        T1 and T2, so that nothing but T1Gd tells where it is. At the ventricles a random part of the border becomes
        oedema so rich in free water that T1 and T2 show it almost as cerebrospinal fluid and only FLAIR separates it.
        """
        fractions, points = anatomy.fractions, anatomy.fractions.points
        ragged = RandomField(generator, wavelength=24.0, bandwidth=0.4)
        patches = RandomField(generator, wavelength=22.0, bandwidth=0.3)
        border = RandomField(generator, wavelength=44.0, bandwidth=0.3)

        distance = stretched_ball(points, self.centre, self.radius, self.axes)
        outline = ragged(points)
        tumour = np.minimum(distance + 0.14 * self.radius * outline, anatomy.depth - 1.0)

        # vasogenic oedema spreads along white matter and spares the cortex
        reach = coverage(distance + self.oedema * (1 + 0.35 * outline), 5.0)
        for tissue, susceptibility in (("white_matter", 1.0), ("brainstem", 0.5), ("thalamus", 0.4), ("putamen", 0.4)):
            fractions.convert(tissue, "oedema", reach * susceptibility)

        band = fractions.within(anatomy.ventricle + 3.5 + outline) * coverage(3 * (border(points) - 0.9), 1.0)
        for tissue in ("white_matter", "oedema", "thalamus", "caudate"):
            fractions.convert(tissue, "fluid_oedema", band)

        fractions.fill("tumour", tumour)
        inner = patches(points)
        within = (tumour > 0) & (tumour < self.rim)
        if within.any():
            threshold = np.quantile(inner[within], 1 - self.enhancing)
            fractions.convert("tumour", "enhancing_tumour", fractions.within(6 * (inner - threshold)))
        fractions.fill("necrosis", tumour - self.rim)


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
    that is the mean of the heterogeneous one, so that how strongly a tumour enhances does not tell how evenly. Both
    kinds draw the same from ``generator``.

    Args:
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
