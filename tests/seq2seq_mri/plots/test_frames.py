# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import pytest

from seq2seq_mri.plots.frames import frame_axes, frame_axis

TABLE = {"t1": 1, "dce": 6, "dwi": 4, "perfusion": 3}
TIMES = {"dce": [0, 90, 180, 270, 360, 450]}
B_VALUES = {"dwi": [0, 150, 800, 1500]}


def test_every_sequence_has_an_axis():
    axes = frame_axes(TABLE, TIMES, B_VALUES)
    assert [axis.kind for axis in axes.values()] == ["timepoint", "time", "b_value", "timepoint"]
    assert axes["dce"].values == (0, 90, 180, 270, 360, 450)
    assert axes["perfusion"].values == (1, 2, 3)
    assert axes["dwi"].label == "b-value (s/mm²)"
    assert [axes[name].name(1) for name in ("dce", "dwi", "perfusion")] == ["90 s", "b = 150", "timepoint 2/3"]
    assert {axis.kind for axis in frame_axes(TABLE).values()} == {"timepoint"}


@pytest.mark.parametrize("timepoints", [2, 3, 8])
def test_a_dynamic_series_is_shown_after_the_contrast_agent(timepoints):
    assert frame_axis(timepoints, times=range(timepoints)).shown == frame_axis(timepoints).shown == timepoints // 2


@pytest.mark.parametrize(
    ("times", "b_values", "message"),
    [
        ({"dce": [0, 90]}, None, "Sequence 'dce': The times are .* but there are 6 timepoints"),
        ({"dce": [0, 90, 90, 270, 360, 450]}, None, "Sequence 'dce': The times .* increasing"),
        ({"perfusion": [-1, 0, 1]}, None, "Sequence 'perfusion': The times .* at least 0"),
        (None, {"dwi": [0, 150, float("nan"), 800]}, "Sequence 'dwi': The b-values .* finite"),
        ({"dwi": [0, 1, 2, 3]}, B_VALUES, "Sequence 'dwi': There are both times and b-values"),
        ({"pd": [0]}, None, "Unknown sequence 'pd'"),
    ],
)
def test_refuses(times, b_values, message):
    with pytest.raises(ValueError, match=message):
        frame_axes(TABLE, times, b_values)
