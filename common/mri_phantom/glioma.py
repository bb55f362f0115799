# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""A glioma in a simulated brain, with the truth about what only one sequence shows of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mri_phantom.brain_anatomy import Anatomy, paint
from mri_phantom.random_fields import RandomField
from mri_phantom.shapes import coverage
from mri_phantom.tissue import TISSUES

__all__ = ["Glioma", "draw_glioma"]


@dataclass
class Glioma:
    """Where a glioma is and how it grows.

    Attributes:
        centre: ``[3]``, mm, in the brain's own coordinates.
        radius: mean radius of the tumour without oedema, mm.
        axes: ``[3, 3]`` matrix that turns an offset into the tumour's own stretched axes.
        rim: thickness of the tissue around the necrosis, mm.
        enhancing: share of this tissue that takes up contrast agent, in (0, 1).
        oedema: how far the oedema reaches beyond the tumour, mm.
        pressure: how strongly the tumour displaces its surroundings, in [0, 0.5].
    """

    centre: np.ndarray
    radius: float
    axes: np.ndarray
    rim: float
    enhancing: float
    oedema: float
    pressure: float

    def displaced(self, points: np.ndarray) -> np.ndarray:
        """Return which point of the healthy brain lies at each of ``points`` (``[3, N]``) under the mass effect."""
        offset = points - self.centre[:, None]
        squared = np.einsum("in,in->n", offset, offset)
        factor = 1 - self.pressure * np.exp(-squared / (2 * (1.6 * self.radius) ** 2))
        return (self.centre[:, None] + offset * factor).astype(points.dtype)

    def grow(self, generator: np.random.Generator, points: np.ndarray, anatomy: Anatomy, width: float) -> None:
        """Paint the tumour over ``anatomy``, in place.

        Enhancement follows a random function of its own: the rest of the rim is tissue with the same proton density,
        T1 and T2, so that nothing but T1Gd tells where it is. At the ventricles a random part of the border becomes
        oedema so rich in free water that T1 and T2 show it almost as cerebrospinal fluid and only FLAIR separates it.

        Args:
            generator: source of randomness.
            points: float32 ``[3, N]``, before displacement, mm.
            anatomy: the displaced healthy brain at these points.
            width: width of a voxel, mm.
        """
        fractions = anatomy.fractions
        ragged = RandomField(generator, wavelength=24.0, bandwidth=0.4)
        patches = RandomField(generator, wavelength=22.0, bandwidth=0.3)
        border = RandomField(generator, wavelength=44.0, bandwidth=0.3)

        offset = self.axes @ (points - self.centre[:, None])
        distance = self.radius - np.sqrt(np.einsum("in,in->n", offset, offset))
        outline = ragged(points)
        tumour = np.minimum(distance + 0.14 * self.radius * outline, anatomy.depth - 1.0)

        # vasogenic oedema spreads along white matter and spares the cortex
        reach = coverage(distance + self.oedema * (1 + 0.35 * outline), 5.0)
        _convert(fractions, {"white_matter": 1.0, "brainstem": 0.5, "thalamus": 0.4, "putamen": 0.4}, "oedema", reach)

        band = coverage(anatomy.ventricle + 3.5 + outline, width) * coverage(3 * (border(points) - 0.9), 1.0)
        solid = dict.fromkeys(("white_matter", "oedema", "thalamus", "caudate"), 1.0)
        _convert(fractions, solid, "fluid_oedema", band)

        paint(fractions, "tumour", coverage(tumour, width))
        inner = patches(points)
        within = (tumour > 0) & (tumour < self.rim)
        if within.any():
            threshold = np.quantile(inner[within], 1 - self.enhancing)
            uptake = coverage(6 * (inner - threshold), width)
            _convert(fractions, {"tumour": 1.0}, "enhancing_tumour", uptake)
        paint(fractions, "necrosis", coverage(tumour - self.rim, width))


def draw_glioma(generator: np.random.Generator) -> Glioma:
    """Draw a glioma in the white matter of one hemisphere."""
    radius = generator.uniform(21, 28)
    side = generator.choice([-1.0, 1.0])
    centre = np.array([side * generator.uniform(24, 38), generator.uniform(-58, 32), generator.uniform(6, 36)])
    rotation, _ = np.linalg.qr(generator.standard_normal((3, 3)))
    stretch = np.exp(generator.normal(0, 0.15, 3))
    return Glioma(
        centre=centre.astype(np.float32),
        radius=radius,
        axes=(np.diag(stretch / np.prod(stretch) ** (1 / 3)) @ rotation).astype(np.float32),
        rim=generator.uniform(8.0, 13.0),
        enhancing=generator.uniform(0.3, 0.42),
        oedema=generator.uniform(4, 10),
        pressure=generator.uniform(0.15, 0.35),
    )


def _convert(fractions: np.ndarray, susceptible: dict[str, float], into: str, share: np.ndarray) -> None:
    """Turn ``share`` of each susceptible tissue, times its susceptibility, into another, in place."""
    names = list(TISSUES)
    for name, susceptibility in susceptible.items():
        moved = fractions[names.index(name)] * share * susceptibility
        fractions[names.index(name)] -= moved
        fractions[names.index(into)] += moved
