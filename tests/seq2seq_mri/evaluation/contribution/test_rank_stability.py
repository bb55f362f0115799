# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""How often each rank occurs."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from seq2seq_mri.evaluation.contribution.contribution import contribution_ranks
from seq2seq_mri.evaluation.contribution.contribution_bootstrap import ContributionBootstrap, bootstrap_contribution
from seq2seq_mri.evaluation.contribution.rank_stability import order_frequencies, rank_frequencies
from seq2seq_mri.evaluation.image_quality.quality_table import METRIC_COLUMNS


def bootstrap_of(estimates, scores):
    """A bootstrap with given scores, in which C_d is the reverse of C_t."""
    estimates, scores = np.asarray(estimates, dtype=float), np.asarray(scores, dtype=float)
    return ContributionBootstrap(
        sequences=[f"sequence{number}" for number in range(len(estimates))],
        estimates=np.stack([estimates, -estimates]),
        scores=np.stack([scores, -scores], axis=1),
        subjects=np.full(len(estimates), 2),
        lacking=np.zeros(len(scores), dtype=int),
    )


def planted(noise, subjects=6, sequences=4):
    """Image quality in which sequence i is the (i + 1)-th best source and the (i + 1)-th easiest target."""
    generator = np.random.default_rng(0)
    rows = []
    for subject, source, target in itertools.product(range(subjects), range(sequences), range(sequences)):
        if source != target:
            psnr = 30 - 2 * source - 3 * target + noise * generator.standard_normal()
            pair = (f"p{subject}", f"sequence{source}", f"sequence{target}")
            rows.append((*pair, psnr, psnr / 50, np.nan, *(psnr, psnr / 50) * 2, 1.0))
    return pd.DataFrame(rows, columns=METRIC_COLUMNS)


@pytest.mark.parametrize("sequences", [2, 3, 4, 8])
def test_a_planted_ranking_always_occurs(sequences):
    names = [f"sequence{number}" for number in range(sequences)]
    bootstrap = bootstrap_contribution(planted(0.01, sequences=sequences), names, samples=20)
    frequencies = rank_frequencies(bootstrap)
    assert len(frequencies) == 2 * sequences * (sequences + 1)
    always = frequencies[frequencies["frequency"] > 0]
    assert (always["frequency"] == 1).all()
    by_score = {score: group.set_index("sequence")["rank"].to_dict() for score, group in always.groupby("score")}
    # The diagonal does not count, so the easiest target is no source of itself: ranks follow from these sums.
    c_t = np.array([sum(30 - 2 * i - 3 * j for j in range(sequences) if j != i) for i in range(sequences)])
    c_d = -np.array([sum(30 - 2 * i - 3 * j for i in range(sequences) if i != j) for j in range(sequences)])
    mean = np.mean([30 - 2 * i - 3 * j for i in range(sequences) for j in range(sequences) if i != j])
    for score, sums in (("c_t", c_t - (sequences - 1) * mean), ("c_d", c_d + (sequences - 1) * mean)):
        expected = {name: 1 + int((sums > sums[place] + 1e-9).sum()) for place, name in enumerate(names)}
        assert by_score[score] == expected
    assert order_frequencies(bootstrap) == {"c_t": 1.0, "c_d": 1.0}


def test_counts_by_hand():
    scores = [[3, 2, 1], [3, 1, 2], [2, 3, 1], [3, 2, 1]]
    bootstrap = bootstrap_of([3, 2, 1], scores)
    c_t = rank_frequencies(bootstrap).query("score == 'c_t'").set_index(["sequence", "rank"])["frequency"]
    expected = {"sequence0": [0.75, 0.25, 0], "sequence1": [0.25, 0.5, 0.25], "sequence2": [0, 0.25, 0.75]}
    for name, fractions in expected.items():
        assert [c_t[name, rank] for rank in (1, 2, 3, 0)] == [*fractions, 0]
    assert order_frequencies(bootstrap) == {"c_t": 0.5, "c_d": 0.5}


def test_no_score_is_rank_0_and_takes_no_rank_from_others():
    nan = np.nan
    bootstrap = bootstrap_of([3, 2, 1, nan], [[nan, 2, 1, nan], [3, 2, 1, nan]])
    c_t = rank_frequencies(bootstrap).query("score == 'c_t'").set_index(["sequence", "rank"])["frequency"]
    assert c_t["sequence0", 0] == c_t["sequence0", 1] == 0.5
    assert c_t["sequence1", 1] == c_t["sequence1", 2] == 0.5
    assert c_t["sequence3", 0] == 1
    assert (c_t.groupby("sequence").sum() == 1).all()
    assert order_frequencies(bootstrap) == {"c_t": 0.5, "c_d": 0.5}


def test_equal_scores_share_the_better_rank():
    third = 0.1 + 0.2  # 0.30000000000000004
    np.testing.assert_array_equal(contribution_ranks(np.array([0.3, third, -1.0, 0.3])), [1, 1, 4, 1])
    several = contribution_ranks(np.array([[1.0, 2.0, np.nan], [5.0, 5.0, 6.0]]))
    np.testing.assert_array_equal(several, [[2, 1, np.nan], [2, 2, 1]])
    frequencies = rank_frequencies(bootstrap_of([1, 1, 0], [[1, 1, 0]]))
    first = frequencies.query("score == 'c_t' and rank == 1")
    assert first["frequency"].tolist() == [1, 1, 0]


def test_ranks_are_those_of_pandas():
    scores = np.random.default_rng(0).integers(0, 4, (20, 7)).astype(float)
    scores[scores == 0] = np.nan
    expected = pd.DataFrame(scores).rank(axis=1, ascending=False, method="min")
    np.testing.assert_array_equal(contribution_ranks(scores), expected)


def test_chance_alone_gives_every_rank():
    generator = np.random.default_rng(0)
    rows = planted(0.0, subjects=9, sequences=3)
    rows["psnr_foreground"] = generator.normal(25, 3, len(rows))
    rows["ssim_foreground"] = generator.normal(0.6, 0.1, len(rows))
    names = [f"sequence{number}" for number in range(3)]
    frequencies = rank_frequencies(bootstrap_contribution(rows, names, samples=300))
    seen = frequencies[frequencies["rank"] > 0].groupby("score")["frequency"]
    assert (seen.max() < 1).all()
    np.testing.assert_allclose(seen.sum(), 3.0)
