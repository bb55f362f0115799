# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The figure of Table 2."""

from __future__ import annotations

import numpy as np
import pytest

from seq2seq_mri.evaluation.contribution.contribution_bootstrap import ContributionBootstrap
from seq2seq_mri.evaluation.contribution.contribution_table import cohort_contribution
from seq2seq_mri.evaluation.contribution.stability_figure import contribution_stability


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
    figure = contribution_stability([shown], labels={"sequence0": "T1"})
    scores_t, ranks_t, scores_d, ranks_d = figure.axes
    for axes, score in ((scores_t, "c_t"), (scores_d, "c_d")):
        points = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
        np.testing.assert_allclose(points, shown.table[score])
        lines = [list(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2][:4]
        np.testing.assert_allclose(lines, shown.table[[f"{score}_low", f"{score}_high"]])
    for axes, score in ((ranks_t, "c_t"), (ranks_d, "c_d")):
        np.testing.assert_allclose(axes.images[0].get_array(), shown.ranks(score))
        framed = [(patch.get_x() + 1.5, patch.get_y() + 0.5) for patch in axes.patches]
        np.testing.assert_allclose(framed, [(rank, row) for row, rank in enumerate(shown.table[f"{score}_rank"])])
    assert [label.get_text() for label in scores_t.get_yticklabels()] == ["T1", "sequence1", "sequence2", "sequence3"]
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


def test_one_sequence_pair_without_spread() -> None:
    scores = np.zeros((3, 2, 2))
    same = ContributionBootstrap(["a", "b"], scores[0], scores, np.array([3, 3]), np.zeros(3))
    figure = contribution_stability([cohort_contribution("flat", same)])
    low, high = figure.axes[0].get_xlim()
    assert low < 0 < high


def test_refuses_no_cohort() -> None:
    with pytest.raises(ValueError, match="no cohort"):
        contribution_stability([])
