# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import numpy as np
import pytest

from seq2seq_mri.inference.synthesis_figure import synthesis_panel
from seq2seq_mri.plots.frames import frame_axes
from seq2seq_mri.plots.slices import SliceView, axial_view

RESULTS = ["synthesised", "inter-source deviation", "measured (withheld)", "absolute error"]


def shown(figure):
    return [axes for axes in figure.axes if axes.images]


def pixels(axes):
    return axes.images[0].get_array()


def limits(axes):
    return axes.images[0].get_clim()


def test_all_panels(subject, texts):
    truth, predictions = subject
    target = truth.pop("t1gd")
    synthesised = predictions["t1", "t1gd"]
    figure = synthesis_panel(
        truth, "t1gd", synthesised, deviation=synthesised / 5, truth=target, view=SliceView(index=3)
    )
    panels = shown(figure)
    assert [axes.get_title() for axes in panels] == ["t1", "t2", "flair", *RESULTS]
    error = axial_view(np.abs(synthesised - target), 3)
    np.testing.assert_allclose(pixels(panels[-1]), error, rtol=1e-6)
    maximum = max(np.percentile(view, 99.5) for view in (error, axial_view(synthesised / 5, 3)))
    assert limits(panels[-1]) == limits(panels[4]) == (0, pytest.approx(maximum))
    assert limits(panels[3]) == (0, 1)
    written = texts(figure)
    assert {"t1gd", "Axial slice 4 of 6"} <= set(written)
    assert sum("fraction of range" in text for text in written) == 2


def test_four_dimensional_target_is_a_strip(subject):
    image, other = subject[0]["t1"], subject[0]["t2"]
    synthesised = np.stack([image * factor for factor in (0.2, 0.4, 0.6)])
    truth, deviation = synthesised[::-1], synthesised / 5
    frames = frame_axes({"dce": 3}, times={"dce": [0, 90, 180]})
    options = {"deviation": deviation, "truth": truth, "view": SliceView(index=2), "frames": frames}
    panels = shown(synthesis_panel({"t1": image, "t2": other}, "dce", synthesised, **options))
    assert [axes.get_title() for axes in panels[:2]] == ["t1", "t2"]
    results = np.array(panels[2:14]).reshape(4, 3)
    expected = (synthesised, deviation, truth, abs(synthesised - truth))
    for row, images in zip(results, expected, strict=True):
        for axes, volume in zip(row, images, strict=True):
            np.testing.assert_allclose(pixels(axes), axial_view(volume, 2), rtol=1e-5)
    assert [axes.get_title() for axes in results[0]] == ["0 s", "90 s", "180 s"]
    assert len({limits(axes) for axes in results[[1, 3]].flat}) == 1
    assert {limits(axes) for axes in results[[0, 2]].flat} == {(0, 1)}
    names = [axes.get_ylabel().replace("\n", " ") for axes in results[:, 0]]
    assert names == ["dce synthesised", *RESULTS[1:]]


def test_a_source_at_a_high_b_value_is_shown_brighter(subject, texts):
    image = subject[0]["t1"]
    frames = frame_axes({"dwi": 2}, b_values={"dwi": [0, 1500]})
    figure = synthesis_panel({"t1": image, "dwi": np.stack([image, image * 0.24])}, "t2", image, frames=frames)
    assert [limits(axes)[1] for axes in shown(figure)[:2]] == [1, pytest.approx(0.25)]
    written = texts(figure)
    assert "dwi\nb = 1500 (4x)" in written
    assert any(text.startswith("Factor in brackets") for text in written)
