# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The figure of segmentation with fewer sequences."""

from __future__ import annotations

import numpy as np

from seq2seq_studies.segmentation.segmentation_figure import segmentation_comparison

MARGINS = {"dsc": 0.05, "assd": 1.0}


def test_shows_every_subject_every_loss_and_the_margins(scores) -> None:
    table = scores(seeds=1)
    figure = segmentation_comparison(table, "t1+t2", MARGINS)
    assert len(figure.axes) == 4
    for column, measure in enumerate(MARGINS):
        above, below = figure.axes[2 * column : 2 * column + 2]
        points = np.concatenate([line.get_ydata() for line in above.lines])
        np.testing.assert_allclose(np.sort(points), np.sort(table[measure]))
        assert MARGINS[measure] in [line.get_xdata()[0] for line in below.lines]
        assert [label.get_text() for label in below.get_yticklabels()] == ["ET", "TC", "WT"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["t1+t2 (reference)", "t2"]


def test_one_subject_has_no_limit_but_a_figure(scores) -> None:
    segmentation_comparison(scores(subjects=1), "t2", MARGINS).canvas.draw()


def test_an_empty_prediction_does_not_hide_the_others(scores) -> None:
    table = scores()
    table.loc[0, "assd"] = 373.13
    figure = segmentation_comparison(table, "t2", MARGINS)
    assert [axes.get_yscale() for axes in figure.axes] == ["linear", "linear", "symlog", "linear"]
    assert [axes.get_xscale() for axes in figure.axes] == ["linear", "linear", "linear", "symlog"]
    figure.canvas.draw()
