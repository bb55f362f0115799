# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from seq2seq_mri.evaluation.image_quality.quality_figure import metrics_boxplot


def metrics(names=("t1", "t1gd", "t2", "flair"), subjects=3):
    pairs = itertools.product(range(subjects), names, names)
    table = pd.DataFrame(pairs, columns=["subject", "source", "target"]).assign(data_range=1.0)
    columns = ["psnr_foreground", "ssim_foreground", "lpips"]
    table[columns] = np.random.default_rng(0).uniform(0, [30, 1, 1], (len(table), 3))
    return table


def test_one_panel_per_metric_with_all_targets():
    names = [f"sequence{number}" for number in range(8)]
    figure = metrics_boxplot(metrics(names))
    assert len(figure.axes) == 3
    for axes in figure.axes:
        assert [label.get_text() for label in axes.get_xticklabels()] == names


def test_boxes_hold_only_translations():
    table = metrics()
    table.loc[table["source"] == table["target"], "psnr_foreground"] = 1000.0  # would be the median's outlier
    figure = metrics_boxplot(table, columns=["psnr_foreground"])
    medians = [line.get_ydata()[0] for line in figure.axes[0].lines if line.get_linewidth() == 1.4]
    expected = table[table["source"] != table["target"]].groupby("target", sort=False)["psnr_foreground"].median()
    np.testing.assert_allclose(medians, expected[["t1", "t1gd", "t2", "flair"]])
    assert [text.get_text() for text in figure.axes[0].texts] == ["n=9"] * 4


def test_values_that_are_absent_or_infinite():
    table = metrics()
    table.loc[table["target"] == "t2", "lpips"] = np.nan
    table.loc[table["target"] == "t1", "psnr_foreground"] = np.inf
    figure = metrics_boxplot(table)
    assert np.isfinite(figure.axes[0].get_ylim()).all()
    assert len(metrics_boxplot(table.assign(lpips=np.nan)).axes) == 2


def test_data_range_is_told():
    table = metrics()
    table.loc[0, "data_range"] = 2.0  # a row of a source onto itself: not drawn
    assert metrics_boxplot(table).axes[0].get_ylabel().endswith("data range 1")
    table.loc[1, "data_range"] = 2.0
    assert metrics_boxplot(table).axes[0].get_ylabel().endswith("data range 1 to 2")
