# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch

from seq2seq_mri.training.training_figures import training_curves, training_grid


def test_grid_tiles_in_order():
    source, target, prediction = (torch.full((2, 3, 5, 7), value) for value in (0.2, 0.4, 0.5))
    source[1, 1] = 0.9
    source[:, 0], source[:, 2] = 5.0, 5.0  # neighbouring slices of the stack: not shown
    grid = training_grid(source, target, prediction, error_maximum=0.25)
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


def test_grid_refuses_what_does_not_agree():
    image = torch.zeros(2, 3, 8, 8)
    with pytest.raises(ValueError, match=r"target has shape \(2, 3, 8, 7\)"):
        training_grid(image, image[..., :7], image)
    with pytest.raises(ValueError, match="prediction has shape"):
        training_grid(image, image, image[:1])
    with pytest.raises(ValueError, match=r"source has shape \(8, 8\)"):
        training_grid(image[0, 0], image, image)
    with pytest.raises(ValueError, match="spatial_dims 4"):
        training_grid(image, image, image, spatial_dims=4)


HISTORY = {
    "epoch": [1, 2, 3, 4],
    "train_loss": [1.0, 0.5, 0.25, 0.01],
    "cycle_loss": [2.0, 1.0, 0.5, 0.1],
    "val_psnr": [np.nan, 20.0, np.nan, 24.0],
    "learning_rate": [2e-4, 1.5e-4, 1e-4, 5e-5],
    "comment": [np.nan] * 4,
}


def from_csv(folder):
    path = folder / "history.csv"
    pd.DataFrame(HISTORY).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("read", [lambda folder: HISTORY, lambda folder: pd.DataFrame(HISTORY), from_csv])
def test_curves_have_a_panel_per_kind(tmp_path, read):
    figure = training_curves(read(tmp_path))
    loss, psnr, rate = figure.axes
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Loss", "PSNR", "learning rate"]
    assert len(loss.lines) == 2
    assert loss.get_yscale() == "log"
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["train loss", "cycle loss"]
    np.testing.assert_array_equal(psnr.lines[0].get_xdata(), [2, 4])  # bridges the epochs without validation
    np.testing.assert_array_equal(psnr.lines[0].get_ydata(), [20, 24])
    assert psnr.get_ylabel() == "PSNR (dB)"
    assert rate.get_yscale() == "linear"


def test_negative_losses_are_linear():
    figure = training_curves({"iteration": [1, 2], "adversarial_loss": [-1.0, 100.0]}, step="iteration")
    assert figure.axes[0].get_yscale() == "linear"
    assert figure.axes[0].get_xlabel() == "iteration"


def test_curves_refuse_what_they_cannot_draw(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"history\.csv"):
        training_curves(tmp_path / "history.csv")
    with pytest.raises(ValueError, match="no column 'epoch'"):
        training_curves({"step": [1], "loss": [1.0]})
    with pytest.raises(ValueError, match="differ in length"):
        training_curves({"epoch": [1, 2], "loss": [1.0]})
    with pytest.raises(ValueError, match="no values beside 'epoch'"):
        training_curves({"epoch": [1, 2]})
