# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import numpy as np
import pytest
import torch

from seq2seq_mri.plots.slices import axial_view
from seq2seq_mri.plots.style import save_figure
from seq2seq_studies.alphabet.alphabet import AlphabetDataset
from seq2seq_studies.alphabet.alphabet_figure import alphabet_examples
from seq2seq_studies.alphabet.glyphs import LETTERS


@pytest.fixture
def samples():
    dataset = AlphabetDataset("testing", 3, shape=(48, 40))
    return [dataset[index] for index in range(len(dataset))]


@pytest.fixture
def with_maps(samples):
    return [{**sample, "image_md": sample["image"].half() / 4} for sample in samples]


def panels(figure, columns):
    return np.array(figure.axes[: 3 * columns], dtype=object).reshape(3, columns)


def test_images_and_labels(samples, texts):
    grid = panels(alphabet_examples(samples), 2)
    for row, sample in zip(grid, samples, strict=True):
        assert row[0].get_ylabel() == sample["subject"]
        for axes, image, label in zip(row, sample["image"], sample["label"], strict=True):
            np.testing.assert_array_equal(axes.images[0].get_array(), axial_view(image, 0))
            assert [text.get_text() for text in axes.texts] == [f"label {LETTERS[label]}"]
            box = axes.get_position()
            width, height = axes.figure.get_size_inches()
            assert box.height * height / (box.width * width) == pytest.approx(40 / 48)
    assert [axes.get_title() for axes in grid[0]] == ["$x_1$", "$x_2$"]


def test_maps_share_one_scale(with_maps):
    figure = alphabet_examples(with_maps)
    expected = np.percentile(np.stack([sample["image_md"] for sample in with_maps]).astype(np.float32), 99.5)
    for axes in panels(figure, 4)[:, 2:].flat:
        assert axes.images[0].get_clim() == pytest.approx((0, expected))
    for row, sample in zip(panels(figure, 4), with_maps, strict=True):
        for axes, values in zip(row[2:], sample["image_md"], strict=True):
            np.testing.assert_array_equal(axes.images[0].get_array(), axial_view(values, 0))
    assert panels(alphabet_examples(with_maps, maximum=0.7), 4)[0, 2].images[0].get_clim() == (0, 0.7)


def test_a_sample_without_a_map(samples, with_maps):
    grid = panels(alphabet_examples([*with_maps[:2], samples[2]]), 4)
    assert [bool(axes.images) for axes in grid[:, 3]] == [True, True, False]
    assert "no\nmap" in [text.get_text() for text in grid[2, 3].texts]


def test_maps_of_zeros(samples):
    sample = {**samples[0], "image_md": torch.zeros_like(samples[0]["image"])}
    figure = alphabet_examples([sample])
    assert figure.axes[2].images[0].get_clim() == (0, 1)


def test_is_written_equal_twice(with_maps, tmp_path):
    first, second = (
        save_figure(alphabet_examples(with_maps[:1]), tmp_path / name, dpi=40) for name in ("a.png", "b.png")
    )
    assert first.read_bytes() == second.read_bytes()


def test_refuses(samples):
    with pytest.raises(ValueError, match="no samples to show"):
        alphabet_examples([])
    with pytest.raises(ValueError, match="all must be the same"):
        alphabet_examples([*samples, AlphabetDataset("testing", 1, shape=(40, 40))[0]])
    with pytest.raises(ValueError, match=r"maximum of the M_d colours is 0"):
        alphabet_examples([{**samples[0], "image_md": samples[0]["image"]}], maximum=0)
