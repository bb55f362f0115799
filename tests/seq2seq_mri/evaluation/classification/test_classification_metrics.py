# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from seq2seq_mri.evaluation.classification.classification_metrics import (
    binary_metrics,
    fold_metrics,
    predictions_table,
    read_predictions,
    roc_auc,
    youden_threshold,
)
from seq2seq_mri.evaluation.records import write_records


def cases(number, seed, ties):
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(number) % 3 == 0).astype(int)
    scores = np.clip(generator.normal(0.4 + 0.15 * labels, 0.2), 0, 1)
    return labels, np.round(scores, 1) if ties else scores


@pytest.mark.parametrize(("number", "ties"), [(3, False), (10, True), (257, True)])
def test_auc_is_that_of_sklearn(number, ties):
    labels, scores = cases(number, number, ties)
    assert roc_auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_metrics_of_a_table_counted_by_hand():
    labels = [1, 1, 1, 0, 0, 0, 0, 0]
    probabilities = [0.9, 0.6, 0.2, 0.8, 0.5, 0.4, 0.1, 0.0]
    # At 0.5, 2 true positives, 1 false negative, 2 false positives; pairs in the right order: 5 + 4 + 2 of 15.
    expected = {"auc": 11 / 15, "accuracy": 5 / 8, "sensitivity": 2 / 3, "specificity": 3 / 5, "ppv": 2 / 4}
    expected |= {"npv": 3 / 4, "n": 8, "positives": 3}
    assert binary_metrics(labels, probabilities, 0.5) == pytest.approx(expected)


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


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
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


@pytest.mark.parametrize(
    ("labels", "scores", "expected"),
    [
        ([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.9], 0.4),  # between the labels
        # Above 0.75 half of the positives and no negative; above 0.55 three quarters, and a quarter of the negatives.
        ([1, 1, 0, 1, 0, 0, 1, 0], [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2], 0.55),
        ([0, 1, 0, 1], [0.1, 0.4, 0.6, 0.9], 0.25),  # index 0.5 at both ends, both as uneven: the lower
        ([1, 0, 0], [0.4, 0.4, 0.4], 0.4),  # nothing is better than to call all positive
        ([1, 0, 0], [0.2, 0.8, 0.9], 0.2),
    ],
)
def test_youden_threshold_by_hand(labels, scores, expected):
    assert youden_threshold(labels, scores) == pytest.approx(expected)


def test_threshold_between_neighbouring_numbers_separates_them():
    low, high = 0.5, np.nextafter(0.5, 1)
    assert low < youden_threshold([0, 1], [low, high]) <= high


def test_a_threshold_needs_both_labels():
    with pytest.raises(ValueError, match="All 2 cases have the label 1"):
        youden_threshold([1, 1], [0.1, 0.2])


def test_folds_are_measured_on_their_testing_section_and_predictions_read_back_exactly(tmp_path):
    generator = np.random.default_rng(0)
    rows = [
        {"inputs": name, "patient": f"00{case}", "subject": f"00{case}", "section": section, "repeat": 0}
        | {"fold": case // 12, "label": case % 2, "probability": generator.random(), "threshold": 1 / 3 + case // 12}
        for name in ("t1gd", "t1gd + M_d")
        for case in range(24)
        for section in ("validation", "testing")
    ]
    table = predictions_table(rows)
    write_records(tmp_path / "predictions.csv", table)
    pd.testing.assert_frame_equal(read_predictions(tmp_path / "predictions.csv"), table)
    first = (tmp_path / "predictions.csv").read_text(encoding="utf-8").splitlines()[1]
    assert first.startswith("t1gd,000,000,validation,0,0,0,")  # names keep their zeros; folds are whole numbers
    metrics = fold_metrics(table)
    assert len(metrics) == 4
    tested = table.query("inputs == 't1gd + M_d' and fold == 0 and section == 'testing'")
    expected = {"inputs": "t1gd + M_d", "repeat": 0, "fold": 0, "threshold": 1 / 3}
    expected |= binary_metrics(tested["label"], tested["probability"], 1 / 3)
    assert metrics.iloc[2].to_dict() == expected
