# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import numpy as np
import pandas as pd

from seq2seq_mri.evaluation.contribution.contribution_bootstrap import ContributionBootstrap
from seq2seq_mri.evaluation.contribution.contribution_figure import (
    adjacency_heatmap,
    contribution_stability,
    ranking_bars,
)
from seq2seq_mri.evaluation.contribution.contribution_table import cohort_contribution


def test_adjacency_heatmap_is_annotated_and_centred():
    values = np.array([[0.0, 1.25, -0.5], [0.1, 0.0, np.nan], [-2.0, 0.3, 0.0]])
    names = ["t1", "t2", "flair"]
    figure = adjacency_heatmap(pd.DataFrame(values, names, names))
    axes, _ = figure.axes
    assert [text.get_text() for text in axes.texts] == [
        "n/a" if np.isnan(value) else f"{value:.2f}".replace("-", "\N{MINUS SIGN}") for value in values.flat
    ]
    np.testing.assert_array_equal(axes.images[0].get_array().filled(np.nan), values)  # rows are sources
    norm = axes.images[0].norm
    assert (norm.vmin, norm.vmax) == (-2, 2)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("target", "source")
    assert [label.get_text() for label in axes.get_yticklabels()] == names


def test_ranking_bars_are_sorted_by_rank():
    rows = [("t1", -0.5, 2, 0.25, 1), ("t1gd", 0.75, 1, -0.25, 2), ("pd", *[np.nan] * 4)]
    contribution = pd.DataFrame(rows, columns=["sequence", "c_t", "rank_t", "c_d", "rank_d"])
    totipotency, differentiation = ranking_bars(contribution).axes
    for axes, names in ((totipotency, ["t1gd", "t1", "pd"]), (differentiation, ["t1", "t1gd", "pd"])):
        assert [label.get_text() for label in axes.get_yticklabels()] == names
    assert [bar.get_width() for bar in totipotency.patches] == [0.75, -0.5, 0]
    written = [text.get_text() for text in totipotency.texts]
    assert written == ["0.75 (rank 1)", "\N{MINUS SIGN}0.50 (rank 2)", "not measured"]
    low, high = totipotency.get_ylim()
    assert low > high  # the first rank is on top


def cohort(sequences, name="heads", missing=False, seed=0):
    scores = np.random.default_rng(seed).normal(0, 0.3, (50, 2, sequences)) + np.linspace(-1, 1, sequences)
    estimates = scores.mean(axis=0)
    if missing:
        scores[:9, :, 0] = np.nan
        scores[:, 1, 1] = estimates[1, 1] = np.nan
    names = [f"sequence{number}" for number in range(sequences)]
    return cohort_contribution(
        name, ContributionBootstrap(names, estimates, scores, np.full(sequences, 9), np.zeros(50))
    )


def test_points_intervals_and_frequencies_are_those_of_the_table(texts) -> None:
    shown = cohort(4)
    figure = contribution_stability([shown])
    scores_t, scores_d, ranks_t, ranks_d = figure.axes
    for axes, score in ((scores_t, "c_t"), (scores_d, "c_d")):
        points = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
        np.testing.assert_allclose(points, shown.table[score])
        lines = [list(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2][:4]
        np.testing.assert_allclose(lines, shown.table[[f"{score}_low", f"{score}_high"]])
    for axes, score in ((ranks_t, "c_t"), (ranks_d, "c_d")):
        np.testing.assert_allclose(axes.images[0].get_array(), shown.ranks(score))
        framed = [(patch.get_x() + 1.5, patch.get_y() + 0.5) for patch in axes.patches]
        np.testing.assert_allclose(framed, [(rank, row) for row, rank in enumerate(shown.table[f"{score}_rank"])])
    assert [label.get_text() for label in scores_t.get_yticklabels()] == list(shown.table["sequence"])
    assert "heads" in texts(figure)


def test_cohorts_of_different_size_and_gaps_share_one_scale(texts) -> None:
    figure = contribution_stability([cohort(2), cohort(8, "breasts", missing=True)])
    assert len(figure.axes) == 8
    assert len({axes.get_xlim() for axes in figure.axes if not axes.images}) == 1
    written = texts(figure)
    assert "breasts" in written
    assert written.count("not measured") == 1
    last = [axes.get_xticklabels()[-1].get_text() for axes in figure.axes if axes.images]
    assert last == ["2", "2", "none", "none"]
    figure.canvas.draw()
