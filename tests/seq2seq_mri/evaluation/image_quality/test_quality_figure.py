# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from seq2seq_mri.evaluation.image_quality.quality_figure import metrics_boxplot


def metrics(names=("t1", "t1gd", "t2", "flair"), subjects=3):
    generator = np.random.default_rng(0)
    rows = [
        (f"s{subject}", source, target, generator.normal(25, 2), *generator.uniform(0, 1, 2), 1.0)
        for subject in range(subjects)
        for source in names
        for target in names
    ]
    return pd.DataFrame(
        rows, columns=["subject", "source", "target", "psnr_foreground", "ssim_foreground", "lpips", "data_range"]
    )


@pytest.mark.parametrize("count", [2, 4, 8])
def test_one_panel_per_metric_with_all_targets(count):
    names = [f"sequence{number}" for number in range(count)]
    figure = metrics_boxplot(metrics(names))
    assert len(figure.axes) == 3
    for axes in figure.axes:
        assert [label.get_text() for label in axes.get_xticklabels()] == names
    assert figure.axes[0].get_ylabel() == "PSNR (dB), data range 1"
    assert figure.axes[2].get_title(loc="left") == "LPIPS: lower is better"


def test_boxes_hold_only_translations():
    table = metrics()
    table.loc[table["source"] == table["target"], "psnr_foreground"] = 1000.0  # would be the median's outlier
    figure = metrics_boxplot(table, columns=["psnr_foreground"])
    medians = [line.get_ydata()[0] for line in figure.axes[0].lines if line.get_linewidth() == 1.4]
    expected = table[table["source"] != table["target"]].groupby("target", sort=False)["psnr_foreground"].median()
    np.testing.assert_allclose(medians, expected[["t1", "t1gd", "t2", "flair"]])
    assert [text.get_text() for text in figure.axes[0].texts] == ["n=9"] * 4


def test_metric_without_values_is_left_out():
    table = metrics()
    table["lpips"] = np.nan
    assert len(metrics_boxplot(table).axes) == 2


def test_target_without_values_and_infinite_psnr():
    table = metrics()
    table.loc[table["target"] == "t2", "lpips"] = np.nan
    table.loc[table["target"] == "t1", "psnr_foreground"] = np.inf
    figure = metrics_boxplot(table)
    assert len(figure.axes) == 3
    assert np.isfinite(figure.axes[0].get_ylim()).all()


def test_data_range_is_told():
    table = metrics()
    table.loc[0, "data_range"] = 2.0  # a row of a source onto itself: not drawn
    assert metrics_boxplot(table).axes[0].get_ylabel().endswith("data range 1")
    table.loc[1, "data_range"] = 2.0
    assert metrics_boxplot(table).axes[0].get_ylabel().endswith("data range 1 to 2")
