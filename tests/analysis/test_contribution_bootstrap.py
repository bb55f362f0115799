# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from seq2seq_mri.analysis.contribution import adjacency_matrix, contribution
from seq2seq_mri.analysis.contribution_bootstrap import bootstrap_contribution
from seq2seq_mri.metrics.table import METRIC_COLUMNS

SEQUENCES = ["t1", "t1gd", "t2"]


def table(subjects, noise, hard="t1gd", seed=0, sequences=SEQUENCES):
    generator = np.random.default_rng(seed)
    rows = []
    for subject in range(subjects):
        for source in sequences:
            for target in sequences:
                if source != target:
                    psnr = 25 - 5 * (target == hard) + noise * generator.standard_normal()
                    rows.append((f"s{subject}", source, target, psnr, psnr / 40, np.nan, psnr, psnr / 40, 1.0))
    return pd.DataFrame(rows, columns=METRIC_COLUMNS)


def test_estimate_is_that_of_all_subjects_and_lies_in_its_interval():
    measured = table(12, 2.0)
    result = bootstrap_contribution(measured, SEQUENCES, samples=200)
    expected = contribution(adjacency_matrix(measured, SEQUENCES))
    for score in ("c_t", "c_d"):
        np.testing.assert_allclose(result[score], expected[score])
        assert (result[f"{score}_low"] < result[score]).all()
        assert (result[score] < result[f"{score}_high"]).all()
        assert result[f"{score}_first"].sum() == pytest.approx(1.0)


def test_certain_when_subjects_agree():
    result = bootstrap_contribution(table(4, 0.0), SEQUENCES, samples=20).set_index("sequence")
    np.testing.assert_allclose(result["c_d_low"], result["c_d_high"])
    assert result.loc["t1gd", "c_d_first"] == 1.0


def test_intervals_narrow_with_subjects_and_widen_with_confidence():
    def width(subjects, confidence):
        result = bootstrap_contribution(table(subjects, 3.0), SEQUENCES, samples=200, confidence=confidence)
        return (result["c_d_high"] - result["c_d_low"]).mean()

    assert width(60, 0.95) < 0.6 * width(6, 0.95)
    assert width(6, 0.5) < width(6, 0.95)


def test_seed_makes_it_repeatable():
    results = [bootstrap_contribution(table(5, 2.0), SEQUENCES, samples=50, seed=seed) for seed in (1, 1, 2)]
    pd.testing.assert_frame_equal(results[0], results[1])
    assert not results[0].equals(results[2])


def test_sequence_never_measured_as_target_has_no_interval():
    measured = table(5, 2.0)
    result = bootstrap_contribution(measured[measured["target"] != "t2"], SEQUENCES, samples=20).set_index("sequence")
    assert result.loc["t2", ["c_d", "c_d_low", "c_d_high", "c_d_first"]].isna().all()
    assert result.loc["t2", ["c_t", "c_t_low", "c_t_high", "c_t_first"]].notna().all()


def test_eight_sequences_with_pairs_that_few_subjects_have():
    names = [f"sequence{number}" for number in range(8)]
    measured = table(6, 2.0, hard="sequence3", sequences=names)
    lacking = {f"s{number}": {names[number], names[number + 1], names[7]} for number in range(5)}
    kept = [not {row.source, row.target} & lacking.get(row.subject, set()) for row in measured.itertuples(index=False)]
    measured = measured[kept]  # only s5 has sequence7: many samples are without it
    result = bootstrap_contribution(measured, names, samples=100)
    expected = contribution(adjacency_matrix(measured, names))
    for score in ("c_t", "c_d"):
        np.testing.assert_allclose(result[score], expected[score])
        assert np.isfinite(result[[f"{score}_low", f"{score}_high"]].to_numpy()).all()
        assert (result[f"{score}_low"] < result[f"{score}_high"]).all()
        assert result[f"{score}_first"].sum() == pytest.approx(1.0)
    assert result["c_d_first"].idxmax() == 3


@pytest.mark.parametrize(
    ("subjects", "options", "message"),
    [(1, {}, "at least two"), (3, {"samples": 0}, "samples is 0"), (3, {"confidence": 1.0}, "confidence 1.0")],
)
def test_refuses_wrong_arguments(subjects, options, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_contribution(table(subjects, 1.0), SEQUENCES, **options)
