# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The chest behind the simulated breasts: muscle, ribs, sternum, lungs, heart, and vessels beside the sternum."""

from __future__ import annotations

import numpy as np

from mri_phantom.fractions import Fractions
from mri_phantom.shapes import coverage, ellipsoid, intersection, tube

__all__ = ["CHEST_FAT", "paint_chest", "skin_of_chest"]

#: Depth of the muscles below the skin of the chest, or below the level where it would run behind the breasts, mm.
CHEST_FAT = 8.0
_MUSCLE = 12.0
_RIBS = 11.0


def skin_of_chest(points: np.ndarray) -> np.ndarray:
    """Return the distance in mm, ``[N]``, into the chest as it would be without breasts: a cylinder upwards."""
    return ellipsoid(points, (0, -112, 0), (166, 112, 4000))


def paint_chest(generator: np.random.Generator, fractions: Fractions) -> None:
    """Paint the chest from the pectoral muscles inwards, in place."""
    points = fractions.points
    y, z = points[1:]
    lateral = np.abs(points[0])
    depth = skin_of_chest(points) - CHEST_FAT
    # the pectoral muscles begin at the sternum's edge and are thickest half way to the armpit, more so further up
    profile = np.clip((lateral - 12) / 25, 0, 1) * np.clip((150 - lateral) / 40, 0.35, 1)
    thickness = _MUSCLE * generator.uniform(0.85, 1.15) * profile * (1 + np.clip(z / 200, -0.3, 0.4))
    fractions.fill("muscle", np.minimum(depth, thickness - depth).astype(points.dtype))
    # chest wall: ribs with muscle between them, which slant downwards to the front and spare the sternum
    wall = depth - _MUSCLE - 1.5
    fractions.fill("muscle", np.minimum(wall, _RIBS - wall))
    phase = generator.uniform(0, 28)
    rib = 8.5 * np.cos(2 * np.pi * (z + 0.45 * y - 0.15 * lateral + phase) / 28) - 1.5
    rib = np.minimum(np.minimum(rib, wall - 1), _RIBS - 1 - wall)
    fractions.fill("bone", rib.astype(points.dtype))
    sternum = np.minimum(np.minimum(17 - lateral, depth - 2), _RIBS + 3 - depth)
    fractions.fill("bone", sternum.astype(points.dtype))

    cavity = wall - _RIBS
    fractions.fill("lung", cavity - 1)
    # the fat of the mediastinum behind the sternum, which the heart fills
    mediastinum = intersection(cavity, 17 - lateral + 0.1 * np.maximum(-y - 60, 0), 4.0)
    fractions.fill("adipose", mediastinum.astype(points.dtype))
    _paint_heart(generator, fractions, cavity)

    for side in (-1.0, 1.0):
        mammary = tube(points, [(side * 19, -32, -300, 2.0), (side * 19, -32, 300, 2.0)])
        fractions.fill("vessel", mammary)
        for _ in range(int(generator.integers(1, 4))):
            _paint_lymph_node(generator, fractions, side)


def _paint_lymph_node(generator: np.random.Generator, fractions: Fractions, side: float) -> None:
    """Paint a lymph node with its fatty hilum, in the fat below the armpit."""
    place = np.array([side * generator.uniform(112, 132), 0, generator.uniform(0, 50)])
    # behind the skin there, whose level falls towards the side
    place[1] = -112 + 112 * np.sqrt(1 - (place[0] / 166) ** 2) - generator.uniform(12, 16)
    radii = max(generator.uniform(4.0, 6.5), fractions.width) * np.array([0.8, 1.0, 1.4])
    node = ellipsoid(fractions.points, place.tolist(), radii.tolist())
    fractions.paint("adipose", coverage(node + 5, 4.0))
    fractions.fill("lymph_node", node)
    hilum = ellipsoid(fractions.points, (place - [side * 2.0, 0, 0]).tolist(), (0.4 * radii).tolist())
    fractions.fill("adipose", hilum)


def _paint_heart(generator: np.random.Generator, fractions: Fractions, cavity: np.ndarray) -> None:
    """Paint the heart, which lies to the left behind the sternum, and the large vessels above it."""
    points = fractions.points
    size = generator.uniform(0.92, 1.05)
    heart = intersection(ellipsoid(points, (-28, -84, -14), (54 * size, 44 * size, 52 * size)), cavity - 2, 4.0)
    fractions.fill("adipose", heart + 3)
    fractions.fill("heart", heart)
    left_ventricle = ellipsoid(points, (-48, -92, -18), (20 * size, 24 * size, 32 * size))
    right_ventricle = ellipsoid(points, (-12, -62, -16), (26 * size, 15 * size, 34 * size))
    right_atrium = ellipsoid(points, (16, -92, -4), (17 * size, 20 * size, 26 * size))
    aorta = tube(points, [(-2, -84, 4, 13), (6, -80, 300, 14)])
    vena_cava = tube(points, [(26, -92, 0, 9), (28, -94, 300, 9)])
    for chamber in (left_ventricle, right_ventricle, right_atrium):
        fractions.fill("heart_blood", intersection(chamber, heart - 3, 2.0))
    for vessel in (aorta, vena_cava):
        fractions.fill("heart_blood", intersection(vessel, cavity - 2))
