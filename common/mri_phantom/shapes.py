# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Distances to simple solids, blended with each other: the bricks of the simulated anatomy.

Every distance is in mm and positive **inside** the solid, so that ``minimum`` intersects and ``maximum`` unites.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

__all__ = ["coverage", "draw_axes", "ellipsoid", "intersection", "stretched_ball", "tube", "union"]


def ellipsoid(points: np.ndarray, centre: Sequence[float], radii: Sequence[float]) -> np.ndarray:
    """Return the distance into an axis-aligned ellipsoid, exact to first order near its surface.

    Args:
        points: ``[3, N]``, mm.
        centre: the ellipsoid's centre, mm.
        radii: its semi-axes, mm.

    Returns:
        ``[N]`` distances, mm, positive inside.
    """
    offset = points - np.asarray(centre, dtype=points.dtype)[:, None]
    scaled = offset / np.asarray(radii, dtype=points.dtype)[:, None]
    radius = np.sqrt(np.einsum("in,in->n", scaled, scaled))
    scaled /= np.asarray(radii, dtype=points.dtype)[:, None]
    slope = np.sqrt(np.einsum("in,in->n", scaled, scaled))
    # At the very centre both vanish; there the distance is that along the shortest axis.
    return np.where(slope > 1e-9, radius * (1 - radius) / np.maximum(slope, 1e-9), min(radii)).astype(points.dtype)


def draw_axes(generator: np.random.Generator, stretch: float | Sequence[float]) -> np.ndarray:
    """Return a matrix, float32 ``[3, 3]``, that turns by a random rotation and stretches without changing volumes.

    ``stretch`` has the logarithms of the factors, or is the standard deviation with which they are drawn.
    """
    rotation, _ = np.linalg.qr(generator.standard_normal((3, 3)))
    factors = np.exp(generator.normal(0, stretch, 3) if isinstance(stretch, float) else stretch)
    return (np.diag(factors / np.prod(factors) ** (1 / 3)) @ rotation).astype(np.float32)


def stretched_ball(points: np.ndarray, centre: np.ndarray, radius: float, axes: np.ndarray) -> np.ndarray:
    """Return the distance ``[N]`` into a ball, measured after ``axes`` (see ``draw_axes``) have stretched space."""
    offset = axes @ (points - centre[:, None])
    return radius - np.sqrt(np.einsum("in,in->n", offset, offset))


def tube(points: np.ndarray, nodes: Sequence[Sequence[float]]) -> np.ndarray:
    """Return the distance into a chain of rounded cones.

    Args:
        points: ``[3, N]``, mm.
        nodes: two or more ``(x, y, z, radius)``, mm; position and radius vary linearly between neighbours.

    Returns:
        ``[N]`` distances, mm, positive inside.
    """
    chain = np.asarray(nodes, dtype=points.dtype)
    inside = np.full(points.shape[1], -np.inf, dtype=points.dtype)
    for start, end in pairwise(chain):
        axis = end[:3] - start[:3]
        offset = points - start[:3, None]
        along = np.clip(axis @ offset / (axis @ axis), 0, 1)
        offset -= axis[:, None] * along
        distance = np.sqrt(np.einsum("in,in->n", offset, offset))
        np.maximum(inside, start[3] + along * (end[3] - start[3]) - distance, out=inside)
    return inside


def union(first: np.ndarray, second: np.ndarray, blend: float = 0.0) -> np.ndarray:
    """Return the distance into the union of two solids, their seam rounded over ``blend`` mm (quadratic)."""
    if blend == 0:
        return np.maximum(first, second)
    return np.maximum(first, second) + np.maximum(blend - np.abs(first - second), 0) ** 2 / (4 * blend)


def intersection(first: np.ndarray, second: np.ndarray, blend: float = 0.0) -> np.ndarray:
    """Return the distance into the intersection of two solids, their edge rounded over ``blend`` mm (quadratic)."""
    return -union(-first, -second, blend)


def coverage(distance: np.ndarray, width: float) -> np.ndarray:
    """Return the share in [0, 1] of a voxel ``width`` mm wide that lies inside a surface at ``distance``."""
    return np.clip(distance / width + 0.5, 0, 1)
