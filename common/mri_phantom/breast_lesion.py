# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Benign and malignant lesions of the simulated breast, with the truth about what only one sequence shows of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mri_phantom.breast_anatomy import Breast
from mri_phantom.fractions import Fractions
from mri_phantom.random_fields import RandomField
from mri_phantom.shapes import coverage, draw_axes, intersection, stretched_ball, tube
from mri_phantom.tissue import BREAST_TISSUES, Tissue

__all__ = ["LESION_LABELS", "Lesion", "draw_lesions", "lesion_labels", "response_probability", "unique_masks"]

#: Values of the lesion mask.
LESION_LABELS = {"benign": 1, "malignant": 2}

_TRIES = 30

_TISSUES_OF = {
    "benign": ("benign", "benign_isointense"),
    "malignant": ("malignant", "malignant_cellular", "necrosis", "non_mass"),
}


class Lesion:
    """A lesion drawn in the glandular cone of a breast, not so small that a grid of such voxels could miss it.

    Args:
        generator: source of randomness.
        kind: "benign" or "malignant".
        breast: the breast that it is in.
        width: of a voxel, mm.

    Attributes:
        centre: ``[3]``, mm, in the body's coordinates.
        radius: mean radius, mm; of a malignant lesion without its spicules and the enhancement around it.
        axes: ``[3, 3]`` matrix that turns an offset into the lesion's own stretched axes.
        isointense: of a benign lesion: whether it differs from fibroglandular tissue by its uptake alone.
    """

    def __init__(self, generator: np.random.Generator, kind: str, breast: Breast, width: float) -> None:
        self.kind, self.breast = kind, breast
        radius = generator.uniform(6.0, 10.0) if kind == "benign" else generator.uniform(11.0, 17.0)
        self.radius = max(radius, (1.7 if kind == "benign" else 2.4) * width)
        direction = generator.standard_normal(3)
        direction[1] = abs(direction[1]) + 0.3  # in front of the chest
        direction /= np.linalg.norm(direction)
        gland = np.maximum(np.array(breast.gland_radii) - 0.8 * self.radius, 5)
        centre = np.array(breast.centre) + generator.uniform(0.25, 0.7) * direction * gland
        self.centre = centre.astype(np.float32)
        self.axes = draw_axes(generator, (0.25, -0.05, -0.2) if kind == "benign" else 0.12)
        self.isointense = bool(generator.random() < 0.5)

    def grow(self, generator: np.random.Generator, fractions: Fractions) -> None:
        """Paint the lesion, and the dense tissue that it lies in, in place.

        A benign lesion is a smooth oval. A malignant one is lobed and spiculated, with a core that is hardly perfused;
        patches of its rim are dense with cells, and differ from the rest in ADC alone. Towards the nipple, segments of
        the fibroglandular tissue take up contrast agent without being otherwise different (non-mass enhancement).
        """
        near = np.flatnonzero(np.linalg.norm(fractions.points - self.centre[:, None], axis=0) < 4.5 * self.radius)
        part = replace(fractions, values=fractions.values[:, near], points=fractions.points[:, near])
        distance = stretched_ball(part.points, self.centre, self.radius, self.axes)
        if self.kind == "malignant":
            self._grow_malignant(generator, part, distance)
        else:
            self._bed(generator, part, distance)
            part.fill("benign_isointense" if self.isointense else "benign", distance)
        fractions.values[:, near] = part.values

    def _bed(self, generator: np.random.Generator, fractions: Fractions, distance: np.ndarray) -> None:
        """Surround the lesion with fibroglandular tissue, without which its outline in fat would tell where it is."""
        ragged = RandomField(generator, wavelength=24.0, bandwidth=0.4)(fractions.points)
        share = coverage(distance + 0.6 * self.radius + 0.25 * self.radius * ragged, 3.0)
        share *= coverage(self.breast.surface(fractions.points) - 5, 3.0)
        for name in ("adipose", "cyst", "vessel"):
            fractions.convert(name, "fibroglandular", share)

    def _grow_malignant(self, generator: np.random.Generator, fractions: Fractions, distance: np.ndarray) -> None:
        points = fractions.points
        spikes = RandomField(generator, wavelength=28.0, bandwidth=0.3)
        lobes = RandomField(generator, wavelength=75.0, bandwidth=0.3)
        patches = RandomField(generator, wavelength=19.0, bandwidth=0.3)
        segments = RandomField(generator, wavelength=22.0, bandwidth=0.4)

        self._bed(generator, fractions, distance)
        # functions of direction alone make an outline that is a single-valued radius: lobes, and pointed spicules
        offset = points - self.centre[:, None]
        direction = 40 * offset / np.maximum(np.linalg.norm(offset, axis=0), 1e-3)
        mass = distance + self.radius * 0.13 * lobes(direction)
        spicules = mass + self.radius * 0.5 * np.clip(spikes(direction) - 0.7, 0, 1.2)

        # segments that run from the mass to the nipple
        towards = self.breast.nipple - self.centre
        length = float(np.linalg.norm(towards))
        reach = min(2.6 * self.radius, max(length - 10, 1.2 * self.radius))
        end = self.centre + towards / length * reach
        segment = tube(points, [(*self.centre, 1.25 * self.radius), (*end, 0.8 * self.radius)])
        clumps = 4 * (segments(points) + 0.5)
        fractions.convert("adipose", "fibroglandular", 0.85 * coverage(segment - 1, 4.0))
        fractions.convert("fibroglandular", "non_mass", fractions.within(intersection(segment, clumps, 2.0)))

        fractions.fill("malignant", spicules)
        rim = max(0.45 * self.radius, 1.2 * fractions.width)
        within = (mass > 0) & (mass < 1.3 * rim)
        inner = patches(points)
        if within.any():
            threshold = np.quantile(inner[within], 0.6)
            fractions.convert("malignant", "malignant_cellular", fractions.within(8 * (inner - threshold)))
        core = mass - rim + 0.1 * self.radius * inner
        fractions.fill("necrosis", core)

        # a vein drains the lesion to the chest
        base = self.centre + np.array([self.breast.side * 25, -45, 15])
        bend = 0.5 * (self.centre + base) + generator.uniform(-8, 8, 3)
        vein = tube(points, [(*self.centre, 1.6), (*bend, 1.8), (*base, 1.8)])
        fractions.fill("vessel", np.minimum(vein, -spicules))


def draw_lesions(
    generator: np.random.Generator, kinds: Sequence[str], breasts: Sequence[Breast], width: float
) -> list[Lesion]:
    """Draw lesions of these kinds, each in one of the breasts, and apart from each other."""
    lesions: list[Lesion] = []
    for kind in kinds:
        # In a small breast there may be no room; then the last place must do.
        for _ in range(_TRIES):
            lesion = Lesion(generator, kind, breasts[int(generator.integers(len(breasts)))], width)
            gaps = [
                np.linalg.norm(lesion.centre - other.centre) - 1.6 * (lesion.radius + other.radius) for other in lesions
            ]
            if min(gaps, default=1.0) > 0:
                break
        lesions.append(lesion)
    return lesions


def lesion_labels(fractions: Fractions) -> np.ndarray:
    """Return uint8 ``[N]``: 0 where there is no lesion, else the value of ``LESION_LABELS``."""
    benign, malignant = (sum(fractions[name] for name in _TISSUES_OF[kind]) for kind in ("benign", "malignant"))
    kind = np.where(malignant >= benign, LESION_LABELS["malignant"], LESION_LABELS["benign"])
    return np.where(benign + malignant > 0.5, kind, 0).astype(np.uint8)


def unique_masks(fractions: Fractions) -> dict[str, np.ndarray]:
    """Return the masks, uint8 ``[N]``, of what only one sequence shows.

    Returns:
        "dce": tissue that has taken up contrast agent and is fibroglandular tissue otherwise, so that only what is
        made after the injection tells where it is; "dwi": the part of malignant tissue that has a low ADC and is like
        the rest otherwise.
    """
    return {
        "dce": (fractions["non_mass"] + fractions["benign_isointense"] > 0.5).astype(np.uint8),
        "dwi": (fractions["malignant_cellular"] > 0.5).astype(np.uint8),
    }


def response_probability(tumour: Tissue) -> float:
    """Return the probability of a complete response to therapy (pCR), by a logistic model of the perfused tumour.

    Tumours that are well perfused, that wash out fast, and that are dense with cells respond more often: the log odds
    are

        -0.9 + 5 ln(K_trans / 0.45) + 2.5 ln(k_ep / 1.25) - 12 ln(ADC / 0.95),

    with K_trans and the rate of wash-out k_ep = K_trans / v_e in 1/min and the ADC in 1e-3 mm²/s, each relative to its
    mean in ``BREAST_TISSUES``. With the spreads of ``draw_breast_tissues`` (20 % in K_trans, 10 % in ADC) about 35 % of
    the patients respond. The model was made for this simulation; it is no finding about patients.

    Args:
        tumour: the parameters of a patient's malignant tissue.

    Example:
        >>> round(response_probability(BREAST_TISSUES["malignant"]), 3)
        0.289
    """
    mean = BREAST_TISSUES["malignant"]
    ktrans, adc = np.log(tumour.ktrans / mean.ktrans), np.log(tumour.adc / mean.adc)
    rate = ktrans - np.log(tumour.ve / mean.ve)
    return float(1 / (1 + np.exp(-(-0.9 + 5.0 * ktrans + 2.5 * rate - 12.0 * adc))))
