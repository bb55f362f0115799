# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import matplotlib
import numpy as np
import pytest
import torch

from seq2seq_mri.evaluation.differentiation.differentiation_figure import ANATOMY_BRIGHTNESS, differentiation_overlay
from seq2seq_mri.plots.frames import frame_axes
from seq2seq_mri.plots.slices import axial_view


def test_one_column_per_sequence(subject, texts):
    truth, _ = subject
    figure = differentiation_overlay(truth, {name: image / 4 for name, image in truth.items()}, subject="patient07")
    assert len(figure.axes) == 2 * 4 + 2  # two colour bars
    assert all(axes.images for axes in figure.axes[:8])
    written = texts(figure)
    assert [axes.get_title() for axes in figure.axes[:4]] == list(truth)
    assert any(text.startswith("patient07, axial slice") for text in written)
    assert sum("fraction of range" in text for text in written) == 2


def test_colours_follow_the_values(subject):
    truth, _ = subject
    values = np.zeros_like(truth["t1"])
    values[5, 7, 2] = 0.5  # the maximum: full colour
    values[4, 7, 2] = 0.25  # half: as much colour as anatomy
    figure = differentiation_overlay({"t1": truth["t1"]}, {"t1": values}, maximum=0.5, slice_index=2, crop=False)
    anatomy, blended = ANATOMY_BRIGHTNESS * axial_view(truth["t1"], 2), figure.axes[1].images[0].get_array()
    colours = matplotlib.colormaps["inferno"]
    full, half = (np.argwhere(axial_view(values, 2) == value)[0] for value in (0.5, 0.25))
    np.testing.assert_allclose(blended[tuple(full)], colours(1.0)[:3], atol=1e-6)
    expected = 0.5 * anatomy[tuple(half)] + 0.5 * np.array(colours(0.5)[:3])
    np.testing.assert_allclose(blended[tuple(half)], expected, atol=1e-6)
    empty = axial_view(values, 2) == 0
    np.testing.assert_allclose(blended[empty], np.repeat(anatomy[empty][:, None], 3, axis=1), atol=1e-6)
    bar = figure.axes[-1]
    assert bar.get_ylim() == (0, 0.5)


def test_region_is_outlined_and_chooses_the_slice(subject, texts):
    truth, _ = subject
    region = torch.zeros(10, 14, 6, dtype=torch.bool)
    region[4:7, 5:9, 4] = True
    figure = differentiation_overlay(truth, truth, regions={"t1gd": region, "t1": None})
    assert [len(axes.collections) for axes in figure.axes[4:8]] == [0, 1, 0, 0]
    written = texts(figure)
    assert "Axial slice 5 of 6" in written
    assert any(text.startswith("Contour") for text in written)


def test_missing_sequences_and_timepoints(subject, texts):
    truth, _ = subject
    anatomy = {**truth, "t2": np.stack([truth["t2"]] * 6), "flair": None}
    maps = {"t1": truth["t1"], "t2": anatomy["t2"]}
    written = texts(differentiation_overlay(anatomy, maps))
    assert written.count("not\nmeasured") == 2
    assert written.count("no\nmap") == 1
    assert "t2\ntimepoint 4/6" in written


def test_the_mean_over_timepoints_is_shown(subject, texts):
    truth, _ = subject
    series = np.stack([truth["t1"]] * 3)
    values = np.zeros_like(series)
    values[0, 5, 7, 2], values[2, 5, 7, 2] = 0.3, 0.6
    frames = frame_axes({"dce": 3}, times={"dce": [0, 90, 180]})
    figure = differentiation_overlay(
        {"dce": series}, {"dce": values}, maximum=0.3, slice_index=2, crop=False, frames=frames
    )
    place = tuple(np.argwhere(axial_view(values[0], 2))[0])
    blended = figure.axes[1].images[0].get_array()
    np.testing.assert_allclose(blended[place], matplotlib.colormaps["inferno"](1.0)[:3], atol=1e-6)  # mean 0.3
    assert "mean of 3 timepoints" in texts(figure)
    assert figure.axes[0].get_title() == "dce\n90 s"


@pytest.mark.parametrize(
    ("count", "shape"), [(1, (2, 1)), (4, (2, 4)), (6, (2, 6)), (7, (4, 4)), (8, (4, 4)), (9, (6, 3)), (11, (6, 4))]
)
def test_many_sequences_go_on_below(count, shape, subject):
    image = subject[0]["t1"]
    names = [f"sequence{number}" for number in range(count)]
    figure = differentiation_overlay(dict.fromkeys(names, image), dict.fromkeys(names, image))
    assert len(figure.axes) == shape[0] * shape[1] + 2
    panels = np.array(figure.axes[:-2], dtype=object).reshape(shape)
    assert [axes.get_title() for row in panels[::2] for axes in row if axes.images] == names
    assert sum(bool(axes.images) for axes in panels.flat) == 2 * count
    assert all(axes.images for axes in panels[0])
    assert not any(axes.axison for axes in panels.flat if not axes.images)


def test_all_zero_map_is_drawn(subject):
    truth, _ = subject
    figure = differentiation_overlay(truth, {"t1": np.zeros_like(truth["t1"])})
    assert figure.axes[-1].get_ylim() == (0, 1)


def test_wrong_arguments(subject):
    truth, _ = subject
    with pytest.raises(ValueError, match="Unknown sequence 'pd' in the differentiation maps"):
        differentiation_overlay(truth, {"pd": truth["t1"]})
    with pytest.raises(ValueError, match="Unknown sequence 'pd' in the regions"):
        differentiation_overlay(truth, truth, regions={"pd": truth["t1"]})
    with pytest.raises(ValueError, match="no measured flair"):
        differentiation_overlay({**truth, "flair": None}, truth)
    with pytest.raises(ValueError, match="M_d of t1 has shape"):
        differentiation_overlay(truth, {"t1": np.zeros((3, 3, 3))})
    with pytest.raises(ValueError, match="region of t1 has shape"):
        differentiation_overlay(truth, truth, regions={"t1": np.zeros((3, 3, 3))})
    with pytest.raises(ValueError, match="positive number"):
        differentiation_overlay(truth, truth, maximum=0.0)
    with pytest.raises(ValueError, match="no image"):
        differentiation_overlay({"t1": None}, {})
