# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""One process writes TensorBoard events, the others none; the images in them are tiled in order and turned."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
import torch
from monai.handlers import TensorBoardStatsHandler
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_parts import Training

from seq2seq_mri.training import tensorboard
from seq2seq_mri.training.handlers import loss_terms
from seq2seq_mri.training.tensorboard import TranslationImageHandler, summary_writer, training_grid


@pytest.mark.parametrize("process", [0, 1])
def test_a_training_writes_events_in_the_first_process_only(tmp_path, monkeypatch, process) -> None:
    monkeypatch.setattr(tensorboard, "rank", lambda: process)
    writer = summary_writer(tmp_path / "events")
    training = Training(tmp_path, val_interval=1)
    TensorBoardStatsHandler(writer, output_transform=loss_terms).attach(training.trainer)
    TensorBoardStatsHandler(writer, iteration_log=False).attach(training.evaluator)
    TranslationImageHandler(writer, interval=2).attach(training.trainer)
    training.run()
    writer.close()
    if process == 1:
        assert not (tmp_path / "events").exists()
        return
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    assert {"loss", "reconstruction", "val_psnr"} <= set(events.Tags()["scalars"])
    assert [image.step for image in events.Images("source | target | synthesised | error")] == [2, 4]


def test_grid_tiles_in_order() -> None:
    source, target, prediction = (torch.full((2, 1, 3, 5, 7), value) for value in (0.2, 0.4, 0.5))
    source[1, :, 1] = 0.9
    source[:, :, 0], source[:, :, 2] = 5.0, 5.0  # neighbouring slices of the stack: not shown
    grid = training_grid(source, target, prediction)
    assert grid.shape == (3, 2 * 7 + 1, 4 * 5 + 3)
    assert grid.dtype == np.float32
    expected = {(0, 0): 0.2, (8, 0): 0.9, (0, 6): 0.4, (0, 12): 0.5}
    for (row, column), value in expected.items():
        np.testing.assert_allclose(grid[:, row : row + 7, column : column + 5], value, rtol=1e-6)
    error = np.array(matplotlib.colormaps["inferno"](0.4)[:3])  # 0.1 of 0.25
    np.testing.assert_allclose(grid[:, :7, 18:], np.broadcast_to(error[:, None, None], (3, 7, 5)), atol=0.01)


@pytest.mark.parametrize(
    ("shape", "middle"), [((1, 4, 3, 6, 8), (0, 2, 1)), ((1, 2, 1, 6, 8, 5), (0, 1, 0, ..., 2))], ids=["2D", "3D"]
)
def test_grid_shows_the_middle_in_radiological_orientation(shape, middle) -> None:
    image = torch.zeros(shape, dtype=torch.bfloat16, requires_grad=True).clone()
    image[middle][0, -1] = 1.0  # left, anterior
    source = image[:, shape[1] // 2 :][:, :1]  # a source of one timepoint
    tile = training_grid(source, image, image)[0, :8, :6]
    assert tile[0, -1] == 1
    assert tile.sum() == 1
