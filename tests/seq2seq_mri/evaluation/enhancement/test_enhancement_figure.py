# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import numpy as np

from seq2seq_mri.evaluation.enhancement.enhancement_figure import enhancement_curves
from seq2seq_mri.plots.frames import frame_axis

REAL = [0.0, 1.2, 1.0]
AXIS = frame_axis(3, times=[0, 90, 180])


def lines(figure):
    """Return label → line of the curves."""
    return {line.get_label(): line for line in figure.axes[0].lines if not line.get_label().startswith("_")}


def test_one_line_per_source_over_time(texts):
    made = {"t1": [0.0, 0.5, 0.4], "t2": np.array([0.0, 0.9, 1.1])}
    figure = enhancement_curves(REAL, made, "dce", axis=AXIS, subject="p1")
    drawn = lines(figure)
    assert list(drawn) == ["measured", "from t1", "from t2"]
    for label, curve in zip(drawn, [REAL, *made.values()], strict=True):
        np.testing.assert_array_equal(drawn[label].get_xdata(), [0, 90, 180])
        np.testing.assert_array_equal(drawn[label].get_ydata(), curve)
    axes = figure.axes[0]
    assert axes.get_xlabel() == "time from the first frame (s)"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "90", "180"]
    assert axes.get_title(loc="left") == "p1, lesion\ndce"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["measured", "from t1", "from t2"]
    (band,) = axes.collections
    corners = band.get_paths()[0].vertices
    assert (corners[corners[:, 0] == 90][:, 1].min(), corners[:, 1].max()) == (0.5, 1.1)


def test_axes_of_b_values_and_of_timepoints():
    (axes,) = enhancement_curves(REAL, {"t1": REAL}, "dwi", axis=frame_axis(3, b_values=[0, 150, 800])).axes
    assert axes.get_xlabel() == "b-value (s/mm²)"
    assert axes.get_ylabel().startswith("relative signal change")
    assert list(axes.get_xticks()) == [0, 150, 800]
    (axes,) = enhancement_curves(REAL, {"t1": REAL}, "dwi").axes
    assert axes.get_ylabel().startswith("relative enhancement")
    assert list(axes.get_xticks()) == [1, 2, 3]


def test_a_source_has_the_same_colour_in_every_figure():
    order = [f"sequence{number}" for number in range(8)]
    every = lines(enhancement_curves(REAL, dict.fromkeys(order[:-1], REAL), "dce", sequences=order))
    one = lines(enhancement_curves(REAL, {order[5]: REAL}, "dce", sequences=order))
    assert len({line.get_color() for line in every.values()}) == 8
    for look in ("color", "marker"):
        assert one["from sequence5"].properties()[look] == every["from sequence5"].properties()[look]


def test_a_source_without_signal_is_named():
    drawn = lines(enhancement_curves(REAL, {"t1": REAL, "t2": [np.nan] * 3}, "dce"))
    assert len(drawn["from t2, no signal"].get_xdata()) == 0
