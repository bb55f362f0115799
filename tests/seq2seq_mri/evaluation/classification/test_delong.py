# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""DeLong against its definition over all pairs, and the ROC curve that shows his interval."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import auc, roc_auc_score

from seq2seq_mri.evaluation.classification.classification_metrics import predictions_table
from seq2seq_mri.evaluation.classification.delong import delong_interval, delong_test
from seq2seq_mri.evaluation.classification.roc_figure import roc_curves


def simulated(positives, negatives, seed):
    """Return labels and two correlated scores, of which those of the positives are higher by 0.8 deviations."""
    labels = np.repeat([1, 0], [positives, negatives])
    noise = np.random.default_rng(seed).multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]], labels.size)
    return labels, *(noise.T + 0.8 * labels)


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
    assert found.difference == pytest.approx(areas[0] - areas[1], abs=1e-12)
    assert found.low == pytest.approx(found.difference - 1.959964 * error, rel=1e-5)
    assert found.high == pytest.approx(found.difference + 1.959964 * error, rel=1e-5)
    assert found.p == pytest.approx(math.erfc(abs(areas[0] - areas[1]) / error / math.sqrt(2)), rel=1e-9)
    single, deviation = delong_interval(labels, a), math.sqrt(covariance[0, 0])
    assert single.low == pytest.approx(max(0, areas[0] - 1.959964 * deviation), rel=1e-5)
    assert single.high == pytest.approx(min(1, areas[0] + 1.959964 * deviation), rel=1e-5)


def test_without_variance():
    labels, a, _ = simulated(12, 9, seed=5)
    assert delong_test(labels, a, a * 3)[2:] == (0, 0, 0, 1)
    labels = np.array([1, 1, 0, 0])
    found = delong_test(labels, labels, np.full(4, 0.5))
    assert found.difference == 0.5
    assert all(map(math.isnan, found[3:]))
    assert delong_interval(labels, labels) == (1.0, 1.0, 1.0)


def test_roc_curves_carry_area_and_interval(texts):
    labels, *scores = simulated(40, 45, seed=1)
    predictions = predictions_table(
        {"inputs": name, "patient": f"p{case}", "subject": f"p{case}", "section": "testing", "repeat": 0, "fold": 0}
        | {"label": labels[case], "probability": score[case], "threshold": 0.5}
        for name, score in zip(("t1gd", "t1gd + M_d"), scores, strict=True)
        for case in range(85)
    )
    figure = roc_curves(predictions, title="pCR")
    (axes,) = figure.axes
    for line, name, score in zip(axes.lines[1:], ("t1gd", "t1gd + M_d"), scores, strict=True):  # the first is chance
        area = roc_auc_score(labels, score)
        assert auc(*line.get_data()) == pytest.approx(area)
        assert line.get_label().startswith(
            f"{name}\nAUC {area:.3f} (95% CI {delong_interval(labels, score).low:.3f} to"
        )
    assert axes.get_title(loc="left") == "pCR\n40 positive, 45 negative"
    assert {"sensitivity", "1 \N{MINUS SIGN} specificity"} <= set(texts(figure))
