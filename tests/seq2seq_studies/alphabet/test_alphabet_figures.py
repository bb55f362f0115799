# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import numpy as np
import pytest
import torch

from seq2seq_mri.plots.slices import axial_view
from seq2seq_studies.alphabet.alphabet import AlphabetDataset
from seq2seq_studies.alphabet.alphabet_figures import alphabet_examples, learning_curve_figure
from seq2seq_studies.alphabet.glyphs import LETTERS

PAIRS = {"x1": ("x1", "x1 + M_d"), "x2": ("x2", "x2 + M_d")}


@pytest.fixture
def samples() -> list[dict]:
    return [
        {**sample, "differentiation": sample["image"].half() / 4}
        for sample in AlphabetDataset("testing", 3, shape=(48, 40))
    ]


def test_images_labels_and_maps_of_one_scale(samples):
    figure = alphabet_examples(samples)
    grid = np.array(figure.axes[:12], dtype=object).reshape(3, 4)
    maximum = np.percentile(np.stack([sample["differentiation"] for sample in samples]).astype(np.float32), 99.5)
    for row, sample in zip(grid, samples, strict=True):
        assert row[0].get_ylabel() == sample["subject"]
        for axes, image, label in zip(row, sample["image"], sample["label"], strict=False):
            np.testing.assert_array_equal(axes.images[0].get_array(), axial_view(image, 0))
            assert [text.get_text() for text in axes.texts] == [f"label {LETTERS[label]}"]
        for axes, values in zip(row[2:], sample["differentiation"], strict=True):
            assert axes.images[0].get_clim() == pytest.approx((0, maximum))
            np.testing.assert_array_equal(axes.images[0].get_array(), axial_view(values, 0))
    assert [axes.get_title() for axes in grid[0]] == ["$x_1$", "$x_2$", "$M_d(x_1)$", "$M_d(x_2)$"]


def test_maps_of_zeros(samples):
    figure = alphabet_examples([{**samples[0], "differentiation": torch.zeros_like(samples[0]["image"])}])
    assert figure.axes[2].images[0].get_clim() == (0, 1)


def test_learning_curve_shows_means_and_gains(curve):
    figure = learning_curve_figure(curve, PAIRS, 1 / 26, {"x2": "$X_2$"})
    assert len(figure.axes) == 2
    axes = figure.axes[1]
    named = {line.get_label(): line for line in axes.lines}
    assert {"x2 + M_d", "$X_2$", "chance"} <= set(named)
    rows = curve[curve["inputs"] == "x2 + M_d"]
    assert list(named["x2 + M_d"].get_ydata()) == pytest.approx(list(rows.groupby("size")["accuracy"].mean()))
    assert named["chance"].get_ydata()[0] == 1 / 26
    assert len(axes.collections) == 2
    first, gain, paper = axes.get_title(loc="left").splitlines()
    assert first == "x2"
    assert gain.startswith("largest gain +0.1")
    assert paper == "(paper: +0.369 at $N$ = 5,000)"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["3,000", "5,000", "9,000"]


def test_learning_curve_of_one_seed_has_no_bands(curve):
    assert not learning_curve_figure(curve[curve["seed"] == 0], PAIRS, 1 / 26).axes[0].collections
