# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Tiles of a training's images for TensorBoard: source, target, synthesised, absolute error."""

from __future__ import annotations

import matplotlib
import numpy as np
from monai.config.type_definitions import NdarrayOrTensor

from seq2seq_mri.plots.slices import as_array
from seq2seq_mri.plots.style import MAP_COLOURS

__all__ = ["training_grid"]

_ERROR_MAXIMUM = 0.25  # absolute error at the end of the colours, in units of intensity


def training_grid(
    source: NdarrayOrTensor,
    target: NdarrayOrTensor,
    prediction: NdarrayOrTensor,
    *,
    spatial_dims: int = 2,
    max_rows: int = 4,
) -> np.ndarray:
    """Tile source | target | synthesised | absolute error, one row per sample, for ``SummaryWriter.add_image``.

    The middle timepoint, channel (slice of the 2.5D stack) and, in 3D, axial slice are shown in radiological
    orientation; the error is in colour.

    Args:
        source: ``[B, *spatial]``, ``[B, C, *spatial]`` or ``[B, T, C, *spatial]``, intensities as the network sees
            them.
        target: measured target of the same batch; its T may differ from the source's.
        prediction: synthesised target, of the target's size.
        spatial_dims: 2 or 3.
        max_rows: samples to show at most.

    Returns:
        float32 ``[3, H, W]`` in [0, 1].
    """
    views = [_middle_views(batch[:max_rows], spatial_dims) for batch in (source, target, prediction)]
    colours = matplotlib.colormaps[MAP_COLOURS]
    errors = colours(np.clip(abs(views[2] - views[1]) / _ERROR_MAXIMUM, 0, 1))[..., :3]
    columns = [np.repeat(np.clip(view, 0, 1)[..., None], 3, axis=-1) for view in views]
    line = max(1, views[0].shape[-1] // 64)
    tiles = np.pad(
        np.stack([*columns, errors], axis=1), ((0, 0), (0, 0), (0, line), (0, line), (0, 0)), constant_values=0.5
    )
    rows, count, height, width, _ = tiles.shape
    image = tiles.transpose(4, 0, 2, 1, 3).reshape(3, rows * height, count * width)
    return np.ascontiguousarray(image[:, :-line, :-line], dtype=np.float32)


def _middle_views(batch: NdarrayOrTensor, spatial_dims: int) -> np.ndarray:
    """Return the middle axial view of each sample, float32 ``[B, Y, X]``."""
    while batch.ndim > spatial_dims + 1:  # first the timepoints, then the channels
        batch = batch[:, batch.shape[1] // 2]
    if spatial_dims == 3:
        batch = batch[..., batch.shape[-1] // 2]
    return as_array(batch)[:, ::-1, ::-1].transpose(0, 2, 1)
