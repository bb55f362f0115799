# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""How good a classifier's probabilities are: metrics at a threshold, and the threshold itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata
from sklearn.metrics import roc_curve

__all__ = [
    "BINARY_METRICS",
    "binary_labels_and_scores",
    "binary_metrics",
    "multiclass_metrics",
    "roc_auc",
    "youden_threshold",
]

#: The measures of Table 4, in its order.
BINARY_METRICS = ("auc", "accuracy", "sensitivity", "specificity", "ppv", "npv")


def binary_labels_and_scores(labels: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Check the labels and scores of a binary task.

    Args:
        labels: ``[n]``, 1 (positive) or 0.
        scores: ``[n]``, larger where the classifier takes a case rather for a positive one.

    Returns:
        labels as bool ``[n]``, scores as float64 ``[n]``.

    Raises:
        ValueError: when there is no case, lengths differ, a label is neither 0 nor 1, or a score is NaN or infinite.
    """
    truth, values = np.asarray(labels), np.asarray(scores, dtype=float)
    if truth.ndim != 1 or truth.shape != values.shape or not truth.size:
        raise ValueError(f"Labels have shape {truth.shape} and scores {values.shape}; give one of each per case.")
    if not np.isin(truth, (0, 1)).all():
        found = ", ".join(str(value) for value in np.unique(truth)[:10])
        raise ValueError(f"The labels of a binary task are 0 and 1; these are {found}.")
    if not np.isfinite(values).all():
        raise ValueError(f"{int((~np.isfinite(values)).sum())} of {values.size} scores are NaN or infinite.")
    return truth.astype(bool), values


def roc_auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the area under the ROC curve, NaN when there are only positives or only negatives.

    It is the Mann-Whitney statistic: the probability that a positive case has the higher score, ties counting half.
    Computed from ranks, it is some ten times faster than scikit-learn's, which the bootstrap needs.

    Args:
        labels: ``[n]``, 0 or 1.
        scores: ``[n]``.

    Raises:
        ValueError: see :func:`binary_labels_and_scores`.
    """
    truth, values = binary_labels_and_scores(labels, scores)
    positives = int(truth.sum())
    negatives = truth.size - positives
    if not positives or not negatives:
        return float("nan")
    ranks = rankdata(values)
    return float((ranks[truth].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def binary_metrics(labels: ArrayLike, probabilities: ArrayLike, threshold: float) -> dict[str, float]:
    """Measure a binary classifier; a case is called positive when its probability is at least ``threshold``.

    A measure is NaN where it would be 0/0: ``sensitivity`` without positive cases, ``specificity`` without negative
    ones, ``auc`` without either of them, ``ppv`` when no case is called positive, ``npv`` when none is called negative.

    Args:
        labels: ``[n]``, 0 or 1.
        probabilities: ``[n]``, of label 1.
        threshold: of the probability; choose it on other cases than these, see :func:`youden_threshold`.

    Returns:
        ``auc``, ``accuracy``, ``sensitivity``, ``specificity``, ``ppv`` and ``npv`` (positive and negative predictive
        value), each in [0, 1] or NaN; ``n``, the number of cases, and ``positives``, that of cases with label 1.

    Raises:
        ValueError: when the threshold is NaN, and see :func:`binary_labels_and_scores`.
    """
    truth, values = binary_labels_and_scores(labels, probabilities)
    if np.isnan(threshold):
        raise ValueError("The threshold is NaN; choose one with youden_threshold, or give 0.5.")
    called = values >= threshold
    correct = called == truth
    return {
        "auc": roc_auc(truth, values),
        "accuracy": _fraction(correct),
        "sensitivity": _fraction(correct[truth]),
        "specificity": _fraction(correct[~truth]),
        "ppv": _fraction(correct[called]),
        "npv": _fraction(correct[~called]),
        "n": truth.size,
        "positives": int(truth.sum()),
    }


def _fraction(correct: np.ndarray) -> float:
    return float(correct.mean()) if correct.size else float("nan")


def youden_threshold(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Choose the threshold with the largest sensitivity + specificity - 1 (Youden, Cancer 3:32, 1950).

    It lies in the middle between the lowest probability that is called positive and the highest that is not, so that a
    small change of either does not turn it over. Among equally good thresholds, the one with the most similar
    sensitivity and specificity is taken, and of those the lowest. Where no threshold is better than chance, it is the
    lowest probability: all cases are called positive.

    Args:
        labels: ``[n]``, 0 or 1, both of them; of cases that the classifier was neither trained nor is tested on.
        probabilities: ``[n]``, of label 1.

    Returns:
        The threshold, within the range of ``probabilities``.

    Raises:
        ValueError: when there is only one label, and see :func:`binary_labels_and_scores`.
    """
    truth, values = binary_labels_and_scores(labels, probabilities)
    if truth.all() or not truth.any():
        raise ValueError(f"All {truth.size} cases have the label {int(truth[0])}; a threshold needs both labels.")
    false_positive, true_positive, thresholds = roc_curve(truth, values, drop_intermediate=False)
    # The first point is "nothing is positive", at an infinite threshold; the last, "everything is", is as good.
    index = np.round(true_positive[1:] - false_positive[1:], 12)
    asymmetry = np.round(np.abs(true_positive[1:] + false_positive[1:] - 1.0), 12)
    best = max(range(index.size), key=lambda place: (index[place], -asymmetry[place], place))
    lowest_positive = float(thresholds[1 + best])
    below = values[values < lowest_positive]
    if not below.size:
        return lowest_positive
    middle = 0.5 * (lowest_positive + float(below.max()))
    return middle if middle > below.max() else lowest_positive


def multiclass_metrics(labels: ArrayLike, probabilities: ArrayLike) -> dict[str, float]:
    """Measure a classifier of several classes.

    Args:
        labels: ``[n]``, whole numbers from 0.
        probabilities: ``[n, classes]``, or any score that is larger for a likelier class. Among equal ones, the class
            with the lower number counts as the likelier.

    Returns:
        ``accuracy``: fraction of cases whose likeliest class is the label; ``top2_accuracy``: fraction with the label
        among the two likeliest; ``n``: the number of cases.

    Raises:
        ValueError: when there is no case, shapes do not agree, a label is not one of the classes, or a probability is
            NaN or infinite.
    """
    truth, values = np.asarray(labels), np.asarray(probabilities, dtype=float)
    if values.ndim != 2 or truth.shape != values.shape[:1] or not truth.size:
        raise ValueError(
            f"Labels have shape {truth.shape} and probabilities {values.shape}; they must be [n] and [n, classes]."
        )
    if not np.isin(truth, np.arange(values.shape[1])).all():
        found = ", ".join(str(value) for value in np.setdiff1d(truth, np.arange(values.shape[1]))[:10])
        raise ValueError(f"There are probabilities of the classes 0 to {values.shape[1] - 1}, but labels {found}.")
    if not np.isfinite(values).all():
        raise ValueError(f"{int((~np.isfinite(values)).sum())} probabilities are NaN or infinite.")
    truth = truth.astype(int)
    likeliest = np.argsort(-values, axis=1, kind="stable")[:, :2]
    hits = likeliest == truth[:, None]
    return {
        "accuracy": float(hits[:, 0].mean()),
        "top2_accuracy": float(hits.any(axis=1).mean()),
        "n": truth.size,
    }
