# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""DeLong against its definition over all pairs, and against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from seq2seq_mri.evaluation.classification.roc_comparison import (
    delong_interval,
    delong_test,
    paired_bootstrap_difference,
)


def simulated(positives, negatives, seed, shift_a=0.8, shift_b=0.8, correlation=0.5):
    """Return labels and two correlated scores; shifts of the positives in standard deviations."""
    generator = np.random.default_rng(seed)
    labels = np.repeat([1, 0], [positives, negatives])
    noise = generator.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], labels.size)
    return labels, noise[:, 0] + shift_a * labels, noise[:, 1] + shift_b * labels


def slow_covariance(labels, *scores):
    """DeLong, DeLong and Clarke-Pearson, 1988: structural components by comparing all pairs."""
    positives, negatives = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    kernel = np.array(
        [[[(s[i] > s[j]) + 0.5 * (s[i] == s[j]) for j in negatives] for i in positives] for s in scores], dtype=float
    )
    of_positives, of_negatives = kernel.mean(axis=2), kernel.mean(axis=1)
    return kernel.mean(axis=(1, 2)), np.cov(of_positives) / len(positives) + np.cov(of_negatives) / len(negatives)


@pytest.mark.parametrize("digits", [None, 0])  # without and with many ties
@pytest.mark.parametrize(("positives", "negatives"), [(2, 2), (7, 30), (40, 23)])
def test_fast_form_is_the_definition(positives, negatives, digits):
    labels, a, b = simulated(positives, negatives, seed=positives)
    if digits is not None:
        a, b = np.round(a, digits), np.round(b, digits)
    areas, covariance = slow_covariance(labels, a, b)
    error = math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    found = delong_test(labels, a, b)
    assert (found.auc_a, found.auc_b) == pytest.approx(areas, abs=1e-12)
    assert found.auc_a == pytest.approx(roc_auc_score(labels, a), abs=1e-12)
    assert found.difference == pytest.approx(areas[0] - areas[1], abs=1e-12)
    assert (found.high - found.low) / 2 == pytest.approx(1.959964 * error, rel=1e-5)
    assert found.p == pytest.approx(math.erfc(abs(areas[0] - areas[1]) / error / math.sqrt(2)), rel=1e-9)
    single = delong_interval(labels, a)
    assert single.standard_error == pytest.approx(math.sqrt(covariance[0, 0]), rel=1e-9)
    assert single.low == pytest.approx(max(0, areas[0] - 1.959964 * single.standard_error), rel=1e-5)
    assert single.high == pytest.approx(min(1, areas[0] + 1.959964 * single.standard_error), rel=1e-5)


def test_order_of_cases_and_a_monotone_change_do_not_matter():
    labels, a, b = simulated(20, 30, seed=3)
    order = np.random.default_rng(0).permutation(labels.size)
    expected = delong_test(labels, a, b)
    assert delong_test(labels[order], np.exp(a)[order], b[order]) == pytest.approx(expected, abs=1e-12)


def test_swapping_the_classifiers_turns_the_sign():
    labels, a, b = simulated(20, 30, seed=4, shift_b=0.2)
    one, other = delong_test(labels, a, b), delong_test(labels, b, a)
    assert (other.difference, other.low, other.high, other.p) == pytest.approx(
        (-one.difference, -one.high, -one.low, one.p)
    )


def test_identical_predictions():
    labels, a, _ = simulated(12, 9, seed=5)
    assert delong_test(labels, a, a)[2:] == (0, 0, 0, 1)
    assert delong_test(labels, a, a * 3)[2:] == (0, 0, 0, 1)
    assert paired_bootstrap_difference(labels, a, a, n=50)[2:] == (0, 0, 0, 1)


def test_no_variance_with_a_difference_says_nothing():
    labels = np.array([1, 1, 0, 0])
    found = delong_test(labels, labels, np.full(4, 0.5))
    assert found.difference == 0.5
    assert all(map(math.isnan, found[3:]))
    assert delong_interval(labels, labels) == (1.0, 1.0, 1.0, 0.0)


def test_coverage_under_a_true_difference():
    """With 0.8 and 0.4 standard deviations, the AUCs are Φ(0.8/√2) and Φ(0.4/√2)."""
    phi = [0.5 * (1 + math.erf(shift / 2)) for shift in (0.8, 0.4)]
    runs = 600
    both = single = 0
    for seed in range(runs):
        labels, a, b = simulated(40, 60, seed, 0.8, 0.4)
        found = delong_test(labels, a, b)
        both += found.low <= phi[0] - phi[1] <= found.high
        interval = delong_interval(labels, a)
        single += interval.low <= phi[0] <= interval.high
    assert 0.92 < both / runs < 0.975
    assert 0.92 < single / runs < 0.975


def test_p_is_uniform_without_a_difference():
    p = np.array([delong_test(*simulated(40, 60, seed)).p for seed in range(600)])
    assert 0.03 < (p < 0.05).mean() < 0.075
    assert 0.44 < (p < 0.5).mean() < 0.56


def test_bootstrap_agrees_with_delong():
    labels, a, b = simulated(60, 80, seed=1, shift_a=1.2, shift_b=0.6)
    expected, found = delong_test(labels, a, b), paired_bootstrap_difference(labels, a, b, n=800, seed=2)
    assert found[:3] == pytest.approx(expected[:3])
    assert found.low == pytest.approx(expected.low, abs=0.02)
    assert found.high == pytest.approx(expected.high, abs=0.02)
    assert found.p == pytest.approx(expected.p, abs=0.02)


def test_bootstrap_is_decided_by_the_seed():
    labels, a, b = simulated(15, 20, seed=6)
    first = paired_bootstrap_difference(labels, a, b, n=60, seed=1)
    assert first == paired_bootstrap_difference(labels, a, b, n=60, seed=1)
    assert first != paired_bootstrap_difference(labels, a, b, n=60, seed=2)


def test_bootstrap_draws_patients_not_cases():
    """Four copies of every case tell nothing new: by patient, the interval stays that of the single cases."""
    labels, a, b = simulated(25, 25, seed=7)
    copies = [np.tile(values, 4) for values in (labels, a, b)]
    patients = [f"patient{number}" for number in np.tile(np.arange(50), 4)]
    single = paired_bootstrap_difference(labels, a, b, n=400)
    grouped = paired_bootstrap_difference(*copies, groups=patients, n=400)
    naive = paired_bootstrap_difference(*copies, n=400)
    width = single.high - single.low
    assert grouped.high - grouped.low == pytest.approx(width, rel=0.25)
    assert naive.high - naive.low < 0.7 * width


def test_bootstrap_of_another_statistic():
    labels, a, b = simulated(30, 30, seed=8, shift_a=2.0, shift_b=0.0)

    def accuracy(truth, scores):
        return float(((scores > 1.0) == truth).mean())

    found = paired_bootstrap_difference(labels, a, b, statistic=accuracy, n=400)
    assert found.value_a == accuracy(labels == 1, a)
    assert 0 < found.low < found.difference < found.high
    assert found.p < 0.05


def test_samples_with_one_label_are_drawn_again():
    found = paired_bootstrap_difference([1, 0, 0], [0.9, 0.1, 0.2], [0.1, 0.9, 0.2], n=200)
    assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 0, 0], [1, 2, 3], [1, 2, 3]), "1 cases of label 1 and 2 of label 0"),
        (([1, 1, 0, 0], [1, 2, 3], [1, 2, 3, 4]), "one of each per case"),
        (([1, 1, 0, 0], [1, 2, 3, 4], [1, 2, 3, 4], 95), "confidence is 95"),
    ],
)
def test_bad_delong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        delong_test(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": ["p", "p"]}, "groups has shape"),
        ({"groups": ["p"] * 4}, "at least two"),
        ({"n": 0}, "n is 0"),
        ({"confidence": 1.0}, "confidence is 1.0"),
        ({"statistic": lambda truth, scores: float("nan")}, "nothing to compare"),
    ],
)
def test_bad_bootstrap_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        paired_bootstrap_difference([1, 1, 0, 0], [0.0, 0.1, 0.2, 0.3], [0.1, 0.2, 0.3, 0.4], **{"n": 20, **options})


def test_too_few_samples_with_a_value():
    sizes = []

    def only_for_all_cases(truth, scores):
        sizes.append(truth.size)
        return 0.5 if len(sizes) <= 2 else float("nan")

    with pytest.raises(ValueError, match="most samples of 4 patients"):
        paired_bootstrap_difference([1, 1, 0, 0], [0, 1, 2, 3], [0, 1, 2, 3], statistic=only_for_all_cases, n=20)
