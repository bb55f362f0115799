# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The comparison of two inputs on pooled test subjects, and its bootstrap by patient."""

from __future__ import annotations

import numpy as np
import pytest

from seq2seq_mri.evaluation.classification.classification_metrics import roc_auc
from seq2seq_mri.evaluation.classification.delong import delong_test
from seq2seq_studies.classification.input_comparison import (
    compare_inputs,
    format_input_comparison,
    paired_bootstrap_difference,
    pooled_predictions,
)

PAIRS = [("t1gd", "t1gd + M_d")]


def scores(number: int, seed: int, shift_a: float = 0.8, shift_b: float = 0.8) -> tuple[np.ndarray, ...]:
    """Return labels, half of them 1, and two correlated scores."""
    generator = np.random.default_rng(seed)
    labels = np.repeat([1, 0], number // 2)
    noise = generator.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]], number)
    return labels, noise[:, 0] + shift_a * labels, noise[:, 1] + shift_b * labels


def test_pooled_predictions_average_repetitions(make_predictions):
    table = make_predictions(repeats=2)
    pooled = pooled_predictions(table, "t1gd")
    assert len(pooled) == 36
    keys = (table["subject"] == "007") & (table["section"] == "testing") & (table["inputs"] == "t1gd")
    assert len(table[keys]) == 2
    assert pooled.set_index("subject")["probability"]["007"] == pytest.approx(table[keys]["probability"].mean())


def test_comparison_of_inputs_is_paired_and_says_what_the_second_adds(make_predictions):
    table = make_predictions()
    compared = compare_inputs(table, PAIRS, samples=300)
    found = compared.iloc[0]
    a, b = (pooled_predictions(table, name) for name in PAIRS[0])
    expected = delong_test(a["label"], b["probability"], a["probability"])
    assert found["difference"] == pytest.approx(roc_auc(b["label"], b["probability"]) - found["auc_first"])
    assert found["difference"] > 0
    assert found[["auc_second", "auc_first", "difference", "low", "high", "p"]].tolist() == pytest.approx(expected)
    assert found["bootstrap_low"] < found["difference"] < found["bootstrap_high"]
    assert (found["n"], found["patients"]) == (36, 36)
    text = format_input_comparison(compared)
    assert f"| {found['difference']:+.3f} | [{found['low']:+.3f}, {found['high']:+.3f}] |" in text


def test_too_few_cases_for_an_interval_still_have_a_difference(make_predictions):
    table = make_predictions(12)
    table = table[(table["label"] == 0) | (table["subject"] == "001")]
    compared = compare_inputs(table, PAIRS)
    found = compared.iloc[0]
    assert found["difference"] == pytest.approx(found["auc_second"] - found["auc_first"])
    assert found[["low", "high", "p", "bootstrap_low", "bootstrap_high", "bootstrap_p"]].isna().all()
    assert format_input_comparison(compared).endswith("| [-, -] | - | [-, -] | - |")


def test_bootstrap_agrees_with_delong_and_follows_the_seed():
    labels, a, b = scores(140, seed=1, shift_a=1.2, shift_b=0.6)
    expected = delong_test(labels, a, b)
    found, other = (paired_bootstrap_difference(labels, a, b, np.arange(140), 800, seed) for seed in (2, 3))
    assert found == pytest.approx((expected.low, expected.high, expected.p), abs=0.02)
    assert found == paired_bootstrap_difference(labels, a, b, np.arange(140), 800, 2) != other
    assert paired_bootstrap_difference(labels, a, a, np.arange(140), 50) == (0, 0, 1)


def test_bootstrap_draws_patients_not_cases():
    """Four copies of every case tell nothing new: by patient, the interval stays that of the single cases."""
    given = scores(50, seed=7)
    copies = [np.tile(values, 4) for values in given]
    patients = [f"patient{number}" for number in np.tile(np.arange(50), 4)]
    single = paired_bootstrap_difference(*given, np.arange(50), 400)
    grouped = paired_bootstrap_difference(*copies, patients, 400)
    naive = paired_bootstrap_difference(*copies, np.arange(200), 400)
    width = single.high - single.low
    assert grouped.high - grouped.low == pytest.approx(width, rel=0.25)
    assert naive.high - naive.low < 0.7 * width


def test_samples_with_one_label_are_drawn_again():
    found = paired_bootstrap_difference([1, 0, 0], [0.9, 0.1, 0.2], [0.1, 0.9, 0.2], range(3), 200)
    assert np.isfinite(found).all()
