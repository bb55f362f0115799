# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The voxel grid of a simulated image: its points in mm, its affine, and volumes filled with values at some points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["fill_volume", "grid_affine", "grid_points"]


def grid_affine(shape: Sequence[int], spacing: Sequence[float]) -> np.ndarray:
    """Return the RAS affine ``[4, 4]`` of a grid whose centre is at the origin."""
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [-step * (size - 1) / 2 for size, step in zip(shape, spacing, strict=True)]
    return affine


def grid_points(shape: Sequence[int], spacing: Sequence[float]) -> np.ndarray:
    """Return the voxels' centres, float32 ``[3, X·Y·Z]``, mm, in the order of a C array."""
    axes = [
        ((np.arange(size) - (size - 1) / 2) * step).astype(np.float32)
        for size, step in zip(shape, spacing, strict=True)
    ]
    return np.stack(np.meshgrid(*axes, indexing="ij")).reshape(3, -1)


def fill_volume(values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return the volume ``[..., X, Y, Z]`` with ``values`` (``[..., N]``) at its N points inside, and 0 elsewhere.

    The values are in the order of a C array; the volume has their type.
    """
    filled = np.zeros((*values.shape[:-1], *inside.shape), dtype=values.dtype)
    filled[..., inside] = values
    return filled
