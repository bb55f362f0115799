# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The healthy anatomy of simulated breasts, and of the chest behind them: shares of tissues in each voxel.

The patient lies prone, as for breast MRI, so that the breasts hang forward. The body is a set of solids in a coordinate
system of its own, in mm, RAS, with the origin on the skin in front of the sternum, at the height of the nipples.
Tissues are painted one over the other with soft edges of one voxel, which gives partial volumes.

``points`` are float32 ``[3, N]`` in this coordinate system, mm; ``width`` is that of a voxel there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mri_phantom.breast_chest import CHEST_FAT, paint_chest, skin_of_chest
from mri_phantom.fractions import Fractions
from mri_phantom.random_fields import RandomField
from mri_phantom.shapes import coverage, ellipsoid, intersection, tube, union
from mri_phantom.tissue import BREAST_LABELS

__all__ = ["Breast", "body_surface", "draw_breasts", "paint_body"]

_SKIN = 2.2
_SUBCUTANEOUS_FAT = 13.0


@dataclass(frozen=True)
class Breast:
    """The shape and the make-up of one breast.

    Attributes:
        side: 1 for the right breast, -1 for the left.
        centre: of the breast's ellipsoid, mm.
        radii: of the same along the three axes, mm.
        density: share of the glandular cone that is fibroglandular tissue, in (0, 1).
    """

    side: float
    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    density: float

    @property
    def nipple(self) -> np.ndarray:
        """``[3]``, mm."""
        x, y, z = self.centre
        return np.array([x + 0.06 * self.side * self.radii[0], y + self.radii[1], z], dtype=np.float32)

    @property
    def gland_radii(self) -> tuple[float, float, float]:
        """Radii of the cone that holds the fibroglandular tissue, about the breast's centre, mm."""
        x, y, z = self.radii
        return x - _SUBCUTANEOUS_FAT, y - _SUBCUTANEOUS_FAT, z - _SUBCUTANEOUS_FAT

    def surface(self, points: np.ndarray) -> np.ndarray:
        """Return the distance in mm, ``[N]``, into the breast with its nipple."""
        body = ellipsoid(self._tapered(points), self.centre, self.radii)
        x, y, z = self.nipple
        return union(body, tube(points, [(x, y - 6, z, 6.0), (x, y + 5, z, 3.5)]), 3.0)

    def gland(self, points: np.ndarray) -> np.ndarray:
        """Return the distance in mm, ``[N]``, into the glandular cone, which ends at the nipple and at the chest."""
        cone = ellipsoid(self._tapered(points), self.centre, self.gland_radii)
        x, y, z = self.nipple
        ducts = tube(points, [(*self.centre, 14.0), (x, y - 4, z, 3.5)])
        return intersection(union(cone, ducts, 8.0), CHEST_FAT - 3.0 - skin_of_chest(points), 4.0)

    def _tapered(self, points: np.ndarray) -> np.ndarray:
        """Widen the transverse directions towards the nipple, so that an ellipsoid narrows there."""
        factor = 1 + 0.0035 * np.maximum(points[1] - self.centre[1], 0)
        x, z = self.centre[0], self.centre[2]
        return np.stack([x + (points[0] - x) * factor, points[1], z + (points[2] - z) * factor]).astype(points.dtype)


def draw_breasts(generator: np.random.Generator) -> tuple[Breast, Breast]:
    """Draw the right and the left breast of one woman: alike in size and density, not equal."""
    size = generator.uniform(0.86, 1.08)
    projection = generator.uniform(0.88, 1.06)
    density = generator.uniform(0.25, 0.75)
    breasts = []
    for side in (1.0, -1.0):
        asymmetry = np.exp(generator.normal(0, 0.02, 3))
        rx, ry, rz = np.array([60.0, 72.0, 64.0]) * size * np.array([1.0, projection, 1.0]) * asymmetry
        # every breast begins at the same wall, however large it is
        centre = (side * (12.0 + rx), 2.0, float(generator.uniform(-6, 6)))
        own_density = float(np.clip(density + generator.normal(0, 0.05), 0.15, 0.85))
        breasts.append(Breast(side, centre, (float(rx), float(ry), float(rz)), own_density))
    return breasts[0], breasts[1]


def body_surface(points: np.ndarray, breasts: Sequence[Breast]) -> np.ndarray:
    """Return the distance in mm, ``[N]``, below the skin of chest and breasts."""
    surface = skin_of_chest(points)
    for breast in breasts:
        surface = union(surface, breast.surface(points), 16.0)
    return surface


def paint_body(
    generator: np.random.Generator, points: np.ndarray, breasts: Sequence[Breast], width: float
) -> Fractions:
    """Draw a healthy body at points inside ``body_surface``; return the shares of the tissues of ``BREAST_LABELS``."""
    fractions = Fractions.of_one("adipose", BREAST_LABELS, points, width)
    for breast in breasts:
        _paint_gland(generator, fractions, breast)
    paint_chest(generator, fractions)
    for breast in breasts:
        _paint_veins(generator, fractions, breast)
        _paint_cysts(generator, fractions, breast)

    surface = body_surface(points, breasts)
    thickness = np.full(points.shape[1], _SKIN, dtype=points.dtype)
    for breast in breasts:
        # the areola is thicker, the nipple has no fat at all
        from_nipple = np.linalg.norm(points - breast.nipple[:, None], axis=0)
        thickness += 2.0 * coverage(13 - from_nipple, 4.0) + 6.0 * coverage(6 - from_nipple, 3.0)
    fractions.fill("skin", thickness - surface)
    return fractions


def _paint_gland(generator: np.random.Generator, fractions: Fractions, breast: Breast) -> None:
    """Paint lobes of fibroglandular tissue that run to the nipple, and the ligaments in the fat around them."""
    points = fractions.points
    lobes = RandomField(generator, wavelength=17.0, bandwidth=0.4)
    regions = RandomField(generator, wavelength=60.0, bandwidth=0.5)
    sheets = RandomField(generator, wavelength=24.0, bandwidth=0.25)

    cone = breast.gland(points)
    # lobes point at the nipple: seen from there, directions change faster than depth
    offset = points - (breast.nipple + np.array([0, 25, 0], dtype=np.float32))[:, None]
    depth = np.linalg.norm(offset, axis=0)
    direction = 55 * offset / np.maximum(depth, 1)
    along = np.stack([0.6 * depth, 0.6 * depth, np.zeros_like(depth)])
    texture = 0.8 * lobes(direction + along) + 0.7 * regions(points)
    # dense in the middle, ragged at the border
    texture += 0.05 * np.clip(cone, -10, 20)
    within = cone > 0
    if within.any():
        threshold = np.quantile(texture[within], 1 - breast.density)
        lobe = 4.0 * (texture - threshold)
        share = coverage(np.minimum(lobe, cone + 4), max(fractions.width, 3.0))
        fractions.paint("fibroglandular", share)
        # ducts join behind the nipple
        x, y, z = breast.nipple
        ducts = tube(points, [(x, y - 16, z, 6.0), (x, y, z, 3.0)])
        fractions.paint("fibroglandular", 0.8 * fractions.within(ducts))

    ligaments = fractions.within(0.7 - sheets.distance_to_zero(points))
    reach = coverage(cone + 12, 8.0) * fractions.within(breast.surface(points))
    fractions.paint("fibroglandular", 0.45 * ligaments * reach * fractions.within(CHEST_FAT - skin_of_chest(points)))


def _paint_veins(generator: np.random.Generator, fractions: Fractions, breast: Breast) -> None:
    """Paint veins that run below the skin from the armpit and from beside the sternum towards the areola."""
    points = fractions.points
    centre, radii = np.array(breast.centre), np.array(breast.radii)
    # angles about the front-back axis, from lateral (0°) by cranial (90°) to medial (180°)
    for start in (generator.uniform(10, 50), generator.uniform(130, 200), generator.uniform(-60, -10)):
        turn = generator.uniform(-35, 35)
        radius = generator.uniform(1.3, 2.1)
        nodes = []
        for step in np.linspace(0, 1, 6):
            angle = np.deg2rad(start + turn * step + generator.normal(0, 5))
            height = np.deg2rad(8 + 62 * step)
            unit = np.array(
                [breast.side * np.cos(angle) * np.cos(height), np.sin(height), np.sin(angle) * np.cos(height)]
            )
            inside = 0.80 + 0.03 * generator.standard_normal()
            nodes.append((*(centre + inside * radii * unit), radius * (1 - 0.35 * step)))
        near = breast.surface(points) > 0
        share = np.zeros(points.shape[1], dtype=points.dtype)
        share[near] = fractions.within(tube(points[:, near], nodes))
        fractions.paint("vessel", share)


def _paint_cysts(generator: np.random.Generator, fractions: Fractions, breast: Breast) -> None:
    """Paint cysts, in about half of the breasts."""
    for _ in range(min(int(generator.poisson(0.8)), 3)):
        direction = generator.standard_normal(3)
        direction /= np.linalg.norm(direction)
        offset = generator.uniform(0.2, 0.75) * direction * np.array(breast.gland_radii)
        # in front of the chest
        centre = np.array(breast.centre) + np.array([offset[0], abs(offset[1]), offset[2]])
        radii = max(generator.uniform(3.0, 7.0), 0.9 * fractions.width) * np.exp(generator.normal(0, 0.1, 3))
        cyst = ellipsoid(fractions.points, centre.tolist(), radii.tolist())
        fractions.paint("fibroglandular", 0.7 * coverage(cyst + 3.0, 3.0))
        fractions.fill("cyst", cyst)
