# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Bootstrap of C_t and C_d against a slow one written from Eq. 4, its intervals, and the ranks in its samples."""

from __future__ import annotations

import numpy as np
import pytest

from seq2seq_mri.evaluation.contribution.contribution_bootstrap import (
    bootstrap_contribution,
)
from seq2seq_mri.evaluation.contribution.contribution_table import cohort_contribution
from seq2seq_mri.evaluation.image_quality.quality_table import metrics_table

SEQUENCES = ["t1", "t1gd", "t2"]


def table(quality_rows, lacks=None, sequences=SEQUENCES):
    return metrics_table(quality_rows(sequences=sequences, lacks=lacks), sequences)


@pytest.mark.parametrize(
    ("sequences", "lacks", "lpips"),
    [
        (SEQUENCES, {}, ("001", "002", "003", "004", "005")),
        (SEQUENCES, {"001": ["t2"], "002": ["t2"], "003": ["t2"], "004": ["t1"]}, ("003",)),
        (["t1", "t1gd", "t2", "flair"], {f"00{number}": ["flair"] for number in range(1, 5)}, ()),
    ],
)
def test_equals_the_slow_bootstrap(quality_rows, slow_scores, sequences, lacks, lpips):
    measured = table(quality_rows, lacks, sequences)
    measured.loc[~measured["subject"].isin(lpips), "lpips"] = np.nan
    every = [*sequences, "never"]
    shuffled = measured.sample(frac=1.0, random_state=4)
    result = bootstrap_contribution(shuffled, every, samples=25, seed=3)
    # The documented resampling: whole subjects, in the order of their names.
    rows = [group.to_dict("records") for _, group in measured.groupby("subject")]
    pairs = {(row["source"], row["target"]) for subject in rows for row in subject}
    for place, drawn in enumerate(np.random.default_rng(3).integers(5, size=(25, 5))):
        sample = [row for index in drawn for row in rows[index]]
        np.testing.assert_allclose(result.scores[place], slow_scores(sample, every)[1:], atol=1e-12)
        assert result.lacking[place] == len(pairs - {(row["source"], row["target"]) for row in sample})
    np.testing.assert_allclose(result.estimates, slow_scores(measured.to_dict("records"), every)[1:], atol=1e-12)
    of_sequence = [measured[(measured[["source", "target"]] == name).any(axis=1)]["subject"] for name in every]
    assert result.subjects.tolist() == [subjects.nunique() for subjects in of_sequence]


def test_intervals_are_percentiles_of_the_samples_with_a_score(quality_rows):
    bootstrap = bootstrap_contribution(
        table(quality_rows, {"001": ["t2"], "002": ["t2"], "003": ["t2"]}), SEQUENCES, samples=60
    )
    result = cohort_contribution("heads", bootstrap, confidence=0.8).table
    for place, score in enumerate(("c_t", "c_d")):
        for index in range(3):
            known = [sample[place, index] for sample in bootstrap.scores if not np.isnan(sample[place, index])]
            assert result[f"{score}_low"][index] == pytest.approx(np.quantile(known, 0.1))
            assert result[f"{score}_high"][index] == pytest.approx(np.quantile(known, 0.9))
