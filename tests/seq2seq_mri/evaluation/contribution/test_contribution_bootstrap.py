# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Bootstrap of C_t and C_d, against a slow one written from Eq. 4, its intervals, and the ranks in its samples."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from seq2seq_mri.evaluation.contribution.contribution import adjacency_matrix, contribution
from seq2seq_mri.evaluation.contribution.contribution_bootstrap import (
    ContributionBootstrap,
    bootstrap_contribution,
    rank_frequencies,
)
from seq2seq_mri.evaluation.contribution.contribution_table import cohort_contribution
from seq2seq_mri.evaluation.image_quality.quality_table import METRIC_COLUMNS

SEQUENCES = ["t1", "t1gd", "t2"]


def table(subjects, noise, hard="t1gd", seed=0, sequences=SEQUENCES):
    generator = np.random.default_rng(seed)
    rows = []
    for subject in range(subjects):
        for source in sequences:
            for target in sequences:
                if source != target:
                    psnr = 25 - 5 * (target == hard) + noise * generator.standard_normal()
                    rows.append((f"s{subject}", source, target, psnr, psnr / 40, np.nan, *(psnr, psnr / 40) * 2, 1.0))
    return pd.DataFrame(rows, columns=METRIC_COLUMNS)


def lacking(subjects, lacks, lpips=(), seed=0, sequences=SEQUENCES):
    """Random measures; ``lacks`` has what each subject lacks, LPIPS is that of the subjects in ``lpips`` alone."""
    generator = np.random.default_rng(seed)
    measured = table(subjects, 3.0, seed=seed, sequences=sequences)
    measured["ssim_foreground"] = generator.uniform(0.3, 0.9, len(measured))
    measured["lpips"] = np.where(measured["subject"].isin(lpips), generator.uniform(0, 0.5, len(measured)), np.nan)
    kept = [not {row.source, row.target} & set(lacks.get(row.subject, ())) for row in measured.itertuples(index=False)]
    return measured[kept]


def slow_scores(rows, sequences):
    """C_t and C_d of Eq. 4 of a list of rows, in which a subject that was drawn twice occurs twice."""
    adjacency = {}
    for source in sequences:
        for target in sequences:
            z = []
            for measure, sign in (("psnr_foreground", 1), ("ssim_foreground", 1), ("lpips", -1)):
                everything = [row[measure] for row in rows if not math.isnan(row[measure])]
                pair = [
                    row[measure]
                    for row in rows
                    if (row["source"], row["target"]) == (source, target) and not math.isnan(row[measure])
                ]
                if pair:
                    mean = sum(everything) / len(everything)
                    deviation = math.sqrt(sum((value - mean) ** 2 for value in everything) / len(everything))
                    z.append(sign * (sum(pair) / len(pair) - mean) / deviation)
            if z:
                adjacency[source, target] = sum(z)
    c_t, c_d = [], []
    for name in sequences:
        made = [value for (source, _), value in adjacency.items() if source == name]
        from_others = [value for (_, target), value in adjacency.items() if target == name]
        c_t.append(sum(made) / len(sequences) if made else math.nan)
        c_d.append(-sum(from_others) / len(sequences) if from_others else math.nan)
    return [c_t, c_d]


@pytest.mark.parametrize(
    ("sequences", "lacks", "lpips"),
    [
        (SEQUENCES, {}, ("s0", "s1", "s2", "s3", "s4")),
        (SEQUENCES, {"s0": ["t2"], "s1": ["t2"], "s2": ["t2"], "s3": ["t1"]}, ("s2",)),
        (["t1", "t1gd", "t2", "flair", "never"], {f"s{number}": ["never", "flair"] for number in range(4)}, ()),
    ],
)
def test_equals_the_slow_bootstrap(sequences, lacks, lpips):
    measured = lacking(5, lacks, lpips, sequences=sequences)
    measured = measured[(measured["source"] != "never") & (measured["target"] != "never")]
    result = bootstrap_contribution(measured, sequences, samples=25, seed=3)
    # The documented resampling: whole subjects, in the order of their names.
    names = sorted(measured["subject"].unique())
    rows = {name: measured[measured["subject"] == name].to_dict("records") for name in names}
    pairs = {(row["source"], row["target"]) for name in names for row in rows[name]}
    for place, drawn in enumerate(np.random.default_rng(3).integers(5, size=(25, 5))):
        sample = [row for index in drawn for row in rows[names[index]]]
        np.testing.assert_allclose(result.scores[place], slow_scores(sample, sequences), atol=1e-12)
        assert result.lacking[place] == len(pairs - {(row["source"], row["target"]) for row in sample})
    every = [row for name in names for row in rows[name]]
    np.testing.assert_allclose(result.estimates, slow_scores(every, sequences), atol=1e-12)
    with_pair = [len({row["subject"] for row in every if name in (row["source"], row["target"])}) for name in sequences]
    assert result.subjects.tolist() == with_pair


def test_estimate_is_that_of_all_subjects_and_lies_in_its_interval():
    measured = table(12, 2.0)
    result = cohort_contribution("heads", bootstrap_contribution(measured, SEQUENCES, samples=200)).table
    expected = contribution(adjacency_matrix(measured, SEQUENCES))
    assert result["subjects"].tolist() == [12, 12, 12]
    for score in ("c_t", "c_d"):
        np.testing.assert_allclose(result[score], expected[score])
        assert (result[f"{score}_low"] < result[score]).all()
        assert (result[score] < result[f"{score}_high"]).all()


def test_intervals_are_percentiles_of_the_samples_with_a_score():
    bootstrap = bootstrap_contribution(lacking(4, {"s0": ["t2"], "s1": ["t2"]}), SEQUENCES, samples=60)
    result = cohort_contribution("heads", bootstrap, confidence=0.8).table
    for place, score in enumerate(("c_t", "c_d")):
        for index in range(3):
            known = [sample[place, index] for sample in bootstrap.scores if not np.isnan(sample[place, index])]
            assert result[f"{score}_low"][index] == pytest.approx(np.quantile(known, 0.1))
            assert result[f"{score}_high"][index] == pytest.approx(np.quantile(known, 0.9))


def test_the_seed_matters_and_the_order_of_rows_does_not():
    measured = lacking(5, {"s1": ["t1"]})
    shuffled = measured.sample(frac=1.0, random_state=4)
    results = [bootstrap_contribution(rows, SEQUENCES, samples=10).scores for rows in (measured, shuffled)]
    np.testing.assert_array_equal(*results)
    other = bootstrap_contribution(measured, SEQUENCES, samples=10, seed=1).scores
    assert not np.array_equal(other, results[0])


def test_sequence_never_measured_as_target_has_no_interval():
    measured = table(5, 2.0)
    bootstrap = bootstrap_contribution(measured[measured["target"] != "t2"], SEQUENCES, samples=20)
    result = cohort_contribution("heads", bootstrap).table.set_index("sequence")
    assert result.loc["t2", ["c_d", "c_d_low", "c_d_high"]].isna().all()
    assert result.loc["t2", ["c_t", "c_t_low", "c_t_high"]].notna().all()
    assert not bootstrap.lacking.any()  # the cohort does not have these pairs either


@pytest.mark.parametrize(
    ("subjects", "options", "message"),
    [
        (1, {}, "at least two"),
        (3, {"samples": 0}, "samples is 0; give a whole number of at least 1"),
        (3, {"samples": 10.0}, "samples is 10.0"),
        (3, {"seed": -1}, "seed is -1; give a whole number of at least 0"),
        (3, {"region": "head"}, "Unknown region 'head'"),
    ],
)
def test_refuses_wrong_arguments(subjects, options, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_contribution(table(subjects, 1.0), SEQUENCES, **options)


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


def test_counts_by_hand():
    scores = [[3, 2, 1], [3, 1, 2], [2, 3, 1], [3, 2, 1]]
    bootstrap = bootstrap_of([3, 2, 1], scores)
    c_t = rank_frequencies(bootstrap).query("score == 'c_t'").set_index(["sequence", "rank"])["frequency"]
    expected = {"sequence0": [0.75, 0.25, 0], "sequence1": [0.25, 0.5, 0.25], "sequence2": [0, 0.25, 0.75]}
    for name, fractions in expected.items():
        assert [c_t[name, rank] for rank in (1, 2, 3, 0)] == [*fractions, 0]
    assert cohort_contribution("heads", bootstrap).orders == {"c_t": 0.5, "c_d": 0.5}


def test_no_score_is_rank_0_and_takes_no_rank_from_others():
    nan = np.nan
    bootstrap = bootstrap_of([3, 2, 1, nan], [[nan, 2, 1, nan], [3, 2, 1, nan]])
    c_t = rank_frequencies(bootstrap).query("score == 'c_t'").set_index(["sequence", "rank"])["frequency"]
    assert c_t["sequence0", 0] == c_t["sequence0", 1] == 0.5
    assert c_t["sequence1", 1] == c_t["sequence1", 2] == 0.5
    assert c_t["sequence3", 0] == 1
    assert (c_t.groupby("sequence").sum() == 1).all()
    assert cohort_contribution("heads", bootstrap).orders == {"c_t": 0.5, "c_d": 0.5}
