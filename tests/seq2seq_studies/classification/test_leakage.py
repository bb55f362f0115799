# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The protocol neither leaks labels nor loses signal, and this harness would notice either."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from seq2seq_mri.evaluation.classification.classification_metrics import roc_auc
from seq2seq_studies.classification.cross_validation import nested_folds, train_validation_test_folds
from seq2seq_studies.classification.input_comparison import pooled_predictions
from seq2seq_studies.classification.run_folds import run_folds

PATIENTS = 80
# The standard deviation of an AUC without signal: sqrt((m + n + 1) / (12 m n)).
NULL_DEVIATION = np.sqrt((PATIENTS + 1) / (12 * (PATIENTS / 2) ** 2))
CANDIDATES = {"strong": {"strength": 10.0}, "weak": {"strength": 0.01}}
INPUTS = {"images": {}}


def pooled_auc(tables):
    pooled = pooled_predictions(tables.predictions, "images")
    return roc_auc(pooled["label"], pooled["probability"])


def test_random_labels_give_chance(make_cohort, classifier, tmp_path):
    areas = []
    for seed in range(4):
        folds = nested_folds(make_cohort(PATIENTS, seed=seed), seed=seed)
        areas.append(pooled_auc(run_folds(folds, classifier, CANDIDATES, tmp_path / str(seed), seed, inputs=INPUTS)))
    assert all(abs(area - 0.5) < 3 * NULL_DEVIATION for area in areas)
    assert abs(np.mean(areas) - 0.5) < 3 * NULL_DEVIATION / np.sqrt(len(areas))


@pytest.mark.parametrize("divide", [nested_folds, train_validation_test_folds])
def test_a_planted_feature_is_found(make_cohort, classifier, tmp_path, divide):
    folds = divide(make_cohort(PATIENTS, effect=2.5))
    assert pooled_auc(run_folds(folds, classifier, CANDIDATES, tmp_path, inputs=INPUTS)) >= 0.9


def test_the_harness_sees_a_leak(make_cohort, classifier, tmp_path):
    """Features that are chosen with all labels beforehand give a good AUC from noise: what leakage would look like."""
    entries = make_cohort(PATIENTS, features=500)
    values, labels = np.array([entry["features"] for entry in entries]), [entry["label"]["pcr"] for entry in entries]
    best = np.argsort([-abs(roc_auc(labels, column) - 0.5) for column in values.T])[:10]
    inputs = {"images": {"columns": best.tolist()}}
    assert pooled_auc(run_folds(nested_folds(entries), classifier, None, tmp_path, inputs=inputs)) > 0.75


def test_labels_of_tested_subjects_are_never_seen(make_cohort, classifier, tmp_path):
    entries = make_cohort(40, effect=1.0)
    folds = nested_folds(entries)
    tested = itertools.cycle([{entry["subject"] for entry in fold.testing} for fold in folds for _ in range(8)])
    calls = []

    def spy(training, validation, testing, seed, **settings):
        outer = next(tested)
        labelled = {entry["subject"] for entry in (*training, *validation) if "label" in entry}
        assert not labelled & outer
        assert len(labelled) == len(training) + len(validation) == len(entries) - len(outer)
        assert outer < {entry["subject"] for entry in testing}
        assert not any("label" in entry for entry in testing)
        assert not {entry["patient"] for entry in training} & {entry["patient"] for entry in (*validation, *testing)}
        calls.append(seed)
        for entry in (*training, *validation):
            entry.pop("label")  # what a classifier does with its entries is nobody else's business
        return classifier(
            [{**entry, "label": place % 2} for place, entry in enumerate(training)],
            validation,
            testing,
            seed,
            **settings,
        )

    run_folds(folds, spy, CANDIDATES, tmp_path, inputs=INPUTS)
    assert len(calls) == 5 * 2 * 4
    assert len(set(calls)) == 5 * 4  # both candidates with the same seeds


def test_testing_labels_decide_nothing(make_cohort, classifier, tmp_path):
    """With the opposite labels in the testing sections, all but the metrics is the same, to the last digit."""
    folds = nested_folds(make_cohort(40, effect=1.0))
    turned = [
        dataclasses.replace(fold, testing=[{**entry, "label": 1 - entry["label"]} for entry in fold.testing])
        for fold in folds
    ]
    one = run_folds(folds, classifier, CANDIDATES, tmp_path / "one", inputs=INPUTS)
    other = run_folds(turned, classifier, CANDIDATES, tmp_path / "other", inputs=INPUTS)
    assert one.candidates.equals(other.candidates)
    for column in ("probability", "threshold", "subject"):
        assert one.predictions[column].equals(other.predictions[column])
    assert one.metrics["auc"].to_numpy() == pytest.approx(1 - other.metrics["auc"].to_numpy())
