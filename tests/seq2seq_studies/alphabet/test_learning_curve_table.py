# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from seq2seq_studies.alphabet.learning_curve_table import (
    LEARNING_CURVE_COLUMNS,
    PAPER_PEAK_GAINS,
    accuracy_gains,
    format_accuracy_gains,
    learning_curve_table,
    read_learning_curve,
    summarise_learning_curve,
    write_learning_curve,
)

PAIRS = {"x1": ("x1", "x1 + M_d"), "x2": ("x2", "x2 + M_d")}


def curve(sizes=(3000, 5000, 9000), seeds=(0, 1, 2)):
    generator = np.random.default_rng(0)
    return learning_curve_table(
        {
            "label": label,
            "inputs": inputs,
            "size": size,
            "seed": seed,
            "accuracy": 0.3 + size / 20000 + 0.1 * inputs.endswith("M_d") + generator.uniform(0, 0.02),
            "top2_accuracy": 0.9,
            "n": 10000,
        }
        for label, names in PAIRS.items()
        for seed in seeds
        for size in reversed(sizes)
        for inputs in names
    )


def test_table_is_read_back_exactly(tmp_path):
    table = curve()
    assert tuple(table.columns) == LEARNING_CURVE_COLUMNS
    write_learning_curve(tmp_path / "learning_curve.csv", table)
    pd.testing.assert_frame_equal(read_learning_curve(tmp_path / "learning_curve.csv"), table)


def test_summary_over_seeds():
    table = curve()
    summary = summarise_learning_curve(table)
    assert len(summary) == 12
    one = summary[(summary["inputs"] == "x1") & (summary["size"] == 5000)].iloc[0]
    values = table.loc[(table["inputs"] == "x1") & (table["size"] == 5000), "accuracy"]
    assert (one["seeds"], one["accuracy_mean"]) == (3, pytest.approx(values.mean()))
    assert one["accuracy_sd"] == pytest.approx(values.std())
    for _, group in summary.groupby("inputs"):
        assert list(group["size"]) == [3000, 5000, 9000]


def test_gain_is_paired_by_seed():
    table = curve()
    gains = accuracy_gains(table, PAIRS)
    assert list(gains["label"]) == ["x1"] * 3 + ["x2"] * 3
    assert list(gains["size"]) == [3000, 5000, 9000] * 2
    at = table[(table["label"] == "x2") & (table["size"] == 3000)].set_index(["inputs", "seed"])["accuracy"]
    differences = at["x2 + M_d"] - at["x2"]
    row = gains.iloc[3]
    assert (row["gain_mean"], row["gain_sd"]) == pytest.approx((differences.mean(), differences.std()))
    assert row["with_mean"] - row["without_mean"] == pytest.approx(row["gain_mean"])


def test_only_seeds_with_both_inputs_count():
    table = curve()
    table = table[~((table["inputs"] == "x1 + M_d") & (table["seed"] == 2))]
    assert list(accuracy_gains(table, {"x1": PAIRS["x1"]})["seeds"]) == [2, 2, 2]
    with pytest.raises(ValueError, match="no size and seed with both 'x1' and 'flair'; the learning curve has x1, x1"):
        accuracy_gains(table, {"x1": ("x1", "flair")})


def test_gains_beside_those_of_the_paper():
    lines = format_accuracy_gains(accuracy_gains(curve(), PAIRS), PAPER_PEAK_GAINS).splitlines()
    assert lines[0].endswith("| Gain in the paper |")
    assert lines[3].startswith("| x1 | 5,000 | 3 | 0.5")
    assert lines[3].endswith("| +0.262 |")
    assert lines[6].endswith("| +0.369 |")
    assert lines[2].endswith("|  |")
    single = format_accuracy_gains(accuracy_gains(curve(seeds=[4]), PAIRS))
    assert "±" not in single
    assert "paper" not in single


def test_nothing_stands_twice():
    row = curve().iloc[0].to_dict()
    with pytest.raises(ValueError, match="seed 0 was measured twice"):
        learning_curve_table([row, row])
