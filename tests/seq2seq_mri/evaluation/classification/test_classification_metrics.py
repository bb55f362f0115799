# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import mannwhitneyu
from sklearn import metrics as sklearn_metrics

from seq2seq_mri.evaluation.classification.classification_metrics import (
    binary_metrics,
    multiclass_metrics,
    roc_auc,
    youden_threshold,
)


def cases(number, seed, ties):
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(number) % 3 == 0).astype(int)
    scores = np.clip(generator.normal(0.4 + 0.15 * labels, 0.2), 0, 1)
    return labels, np.round(scores, 1) if ties else scores


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("number", [3, 10, 257])
def test_auc_is_that_of_sklearn_and_the_mann_whitney_statistic(number, ties):
    labels, scores = cases(number, number, ties)
    positives = labels.sum()
    statistic = mannwhitneyu(scores[labels == 1], scores[labels == 0]).statistic
    assert roc_auc(labels, scores) == pytest.approx(sklearn_metrics.roc_auc_score(labels, scores), abs=1e-12)
    assert roc_auc(labels, scores) == pytest.approx(statistic / (positives * (number - positives)), abs=1e-12)


def test_metrics_of_a_table_counted_by_hand():
    labels = [1, 1, 1, 0, 0, 0, 0, 0]
    probabilities = [0.9, 0.6, 0.2, 0.8, 0.5, 0.4, 0.1, 0.0]
    found = binary_metrics(labels, probabilities, 0.5)  # 2 true positives, 1 false negative, 2 false positives
    assert found["sensitivity"] == pytest.approx(2 / 3)
    assert found["specificity"] == pytest.approx(3 / 5)
    assert found["ppv"] == pytest.approx(2 / 4)
    assert found["npv"] == pytest.approx(3 / 4)
    assert found["accuracy"] == pytest.approx(5 / 8)
    assert found["auc"] == pytest.approx(11 / 15)  # pairs in the right order: 5 + 4 + 2 of 15
    assert (found["n"], found["positives"]) == (8, 3)


def test_metrics_agree_with_sklearn():
    labels, scores = cases(120, 5, ties=True)
    called = scores >= 0.5
    found = binary_metrics(labels, scores, 0.5)
    assert found["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(labels, called))
    assert found["sensitivity"] == pytest.approx(sklearn_metrics.recall_score(labels, called))
    assert found["specificity"] == pytest.approx(sklearn_metrics.recall_score(labels, called, pos_label=0))
    assert found["ppv"] == pytest.approx(sklearn_metrics.precision_score(labels, called))
    assert found["npv"] == pytest.approx(sklearn_metrics.precision_score(labels, called, pos_label=0))


@pytest.mark.parametrize(
    ("labels", "threshold", "undefined"),
    [
        ([1, 1], 0.5, {"auc", "specificity", "npv"}),
        ([0, 0], 0.5, {"auc", "sensitivity", "npv"}),
        ([0, 1], 0.95, {"ppv"}),
        ([0, 1], 0.0, {"npv"}),
    ],
)
def test_what_is_undefined_is_nan(labels, threshold, undefined):
    found = binary_metrics(labels, [0.9, 0.9], threshold)
    assert {name for name, value in found.items() if math.isnan(value)} == undefined


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ties", [False, True])
def test_youden_threshold_is_the_best_of_all(seed, ties):
    labels, scores = cases(41, seed, ties)

    def index(threshold):
        found = binary_metrics(labels, scores, threshold)
        return found["sensitivity"] + found["specificity"] - 1

    chosen = youden_threshold(labels, scores)
    values = np.unique(scores)
    everywhere = [*values, *(0.5 * (values[1:] + values[:-1])), -1.0, 2.0]
    assert index(chosen) == pytest.approx(max(map(index, everywhere)), abs=1e-9)
    assert scores.min() <= chosen <= scores.max()


def test_youden_threshold_lies_between_the_labels():
    assert youden_threshold([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.9]) == pytest.approx(0.4)


def test_equally_good_thresholds_give_the_most_even_one():
    # Above 0.75 half of the positives and no negative; above 0.55 three quarters, and a quarter of the negatives.
    labels, scores = [1, 1, 0, 1, 0, 0, 1, 0], [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2]
    assert youden_threshold(labels, scores) == pytest.approx(0.55)
    labels, scores = [0, 1, 0, 1], [0.1, 0.4, 0.6, 0.9]  # index 0.5 at both ends
    assert youden_threshold(labels, scores) == pytest.approx(0.25)  # both as uneven: the lower


@pytest.mark.parametrize("scores", [[0.4, 0.4, 0.4], [0.2, 0.8, 0.9]])
def test_without_a_useful_threshold_all_are_called_positive(scores):
    assert youden_threshold([1, 0, 0], scores) == min(scores)


def test_threshold_between_neighbouring_numbers_separates_them():
    low, high = 0.5, np.nextafter(0.5, 1)
    threshold = youden_threshold([0, 1], [low, high])
    assert low < threshold <= high


@pytest.mark.parametrize("ties", [False, True])
def test_multiclass_accuracies_by_brute_force(ties):
    generator = np.random.default_rng(0)
    labels, probabilities = generator.integers(26, size=200), generator.random((200, 26))
    probabilities[np.arange(150), labels[:150]] += 0.6
    if ties:
        probabilities = np.round(probabilities, 1)
    ranks = [
        sorted(range(26), key=lambda letter: (-row[letter], letter)).index(label)
        for row, label in zip(probabilities, labels, strict=True)
    ]
    found = multiclass_metrics(labels, probabilities)
    assert found == {
        "accuracy": pytest.approx(np.mean(np.array(ranks) == 0)),
        "top2_accuracy": pytest.approx(np.mean(np.array(ranks) < 2)),
        "n": 200,
    }
    if not ties:
        expected = sklearn_metrics.top_k_accuracy_score(labels, probabilities, k=2, labels=range(26))
        assert found["top2_accuracy"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([], [], "one of each per case"),
        ([0, 1], [0.5], "one of each per case"),
        ([1, 2], [0.1, 0.2], r"are 0 and 1; these are 1, 2"),
        ([0, 1], [0.1, float("nan")], "1 of 2 scores are NaN"),
    ],
)
def test_bad_binary_cases(labels, scores, message):
    with pytest.raises(ValueError, match=message):
        binary_metrics(labels, scores, 0.5)


def test_other_bad_arguments():
    with pytest.raises(ValueError, match="threshold is NaN"):
        binary_metrics([0, 1], [0.1, 0.2], float("nan"))
    with pytest.raises(ValueError, match="All 2 cases have the label 1"):
        youden_threshold([1, 1], [0.1, 0.2])
    with pytest.raises(ValueError, match=r"must be \[n\] and \[n, classes\]"):
        multiclass_metrics([0, 1], [0.1, 0.2])
    with pytest.raises(ValueError, match="classes 0 to 1, but labels 2"):
        multiclass_metrics([0, 2], [[0.1, 0.9], [0.2, 0.8]])
    with pytest.raises(ValueError, match="NaN or infinite"):
        multiclass_metrics([0, 1], [[0.1, 0.9], [float("nan"), 0.8]])
