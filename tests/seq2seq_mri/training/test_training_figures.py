# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import matplotlib
import numpy as np
import pytest
import torch

from seq2seq_mri.training.training_figures import training_grid


def test_grid_tiles_in_order():
    source, target, prediction = (torch.full((2, 3, 5, 7), value) for value in (0.2, 0.4, 0.5))
    source[1, 1] = 0.9
    source[:, 0], source[:, 2] = 5.0, 5.0  # neighbouring slices of the stack: not shown
    grid = training_grid(source, target, prediction)
    assert grid.shape == (3, 2 * 7 + 1, 4 * 5 + 3)
    assert grid.dtype == np.float32
    assert grid.min() >= 0
    assert grid.max() <= 1
    np.testing.assert_allclose(grid[:, :7, :5], 0.2, rtol=1e-6)
    np.testing.assert_allclose(grid[:, 8:, :5], 0.9, rtol=1e-6)
    np.testing.assert_allclose(grid[:, :7, 6:11], 0.4, rtol=1e-6)
    np.testing.assert_allclose(grid[:, :7, 12:17], 0.5, rtol=1e-6)
    error = np.array(matplotlib.colormaps["inferno"](0.4)[:3])  # 0.1 of 0.25
    np.testing.assert_allclose(grid[:, :7, 18:], np.broadcast_to(error[:, None, None], (3, 7, 5)), atol=0.01)


@pytest.mark.parametrize(
    ("shape", "spatial_dims", "index"),
    [
        ((1, 6, 8), 2, (0,)),
        ((1, 3, 6, 8), 2, (0, 1)),
        ((1, 4, 3, 6, 8), 2, (0, 2, 1)),
        ((1, 6, 8, 5), 3, (0,)),
        ((1, 1, 6, 8, 5), 3, (0, 0)),
        ((1, 2, 1, 6, 8, 5), 3, (0, 1, 0)),
    ],
)
def test_grid_shows_the_middle_in_radiological_orientation(shape, spatial_dims, index):
    image = torch.zeros(shape)
    view = image[index] if spatial_dims == 2 else image[index][..., 2]
    view[0, -1] = 1.0  # left, anterior
    grid = training_grid(image, image, image, spatial_dims=spatial_dims)
    tile = grid[0, :8, :6]
    assert tile[0, -1] == 1
    assert tile.sum() == 1


def test_grid_takes_other_timepoints_and_types():
    source = torch.rand(6, 1, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    target, prediction = torch.rand(6, 4, 3, 8, 8), torch.rand(6, 4, 3, 8, 8).to(torch.bfloat16)
    assert training_grid(source, target, prediction, max_rows=5).shape == (3, 5 * 9 - 1, 4 * 9 - 1)
