# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from seq2seq_mri.evaluation.enhancement.enhancement import (
    ENHANCEMENT_COLUMNS,
    enhancement_error,
    enhancement_table,
    relative_enhancement,
)

SEQUENCES = {"t1": 1, "dce": 3, "dwi": 2}


def curve(subject="p1", source="t1", target="dce", real=(0, 1.0, 0.5), synthesised=(0, 0.6, 0.7)):
    return {"subject": subject, "source": source, "target": target, "real": real, "synthesised": synthesised}


def test_relative_enhancement_by_hand():
    series = torch.zeros(3, 2, 2, 1)
    region = torch.tensor([[1, 0], [2, 0]])[..., None]  # two voxels
    series[:, 0, 0, 0] = torch.tensor([0.1, 0.4, 0.3])
    series[:, 1, 0, 0] = torch.tensor([0.3, 0.6, 0.1])
    series[:, :, 1] = 7.0  # outside
    # means 0.2, 0.5, 0.2
    for scale in (1, 5):
        np.testing.assert_allclose(relative_enhancement(scale * series, region), [0.0, 1.5, 0.0], atol=1e-6)


@pytest.mark.parametrize("first", [0.0, 1e-5])
def test_no_first_signal_gives_nan(first):
    series = torch.stack([torch.full((2, 2, 2), first), torch.full((2, 2, 2), 0.5)])
    assert np.isnan(relative_enhancement(series, torch.ones(2, 2, 2))).all()
    assert np.isnan(relative_enhancement(series * 0, torch.ones(2, 2, 2))).all()


def test_table_is_sorted_and_has_times_and_b_values():
    given = [
        curve("p2"),
        curve("p1", "dce", "dwi", [0, -0.5], [0, -0.4]),
        curve("p1", "dwi", "dce"),
        curve("p1", "t1", "dce", synthesised=[np.nan] * 3),
    ]
    table = enhancement_table(given, SEQUENCES, times={"dce": [0, 90, 180]}, b_values={"dwi": [0, 800]})
    assert tuple(table.columns) == ENHANCEMENT_COLUMNS
    keys = list(table[["subject", "source", "target", "timepoint"]].itertuples(index=False, name=None))
    expected = [("p1", "t1", "dce", 3), ("p1", "dce", "dwi", 2), ("p1", "dwi", "dce", 3), ("p2", "t1", "dce", 3)]
    assert keys == [(*pair, timepoint) for *pair, number in expected for timepoint in range(1, number + 1)]
    nan = np.nan
    np.testing.assert_array_equal(table["time"], [0, 90, 180, nan, nan, *[0, 90, 180] * 2])
    np.testing.assert_array_equal(table["b_value"], [nan] * 3 + [0, 800] + [nan] * 6)
    assert table.query("target == 'dwi'")["synthesised"].tolist() == [0, -0.4]
    again = enhancement_table(given[::-1], SEQUENCES, {"dce": [0, 90, 180]}, {"dwi": [0, 800]})
    pd.testing.assert_frame_equal(again, table)


def test_error_by_hand():
    given = [
        curve(synthesised=[0, 0.6, 0.7]),  # errors 0.4, 0.2
        curve("p2", "dwi", synthesised=[0, 1.1, 0.5]),  # errors 0.1, 0.0
        curve("p3", synthesised=[np.nan] * 3),
        curve("p1", "t1", "dwi", [0, -0.5], [0, -0.2]),  # error 0.3
    ]
    error = enhancement_error(enhancement_table(given, SEQUENCES))
    assert error.to_dict() == pytest.approx({"dce": (0.4 + 0.2 + 0.1 + 0.0) / 4, "dwi": 0.3})
