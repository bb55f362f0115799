# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The figure of segmentation with fewer sequences."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from seq2seq_studies.segmentation.segmentation_figure import segmentation_comparison


@pytest.fixture
def scores() -> pd.DataFrame:
    random = np.random.default_rng(0)
    rows = [
        {
            "combination": combination,
            "subject": f"p{subject}",
            "region": region,
            "empty": "",
            "seed": 0,
            "fold": 0,
            "dsc": random.random(),
            "assd": 5 * random.random(),
        }
        for combination in ("t1+t2+flair", "flair", "t1:synthesised+t2")
        for subject in range(4)
        for region in ("ET", "TC", "WT")
    ]
    return pd.DataFrame(rows)


def test_shows_every_subject_every_loss_and_the_margins(scores) -> None:
    figure = segmentation_comparison(scores, "t1+t2+flair", {"dsc": 0.05, "assd": 1.0})
    assert len(figure.axes) == 4
    for column, measure in enumerate(("dsc", "assd")):
        above, below = figure.axes[2 * column : 2 * column + 2]
        points = np.concatenate([line.get_ydata() for line in above.lines])
        np.testing.assert_allclose(np.sort(points), np.sort(scores[measure]))
        margin = {"dsc": 0.05, "assd": 1.0}[measure]
        assert margin in [line.get_xdata()[0] for line in below.lines]
        assert [label.get_text() for label in below.get_yticklabels()] == ["ET", "TC", "WT"]
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["t1+t2+flair (reference)", "flair", "t1:synthesised+t2"]


def test_one_subject_has_no_limit_but_a_figure(scores) -> None:
    figure = segmentation_comparison(scores[scores["subject"] == "p0"], "flair", {"dsc": 0.05, "assd": 1.0})
    figure.canvas.draw()


def test_an_empty_prediction_does_not_hide_the_others(scores) -> None:
    scores.loc[0, "assd"] = 373.13
    figure = segmentation_comparison(scores, "flair", {"dsc": 0.05, "assd": 1.0})
    assert [axes.get_yscale() for axes in figure.axes] == ["linear", "linear", "symlog", "linear"]
    assert [axes.get_xscale() for axes in figure.axes] == ["linear", "linear", "linear", "symlog"]
    figure.canvas.draw()
