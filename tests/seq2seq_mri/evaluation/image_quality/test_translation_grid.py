# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import numpy as np
import pytest

from seq2seq_mri.evaluation.image_quality.translation_grid import translation_grid
from seq2seq_mri.plots.frames import frame_axes
from seq2seq_mri.plots.slices import SliceView, axial_view


def images(figure):
    """Return the panels of a grid of four sequences and its colour bar's axes."""
    *panels, bar = figure.axes
    return np.array(panels, dtype=object).reshape(5, 5), bar


def test_every_cell_shows_its_volume(subject):
    truth, predictions = subject
    grid, _ = images(translation_grid(truth, predictions, view=SliceView(index=2)))
    assert not grid[0, 0].images
    shown = {(None, name): image for name, image in truth.items()}
    shown |= {(name, None): image for name, image in truth.items()} | predictions
    names = [None, *truth]
    for (source, target), volume in shown.items():
        (image,) = grid[names.index(source), names.index(target)].images
        np.testing.assert_array_equal(image.get_array(), axial_view(volume, 2))
        assert image.get_clim() == (0, 1)


def test_left_anterior_is_drawn_at_the_right_top(subject):
    truth, predictions = subject
    marked = np.zeros((10, 14, 6), dtype=np.float32)
    marked[:3, -3:, :] = 1  # left, anterior
    figure = translation_grid({**truth, "t1": marked}, predictions, view=SliceView(index=2))
    panel = figure.axes[1]
    for text in panel.texts:  # the letters R and L would hide the mark
        text.set_visible(False)
    figure.canvas.draw()
    drawn = np.asarray(figure.canvas.buffer_rgba())[::-1, :, 0]  # from the bottom, as extents are
    left, bottom, right, top = panel.get_window_extent().extents.astype(int)
    tile = drawn[bottom + 2 : top - 2, left + 2 : right - 2]
    quarters = np.array([[part.mean() for part in np.array_split(half, 2, axis=1)] for half in np.array_split(tile, 2)])
    assert quarters[1, 1] > 30
    assert (np.delete(quarters, 3) < 1).all()
    assert [text.get_text() for text in sorted(panel.texts, key=lambda text: text.xy)] == ["R", "L"]


def test_texts(subject, texts):
    truth, predictions = subject
    psnr = {pair: 20.0 + number for number, pair in enumerate(predictions)}
    figure = translation_grid(truth, predictions, view=SliceView("patient07", 3), psnr=psnr, data_range=2.0)
    written = texts(figure)
    assert "patient07, axial slice 4 of 6" in written
    assert written.count("t1gd") == 2  # one row, one column
    assert sum(text.endswith(" dB") for text in written) == 12  # off the diagonal
    assert "21.0 dB" in written
    assert any("PSNR: foreground, data range 2" in text for text in written)
    assert any("fraction of range" in text for text in written)


def test_missing_cells_say_why(subject, texts):
    truth, predictions = subject
    kept = {pair: image for pair, image in predictions.items() if pair[0] != "flair"}
    del kept["t1", "t2"]
    figure = translation_grid({**truth, "flair": None}, kept, psnr={("t1", "t2"): 30.0, ("t2", "t1"): float("nan")})
    written = texts(figure)
    assert written.count("not\nmeasured") == 2
    assert written.count("source\nnot measured") == 4
    assert written.count("not\nsynthesised") == 1
    assert not any(text.endswith(" dB") for text in written)  # none without an image, none without a number
    grid, _ = images(figure)
    assert sum(bool(cell.images) for cell in grid.flat) == 6 + 11
    assert grid[4, 1].patch.get_hatch()


def test_crop_leaves_out_the_border(subject):
    padding = ((20, 20), (10, 10), (0, 0))
    grid, _ = images(
        translation_grid(*({name: np.pad(image, padding) for name, image in given.items()} for given in subject))
    )
    assert {cell.images[0].get_array().shape for cell in grid.flat if cell.images} == {(18, 14)}


def test_panels_have_the_voxels_aspect(subject):
    figure = translation_grid(*subject, view=SliceView(spacing=(2.0, 1.0, 3.0)))
    figure.canvas.draw()
    box = figure.axes[1].get_window_extent()
    assert box.height / box.width == pytest.approx(14 * 1.0 / (10 * 2.0), rel=1e-6)


def test_the_highest_b_value_is_shown_and_brightened(subject, texts):
    truth, predictions = subject
    series = np.stack([truth["t2"] * factor for factor in (1.0, 0.19, 0.5)])
    predicted = {pair: np.stack([image] * 3) if pair[1] == "t2" else image for pair, image in predictions.items()}
    frames = frame_axes({"t1": 1, "t1gd": 1, "t2": 3, "flair": 1}, b_values={"t2": [0, 1500, 800]})
    figure = translation_grid({**truth, "t2": series}, predicted, view=SliceView(index=2), frames=frames)
    assert texts(figure).count("t2\nb = 1500 (5x)") == 2
    grid, _ = images(figure)
    np.testing.assert_allclose(grid[0, 3].images[0].get_array(), axial_view(truth["t2"], 2) * 0.19, rtol=1e-6)
    white = np.array([[grid[row, column].images[0].get_clim()[1] for column in range(1, 5)] for row in range(1, 5)])
    np.testing.assert_allclose(white, [[1, 1, 0.2, 1]] * 4)
    assert grid[3, 0].images[0].get_clim()[1] == pytest.approx(0.2)
