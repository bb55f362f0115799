# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Whether one classifier's ROC curve is better than another's on the same cases."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm, rankdata

from seq2seq_mri.evaluation.classification.classification_metrics import binary_labels_and_scores, roc_auc

__all__ = [
    "AucComparison",
    "AucInterval",
    "BootstrapDifference",
    "delong_interval",
    "delong_test",
    "paired_bootstrap_difference",
]

# A variance below this is rounding: with a million cases of each label, the smallest possible one is above 1e-19.
_NO_VARIANCE = 1e-24


class AucInterval(NamedTuple):
    """An area under the ROC curve with its confidence interval."""

    auc: float
    low: float
    high: float
    standard_error: float


class AucComparison(NamedTuple):
    """Two areas under ROC curves of the same cases; ``difference`` is ``auc_a - auc_b``, ``p`` is two-sided."""

    auc_a: float
    auc_b: float
    difference: float
    low: float
    high: float
    p: float


class BootstrapDifference(NamedTuple):
    """A statistic of two classifiers on the same cases; ``difference`` is ``value_a - value_b``, ``p`` two-sided."""

    value_a: float
    value_b: float
    difference: float
    low: float
    high: float
    p: float


def delong_interval(labels: ArrayLike, probabilities: ArrayLike, confidence: float = 0.95) -> AucInterval:
    """Return an AUC with DeLong's confidence interval, normal and cut to [0, 1].

    The cases are taken as independent. Where the two labels are told apart perfectly, the variance is estimated as 0
    and the interval has no width, which says nothing about new cases.

    Args:
        labels: ``[n]``, 0 or 1, at least two of each.
        probabilities: ``[n]``, of label 1, or any score.
        confidence: coverage of the interval, between 0 and 1.

    Raises:
        ValueError: when there are fewer than two cases of a label, or ``confidence`` is out of range; see also
            :func:`binary_labels_and_scores`.
    """
    quantile = _quantile(confidence)
    truth, values = binary_labels_and_scores(labels, probabilities)
    of_positives, of_negatives = _structural_components(truth, values)
    auc, error = float(of_positives.mean()), float(np.sqrt(_variance(of_positives, of_negatives)))
    return AucInterval(auc, max(0.0, auc - quantile * error), min(1.0, auc + quantile * error), error)


def delong_test(
    labels: ArrayLike, probabilities_a: ArrayLike, probabilities_b: ArrayLike, confidence: float = 0.95
) -> AucComparison:
    """Compare the AUCs of two classifiers on the same cases.

    DeLong, DeLong and Clarke-Pearson, Biometrics 44:837, 1988, in the fast form of Sun and Xu, IEEE Signal Processing
    Letters 21:1389, 2014. The cases are taken as independent; where a patient has several, use
    :func:`paired_bootstrap_difference` with groups.

    Args:
        labels: ``[n]``, 0 or 1, at least two of each.
        probabilities_a: ``[n]``, of label 1, or any score, from one classifier.
        probabilities_b: ``[n]``, from the other one.
        confidence: coverage of the interval of the difference, between 0 and 1.

    Returns:
        The AUCs, their difference, its interval and the p value of no difference. Classifiers that rank alike have a
        difference of 0, an interval of no width and p = 1. When the variance is 0 although the AUCs differ (a perfect
        classifier against a constant one), the interval and p cannot be known and are NaN.

    Raises:
        ValueError: as :func:`delong_interval`.
    """
    quantile = _quantile(confidence)
    truth, a = binary_labels_and_scores(labels, probabilities_a)
    _, b = binary_labels_and_scores(labels, probabilities_b)
    positives_a, negatives_a = _structural_components(truth, a)
    positives_b, negatives_b = _structural_components(truth, b)
    auc_a, auc_b = float(positives_a.mean()), float(positives_b.mean())
    difference = auc_a - auc_b
    # The variance of the difference is that of the differences of the components.
    variance = _variance(positives_a - positives_b, negatives_a - negatives_b)
    if variance > _NO_VARIANCE:
        error = float(np.sqrt(variance))
        p = float(2.0 * norm.sf(abs(difference) / error))
        return AucComparison(auc_a, auc_b, difference, difference - quantile * error, difference + quantile * error, p)
    if abs(difference) < np.sqrt(_NO_VARIANCE):
        return AucComparison(auc_a, auc_b, 0.0, 0.0, 0.0, 1.0)
    nan = float("nan")
    return AucComparison(auc_a, auc_b, difference, nan, nan, nan)


def _structural_components(truth: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for each positive the fraction of negatives below it, and for each negative that of positives above it.

    Ties count half. Both have the AUC as their mean. From the ranks among all cases and among those of the same label
    (Sun and Xu, Eqs. 12 and 13) this takes O(n log n) instead of comparing all pairs.
    """
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if min(positives, negatives) < 2:
        raise ValueError(
            f"There are {positives} cases of label 1 and {negatives} of label 0; a variance needs two of each."
        )
    ranks = rankdata(values)
    of_positives = (ranks[truth] - rankdata(values[truth])) / negatives
    of_negatives = 1.0 - (ranks[~truth] - rankdata(values[~truth])) / positives
    return of_positives, of_negatives


def _variance(of_positives: np.ndarray, of_negatives: np.ndarray) -> float:
    return float(of_positives.var(ddof=1) / of_positives.size + of_negatives.var(ddof=1) / of_negatives.size)


def paired_bootstrap_difference(
    labels: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    groups: ArrayLike | None = None,
    statistic: Callable[[np.ndarray, np.ndarray], float] = roc_auc,
    n: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> BootstrapDifference:
    """Compare two classifiers on the same cases by drawing patients with replacement.

    All cases of a patient are drawn together, and always for both classifiers. A sample in which the statistic is not
    defined (for the AUC: one with a single label) is drawn again.

    Args:
        labels: ``[cases]``, 0 or 1.
        a: ``[cases]``, probabilities of one classifier.
        b: ``[cases]``, of the other one.
        groups: ``[cases]``, the patient of each case; None: every case is another patient's.
        statistic: of (labels as bool, probabilities); NaN where it is not defined.
        n: number of samples.
        seed: of the drawing.
        confidence: coverage of the percentile interval, between 0 and 1.

    Returns:
        The statistics, their difference, its interval, and p: twice the smaller share of samples with a difference on
        either side of 0, at least 2 / (n + 1).

    Raises:
        ValueError: when there are fewer than two patients, the statistic is not defined for all cases or for most
            samples, or an argument is out of range.
    """
    truth, first = binary_labels_and_scores(labels, a)
    _, second = binary_labels_and_scores(labels, b)
    names = np.arange(truth.size) if groups is None else np.asarray(groups)
    if names.shape != truth.shape:
        raise ValueError(f"There are {truth.size} cases, but groups has shape {names.shape}.")
    _quantile(confidence)
    if n < 1:
        raise ValueError(f"n is {n}; give the number of bootstrap samples, at least 1.")
    patients, patient_of_case = np.unique(names, return_inverse=True)
    if patients.size < 2:
        raise ValueError("A bootstrap over patients needs at least two.")
    members = [np.flatnonzero(patient_of_case == patient) for patient in range(patients.size)]
    value_a, value_b = statistic(truth, first), statistic(truth, second)
    if not np.isfinite([value_a, value_b]).all():
        raise ValueError(f"The statistic is {value_a} and {value_b} for all cases; there is nothing to compare.")

    generator = np.random.default_rng(seed)
    differences: list[float] = []
    for _ in range(10 * n):
        drawn = generator.integers(patients.size, size=patients.size)
        cases = np.concatenate([members[patient] for patient in drawn])
        difference = statistic(truth[cases], first[cases]) - statistic(truth[cases], second[cases])
        if np.isfinite(difference):
            differences.append(difference)
        if len(differences) == n:
            break
    else:
        raise ValueError(
            f"The statistic is not defined in most samples of {patients.size} patients; there are too few."
        )
    samples = np.array(differences)
    low, high = np.percentile(samples, [50.0 * (1.0 - confidence), 50.0 * (1.0 + confidence)])
    tail = min(int((samples <= 0).sum()), int((samples >= 0).sum()))
    p = min(1.0, 2.0 * (tail + 1) / (n + 1))
    return BootstrapDifference(value_a, value_b, value_a - value_b, float(low), float(high), p)


def _quantile(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; give a number between 0 and 1, such as 0.95.")
    return float(norm.ppf(0.5 * (1.0 + confidence)))
