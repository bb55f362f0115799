# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import numpy as np
import pytest
import torch

from seq2seq_mri.evaluation.differentiation.differentiation_figure import differentiation_overlay, differentiation_strip
from seq2seq_mri.plots.frames import frame_axes, frame_axis
from seq2seq_mri.plots.panels import ANATOMY_BRIGHTNESS
from seq2seq_mri.plots.slices import SliceView, axial_view


def test_colours_follow_the_values(subject):
    truth, _ = subject
    values = np.zeros_like(truth["t1"])
    values[3:6, 7, 2] = 0.5
    values[6, 7, 2] = 0.25
    figure = differentiation_overlay({"t1": truth["t1"]}, {"t1": values}, view=SliceView(index=2))
    view = axial_view(values, 2)
    maximum = np.percentile(view, 99.5)
    anatomy, colours = figure.axes[1].images
    np.testing.assert_allclose(anatomy.get_array(), ANATOMY_BRIGHTNESS * axial_view(truth["t1"], 2), rtol=1e-6)
    np.testing.assert_allclose(colours.get_array(), view / maximum, rtol=1e-6)
    np.testing.assert_allclose(colours.get_alpha(), np.clip(view / maximum, 0, 1), rtol=1e-6)
    assert colours.get_clim() == (0, 1)
    bar = next(axes for axes in figure.axes if "M_d" in axes.get_ylabel() and not axes.images)
    assert bar.get_ylim() == (0, pytest.approx(maximum))


def test_region_is_outlined_and_chooses_the_slice(subject, texts):
    truth, _ = subject
    region = torch.zeros(10, 14, 6, dtype=torch.bool)
    region[4:7, 5:9, 4] = True
    figure = differentiation_overlay(truth, truth, regions={"t1gd": region})
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
    values[0, 3:6, 7, 2], values[2, 3:6, 7, 2] = 0.3, 0.6
    frames = frame_axes({"dce": 3}, times={"dce": [0, 90, 180]})
    figure = differentiation_overlay({"dce": series}, {"dce": values}, view=SliceView(index=2), frames=frames)
    mean = axial_view((values[0] + values[2]) / 3, 2)
    np.testing.assert_allclose(figure.axes[1].images[1].get_array(), mean / np.percentile(mean, 99.5), rtol=1e-6)
    assert "mean of 3 timepoints" in texts(figure)
    assert figure.axes[0].get_title() == "dce\n90 s"


@pytest.mark.parametrize(("count", "shape"), [(1, (2, 1)), (11, (6, 4))])
def test_many_sequences_go_on_below(count, shape, subject):
    image = subject[0]["t1"]
    names = [f"sequence{number}" for number in range(count)]
    figure = differentiation_overlay(dict.fromkeys(names, image), dict.fromkeys(names, image))
    panels = np.array(figure.axes[:-2], dtype=object).reshape(shape)
    assert [axes.get_title() for row in panels[::2] for axes in row if axes.images] == names
    assert sum(bool(axes.images) for axes in panels.flat) == 2 * count


def test_all_zero_map_is_drawn(subject):
    truth, _ = subject
    figure = differentiation_overlay(truth, {"t1": np.zeros_like(truth["t1"])})
    assert figure.axes[-1].get_ylim() == (0, 1)


def test_all_timepoints_and_their_mean(subject, texts):
    series = np.stack([subject[0]["t1"] * factor for factor in (0.3, 0.6, 0.9)])
    region = np.zeros(series.shape[1:], dtype=bool)
    region[4:7, 5:9, 3] = True
    axis = frame_axis(3, b_values=[0, 800, 800])
    figure = differentiation_strip(series, series / 4, "dwi", axis=axis, region=region, view=SliceView("p1"))
    above, below = figure.axes[:4], figure.axes[4:8]
    assert [axes.get_title() for axes in above] == ["b = 0", "b = 800", "b = 800", "mean"]
    for axes, volume in zip(above, [*series, series.mean(axis=0)], strict=True):
        np.testing.assert_allclose(axes.images[0].get_array(), axial_view(volume, 3), rtol=1e-6)
    assert [len(axes.collections) for axes in below] == [0, 0, 0, 1]
    assert "p1, dwi, axial slice 4 of 6" in texts(figure)
