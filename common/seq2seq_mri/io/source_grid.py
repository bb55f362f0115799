# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Where the field of view of a subject's file lies in an image that was cropped, padded or resampled."""

from __future__ import annotations

import itertools

import numpy as np
import torch
import torch.nn.functional as F
from monai.utils import convert_to_numpy

__all__ = ["on_source_grid", "source_margins"]


def source_margins(image: torch.Tensor) -> list[int]:
    """Return by how many voxels the field of view of a subject's file exceeds an image of it.

    After crops, pads, flips and swaps of axes these are the voxels that lead back to the file's own grid. After a
    resampling they lead to the resampled grid's voxels whose centres lie in the file's field of view.

    Args:
        image: ``[C, X, Y, Z]``, a ``MetaTensor`` with the affine and shape of its file, as ``LoadImageSequencesd``
            gives. An image that knows no file has no margins.

    Returns:
        What ``torch.nn.functional.pad`` takes: before and after the last axis, then the one before it, and so on;
        negative where the image was padded beyond the file.
    """
    metadata = getattr(image, "meta", {})
    if "original_affine" not in metadata or "spatial_shape" not in metadata:
        return [0] * 6
    affine, original = (
        np.asarray(convert_to_numpy(metadata[key]), dtype=float) for key in ("affine", "original_affine")
    )
    size = [int(side) for side in metadata["spatial_shape"]]
    # A voxel reaches half its size to either side of its centre.
    corners = np.array([[*corner, 1.0] for corner in itertools.product(*((-0.5, side - 0.5) for side in size))])
    corners = (corners @ (np.linalg.inv(affine) @ original).T)[:, :3]
    tolerance = 1e-3  # voxels, for the rounding of affines
    first = np.ceil(corners.min(axis=0) - tolerance).astype(int)
    last = np.floor(corners.max(axis=0) + tolerance).astype(int)
    margins: list[int] = []
    for axis in (2, 1, 0):
        margins += [-int(first[axis]), int(last[axis]) + 1 - image.shape[axis + 1]]
    return margins


def on_source_grid(volume: torch.Tensor, margins: list[int]) -> torch.Tensor:
    """Return a volume ``[..., X, Y, Z]`` with these margins, 0 where there was nothing; see :func:`source_margins`."""
    return F.pad(volume, margins) if any(margins) else volume
