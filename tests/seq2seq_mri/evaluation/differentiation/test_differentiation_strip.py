# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import numpy as np
import pytest

from seq2seq_mri.evaluation.differentiation.differentiation_strip import differentiation_strip
from seq2seq_mri.plots.frames import frame_axis
from seq2seq_mri.plots.slices import axial_view


@pytest.fixture
def series(subject):
    return np.stack([subject[0]["t1"] * factor for factor in (0.3, 0.6, 0.9)])


def test_all_timepoints_and_their_mean(series, texts):
    region = np.zeros(series.shape[1:], dtype=bool)
    region[4:7, 5:9, 3] = True
    figure = differentiation_strip(
        series, series / 4, "dce", axis=frame_axis(3, times=[0, 90, 180]), region=region, subject="p1", crop=False
    )
    above, below = figure.axes[:4], figure.axes[4:8]
    assert [axes.get_title() for axes in above] == ["0 s", "90 s", "180 s", "mean"]
    for axes, volume in zip(above, [*series, series.mean(axis=0)], strict=True):
        np.testing.assert_allclose(axes.images[0].get_array(), axial_view(volume, 3), rtol=1e-6)
    assert [len(axes.collections) for axes in below] == [0, 0, 0, 1]
    assert "p1, dce, axial slice 4 of 6" in texts(figure)


def test_repeated_b_values_are_all_shown(series):
    figure = differentiation_strip(series, series, "dwi", axis=frame_axis(3, b_values=[0, 800, 800]))
    assert [axes.get_title() for axes in figure.axes[:4]] == ["b = 0", "b = 800", "b = 800", "mean"]


def test_eight_timepoints_stay_in_one_row(series):
    many = np.concatenate([series] * 3)[:8]
    figure = differentiation_strip(many, many, "dce")
    assert len({round(axes.get_position().y0, 6) for axes in figure.axes[:18]}) == 2
    assert figure.axes[7].get_title() == "timepoint 8/8"


def test_refuses(series):
    with pytest.raises(ValueError, match=r"dce has shape .* and its M_d .* both must be the same"):
        differentiation_strip(series, series[:2], "dce")
    with pytest.raises(ValueError, match="both must be the same"):
        differentiation_strip(series[0], series[0], "t1")
    with pytest.raises(ValueError, match="The dce has 3 timepoints, but its axis has 2"):
        differentiation_strip(series, series, "dce", axis=frame_axis(2))
