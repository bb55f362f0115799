# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The anatomy of a simulated brain: shares of tissues in each voxel.

The brain is a set of solids in a coordinate system of its own, in mm, RAS, with the origin between the anterior and
the posterior commissure's plane and the bottom of the third ventricle; dimensions follow an adult's in a stereotactic
atlas. Cortex is folded along the zero surfaces of a band-limited random function, so that every subject has gyri and
sulci of its own. Tissues are painted one over the other with soft edges of one voxel, which gives partial volumes.

``points`` are float32 ``[3, N]`` in this coordinate system, mm; ``width`` is that of a voxel there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mri_phantom.fractions import Fractions
from mri_phantom.random_fields import RandomField
from mri_phantom.shapes import coverage, ellipsoid, intersection, tube, union
from mri_phantom.tissue import BRAIN_TISSUES

__all__ = ["BRAIN_CENTRE", "BRAIN_RADII", "BrainAnatomy", "brain_surface", "draw_anatomy", "grow_cortical_vessels"]

BRAIN_CENTRE = (0.0, -15.0, 4.0)
BRAIN_RADII = (69.0, 88.0, 68.0)


@dataclass
class BrainAnatomy:
    """Tissues at the N points of one brain.

    Attributes:
        fractions: shares of ``BRAIN_TISSUES``.
        depth: float32 ``[N]``, mm below the surface of cerebrum, cerebellum and brainstem.
        ventricle: float32 ``[N]``, distance in mm into the lateral ventricles.
    """

    fractions: Fractions
    depth: np.ndarray
    ventricle: np.ndarray


def brain_surface(points: np.ndarray) -> np.ndarray:
    """Return the distance in mm, ``[N]``, into the skull-stripped brain with the fluid around it."""
    return union(_cerebrum(points), union(_cerebellum(points), _brainstem(points), 6.0), 6.0)


def draw_anatomy(generator: np.random.Generator, points: np.ndarray, width: float) -> BrainAnatomy:
    """Draw one healthy brain at points inside ``brain_surface``."""
    fractions = Fractions.of_one("csf", BRAIN_TISSUES, points, width)
    depth, cortex = _paint_cerebrum(generator, fractions)
    ventricle = _paint_deep_structures(generator, fractions)
    hindbrain = _paint_hindbrain(generator, fractions)
    _paint_vessels(generator, fractions, cortex)
    return BrainAnatomy(fractions, union(depth, hindbrain), ventricle)


def grow_cortical_vessels(generator: np.random.Generator, fractions: Fractions) -> None:
    """Thread small vessels through grey matter, in place; they stand out after contrast agent and hardly before.

    Two random functions vanish together along winding lines; these are the vessels' centres. Before contrast agent
    their tissue is that of grey matter, so that, as in patients, the bright dots and lines of T1Gd can be foreseen
    neither from T1 nor from T2 or FLAIR. Those too thin to be seen singly are taken together, 3.4 mm in radius.
    """
    fields = [RandomField(generator, wavelength=18.0, bandwidth=0.3) for _ in range(2)]
    distances = [field.distance_to_zero(fractions.points) for field in fields]
    fractions.convert("grey_matter", "cortical_vessel", fractions.within(3.4 - np.hypot(*distances)))


def _mirrored(points: np.ndarray) -> np.ndarray:
    """Fold the left half onto the right, so that a structure on both sides is described once."""
    return np.stack([np.abs(points[0]), *points[1:]])


def _cerebrum(points: np.ndarray) -> np.ndarray:
    """Distance into both hemispheres as if there were neither fissures nor sulci."""
    x, y, z = points
    # narrower at the forehead than at the parietal lobes
    tapered = np.stack([np.abs(x) * (1 + 0.0010 * (y + 25)), y, z])
    dome = ellipsoid(tapered, (0, -15, 8), (67, 86, 62))
    # the base: orbital surface in front, tentorium sloping down to the back
    base = np.where(y > -10, -15.5 - 0.14 * (y + 10), -15.5 + 0.12 * (y + 10))
    dome = intersection(dome, (z - base).astype(points.dtype), 12.0)
    tilted = np.stack([np.abs(x), y, z + 0.25 * (y + 10)])
    temporal = ellipsoid(tilted, (43, -12, -17), (23, 44, 19))
    return union(dome, temporal, 16.0)


def _cerebellum(points: np.ndarray) -> np.ndarray:
    hemispheres = ellipsoid(_mirrored(points), (22, -62, -36), (32, 28, 23))
    return union(hemispheres, ellipsoid(points, (0, -58, -29), (14, 22, 23)), 6.0)


def _brainstem(points: np.ndarray) -> np.ndarray:
    return tube(points, [(0, -17, -8, 13), (0, -23, -27, 15), (0, -28, -42, 10), (0, -34, -60, 7)])


def _folding_surfaces(points: np.ndarray, wander: np.ndarray) -> np.ndarray:
    """Distance in mm below the nearest surface from which gyri fold inward: outside, falx, Sylvian fissure.

    ``wander`` (``[N]``, mm) moves the Sylvian fissure off its straight course.
    """
    x, y, z = _mirrored(points)
    falx = x - 1.0
    # the Sylvian fissure climbs from the pole of the temporal lobe backwards, down to the insula
    height = 0.908 * (z - (-12 - 0.46 * (y - 25))) + wander
    along = np.maximum(np.maximum(y - 30, -38 - y), 0)
    cleft = np.sqrt(height**2 + np.maximum(38 - x, 0) ** 2 + along**2)
    insula = np.sqrt(
        (x - 38 + 0.4 * wander) ** 2 + np.maximum(np.abs(height) - 10, 0) ** 2 + np.maximum(np.abs(y - 5) - 20, 0) ** 2
    )
    sylvian = np.minimum(cleft - 0.3, insula - 0.8)
    depth = intersection(_cerebrum(points), falx.astype(points.dtype), 3.0)
    return intersection(depth, sylvian.astype(points.dtype), 2.0)


def _paint_cerebrum(generator: np.random.Generator, fractions: Fractions) -> tuple[np.ndarray, np.ndarray]:
    """Paint the folded cortex and the white matter in it; return the distances into the whole and into the cortex."""
    folds = RandomField(generator, wavelength=25.0, bandwidth=0.22)
    reach = RandomField(generator, wavelength=40.0)
    atrophy = generator.uniform(-0.5, 0.0)  # negative: the banks of sulci touch
    thickness = generator.uniform(2.9, 3.4)

    points = fractions.points
    wander = 3.5 * reach(points)
    depth = _folding_surfaces(points, wander)
    step = 1.5
    normal = np.empty_like(points)
    for axis in range(3):
        moved = points.copy()
        moved[axis] += step
        normal[axis] = (_folding_surfaces(moved, wander) - depth) / step
    # Sulci run into depth at right angles to the surface: the folds there are those of the nearest surface point,
    # but for a remainder that bends them. The two hemispheres use distant parts of the same random function.
    surface = points - 0.85 * np.clip(depth, 0, 25) * normal
    surface[0] += np.where(points[0] < 0, np.float32(96), np.float32(0))
    sulcus = folds.distance_to_zero(surface)
    # midway between two surfaces, where the normal turns over and is short, there is no sulcus
    sulcus += 15 * np.maximum(0.85 - np.sqrt(np.einsum("in,in->n", normal, normal)), 0)
    bottom = 12 + 4 * reach(surface)
    sulcus = np.sqrt(sulcus**2 + np.maximum(depth - bottom, 0) ** 2) - atrophy
    cortex = np.minimum(depth - 0.6 * atrophy, sulcus).astype(points.dtype)
    fractions.fill("grey_matter", cortex)
    fractions.fill("white_matter", cortex - thickness)
    return depth, cortex


def _paint_deep_structures(generator: np.random.Generator, fractions: Fractions) -> np.ndarray:
    """Paint corpus callosum, basal ganglia, thalami and ventricles; return the distance into the lateral ventricles."""
    mirrored = _mirrored(fractions.points)
    # the corpus callosum bridges the hemispheres in an arch above the ventricles
    flattened = np.stack([mirrored[0] * 0.28, *mirrored[1:]])
    arch = [(0, 27, 0, 3.5), (0, 33, 8, 5), (0, 24, 20, 4.5), (0, 4, 27, 3.5), (0, -20, 26, 3.5), (0, -38, 17, 5.5)]
    fractions.fill("white_matter", tube(flattened, arch))
    core = ellipsoid(mirrored, (14, -2, 4), (24, 36, 20))
    fractions.fill("white_matter", core)

    size = generator.uniform(0.7, 1.25)
    horns = [(7, 29, 6, 2.5), (8, 18, 14, 4.5), (9, -4, 20, 4.5), (15, -26, 19, 5), (24, -38, 10, 6)]
    ventricle = tube(mirrored, [(*node[:3], size * node[3]) for node in horns])
    occipital = tube(mirrored, [(24, -38, 10, 5 * size), (25, -58, 5, 2.5 * size)])
    temporal = tube(mirrored, [(24, -38, 10, 5 * size), (33, -28, -8, 2.5 * size), (31, -8, -17, 2.0 * size)])
    ventricle = union(union(ventricle, occipital, 4.0), temporal, 4.0)
    ventricle = intersection(ventricle, mirrored[0] - 0.8, 1.0)

    fractions.fill("thalamus", ellipsoid(mirrored, (11, -17, 7), (9.5, 16, 10)))
    caudate = tube(mirrored, [(13, 19, 5, 7.5), (15, 8, 15, 5), (18, -12, 21, 3), (25, -28, 19, 2)])
    fractions.fill("caudate", caudate)
    turned = np.stack([mirrored[0] + 0.22 * (mirrored[1] - 2), *mirrored[1:]])
    fractions.fill("putamen", ellipsoid(turned, (26, 2, 3), (6.0, 17, 10)))
    fractions.fill("pallidum", ellipsoid(turned, (18.5, -1, 0.5), (4.5, 10, 7)))

    fractions.fill("csf", ventricle)
    third = ellipsoid(fractions.points, (0, -10, 2), (1.6 + size, 14, 10))
    fractions.fill("csf", third)
    plexus = tube(mirrored, [(16, -26, 17, 1.8), (24, -37, 8, 2.8), (27, -34, 0, 1.5)])
    fractions.paint("choroid_plexus", 0.85 * fractions.within(intersection(plexus, ventricle - 0.5)))
    return ventricle


def _paint_hindbrain(generator: np.random.Generator, fractions: Fractions) -> np.ndarray:
    """Paint brainstem, cerebellum and fourth ventricle; return the distance into them."""
    points = fractions.points
    stem = _brainstem(points)
    fractions.fill("brainstem", stem - 0.8)
    cerebellum = _cerebellum(points) - 0.5
    # folia are thin leaves that run from side to side
    leaves = RandomField(generator, wavelength=17.0, bandwidth=0.25)
    stretched = np.stack([0.35 * points[0], 1.5 * points[1], 1.7 * points[2]])
    fissure = leaves.distance_to_zero(stretched) / 1.6
    fissure = np.sqrt(fissure**2 + np.maximum(cerebellum - 9, 0) ** 2) - 0.1
    cortex = np.minimum(cerebellum, fissure).astype(points.dtype)
    # at the tentorium the cerebellum ends where the cerebrum's fluid begins
    own = fractions.within(cerebellum) * fractions.within(1.0 - _cerebrum(points))
    peduncle = np.minimum(stem + 14, cerebellum - 5)
    fractions.paint("csf", own)
    fractions.paint("grey_matter", own * fractions.within(cortex))
    fractions.paint("white_matter", own * fractions.within(union(cortex - 1.9, peduncle)))
    fourth = ellipsoid(points, (0, -41, -30), (6, 5, 9))
    fractions.fill("csf", fourth)
    return union(stem, cerebellum)


def _paint_vessels(generator: np.random.Generator, fractions: Fractions, cortex: np.ndarray) -> None:
    """Paint what contrast agent shows in every brain besides a tumour."""
    points = fractions.points
    # the superior sagittal sinus, at the upper and rear edge of the falx
    surface = brain_surface(points)
    sinus = np.minimum(np.minimum(3.5 - np.abs(points[0]), surface + 0.5), 4.5 - surface)
    sinus = intersection(sinus, (points[2] - 0.4 * points[1] - 5).astype(points.dtype))
    fractions.fill("vein", sinus)
    # here and there a vein lies in a sulcus
    course = RandomField(generator, wavelength=20.0)
    fluid = fractions["csf"]
    share = fluid * coverage(2 * (course(points) - 1.2), 1.0) * fractions.within(-cortex) * coverage(6 - surface, 4.0)
    fractions.convert("csf", "vein", share)
