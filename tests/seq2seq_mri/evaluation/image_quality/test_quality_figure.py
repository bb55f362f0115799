# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from seq2seq_mri.evaluation.image_quality.quality_figure import metrics_boxplot, metrics_strip

FIGURES = pytest.mark.parametrize("draw", [metrics_boxplot, metrics_strip])


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


@FIGURES
@pytest.mark.parametrize("count", [2, 4, 8])
def test_one_panel_per_metric_with_all_targets(draw, count):
    names = [f"sequence{number}" for number in range(count)]
    figure = draw(metrics(names))
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


def test_strip_shows_every_point(texts):
    table = metrics()
    figure = metrics_strip(table, labels={"t1gd": "T1Gd"})
    points = sum(len(line.get_xdata()) for line in figure.axes[0].lines)
    assert points == 3 * 12
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["source:", "t1", "T1Gd", "t2", "flair"]
    drawn = np.sort(np.concatenate([line.get_ydata() for line in figure.axes[1].lines]))
    np.testing.assert_allclose(drawn, np.sort(table.loc[table["source"] != table["target"], "ssim_foreground"]))


@FIGURES
def test_metric_without_values_is_left_out(draw):
    table = metrics()
    table["lpips"] = np.nan
    assert len(draw(table).axes) == 2


@FIGURES
def test_target_without_values_and_infinite_psnr(draw):
    table = metrics()
    table.loc[table["target"] == "t2", "lpips"] = np.nan
    table.loc[table["target"] == "t1", "psnr_foreground"] = np.inf
    figure = draw(table)
    assert len(figure.axes) == 3
    assert np.isfinite(figure.axes[0].get_ylim()).all()


@FIGURES
def test_targets_can_be_ordered(draw):
    order = ["flair", "t2", "t1gd", "t1"]
    figure = draw(metrics(), targets=order)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == order


@FIGURES
def test_data_range_is_told(draw):
    table = metrics()
    table.loc[0, "data_range"] = 2.0  # a row of a source onto itself: not drawn
    assert draw(table).axes[0].get_ylabel().endswith("data range 1")
    table.loc[1, "data_range"] = 2.0
    assert draw(table).axes[0].get_ylabel().endswith("data range 1 to 2")


@FIGURES
def test_wrong_tables(draw):
    with pytest.raises(ValueError, match="lacks the columns psnr_foreground"):
        draw(metrics().drop(columns="psnr_foreground"))
    with pytest.raises(ValueError, match="lacks the columns source"):
        draw(metrics().drop(columns="source"))
    with pytest.raises(ValueError, match="no value of psnr_foreground"):
        draw(metrics(names=("t1",)), columns=["psnr_foreground"])
    with pytest.raises(ValueError, match="differ in pd"):
        draw(metrics(), targets=["t1", "t1gd", "t2", "flair", "pd"])
