# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from seq2seq_mri.evaluation.contribution.contribution_figure import adjacency_heatmap, ranking_bars


def table(values):
    names = [f"sequence{number}" for number in range(len(values))]
    return pd.DataFrame(values, names, names)


def test_adjacency_heatmap_is_annotated_and_centred(texts):
    values = np.array([[0.0, 1.25, -0.5], [0.1, 0.0, 0.2], [-2.0, 0.3, 0.0]])
    figure = adjacency_heatmap(table(values))
    axes, bar = figure.axes
    assert [text.get_text() for text in axes.texts] == [
        f"{value:.2f}".replace("-", "\N{MINUS SIGN}") for value in values.flat
    ]
    norm = axes.images[0].norm
    assert (norm.vmin, norm.vmax) == (-2, 2)
    assert axes.get_xlabel() == "target"
    assert axes.get_ylabel() == "source"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["sequence0", "sequence1", "sequence2"]
    assert "standard score" in bar.get_ylabel()


def test_row_is_source():
    figure = adjacency_heatmap(table([[0.0, 3.0], [1.0, 0.0]]))
    drawn = figure.axes[0].images[0].get_array()
    assert drawn[0, 1] == 3  # first row, second column


@pytest.mark.parametrize("count", [1, 8])
def test_adjacency_with_unmeasured_pairs(count):
    values = np.full((count, count), np.nan)
    figure = adjacency_heatmap(table(values))
    assert [text.get_text() for text in figure.axes[0].texts] == ["n/a"] * count**2


@pytest.mark.parametrize(
    "wrong",
    [
        pd.DataFrame(),
        pd.DataFrame([[0.0, 1.0]], ["t1"], ["t1", "t2"]),
        pd.DataFrame(np.zeros((2, 2)), ["t1", "t2"], ["t2", "t1"]),
    ],
)
def test_adjacency_must_be_square_and_in_order(wrong):
    with pytest.raises(ValueError, match="same order"):
        adjacency_heatmap(wrong)


def test_ranking_bars_are_sorted_by_rank():
    contribution = pd.DataFrame(
        {
            "sequence": ["t1", "t1gd", "pd"],
            "c_t": [-0.5, 0.75, np.nan],
            "rank_t": [2, 1, np.nan],
            "c_d": [0.25, -0.25, np.nan],
            "rank_d": [1, 2, np.nan],
        }
    )
    figure = ranking_bars(contribution, labels={"t1gd": "T1Gd"})
    totipotency, differentiation = figure.axes
    assert [label.get_text() for label in totipotency.get_yticklabels()] == ["T1Gd", "t1", "pd"]
    assert [label.get_text() for label in differentiation.get_yticklabels()] == ["t1", "T1Gd", "pd"]
    assert [bar.get_width() for bar in totipotency.patches] == [0.75, -0.5, 0]
    written = [text.get_text() for text in totipotency.texts]
    assert written == ["0.75 (rank 1)", "\N{MINUS SIGN}0.50 (rank 2)", "not measured"]
    low, high = totipotency.get_ylim()
    assert low > high  # the first rank is on top


def test_ranking_bars_name_the_missing_columns():
    with pytest.raises(ValueError, match="lacks rank_t, c_d, rank_d"):
        ranking_bars(pd.DataFrame({"sequence": ["t1"], "c_t": [0.0]}))
    with pytest.raises(ValueError, match="lacks rows"):
        ranking_bars(pd.DataFrame(columns=["sequence", "c_t", "rank_t", "c_d", "rank_d"]))
