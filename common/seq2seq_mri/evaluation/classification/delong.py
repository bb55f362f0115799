# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The confidence interval of an area under the ROC curve, and the test of two areas on the same cases, by DeLong.

DeLong, DeLong and Clarke-Pearson, Biometrics 44:837, 1988, in the fast form of Sun and Xu, IEEE Signal Processing
Letters 21:1389, 2014. The cases are taken as independent.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm, rankdata

__all__ = ["AucComparison", "AucInterval", "delong_interval", "delong_test"]

_NORMAL_95 = float(norm.ppf(0.975))  # standard deviations to either side that hold 95 %
# A variance below this is rounding: with a million cases of each label, the smallest possible one is above 1e-19.
_NO_VARIANCE = 1e-24


class AucInterval(NamedTuple):
    """An area under the ROC curve with its 95 % confidence interval."""

    auc: float
    low: float
    high: float


class AucComparison(NamedTuple):
    """Two areas under ROC curves of the same cases; ``difference`` is ``auc_a - auc_b``, ``p`` is two-sided."""

    auc_a: float
    auc_b: float
    difference: float
    low: float
    high: float
    p: float


def delong_interval(labels: ArrayLike, scores: ArrayLike) -> AucInterval:
    """Return an AUC with DeLong's 95 % confidence interval, normal and cut to [0, 1].

    Where the two labels are told apart perfectly, the variance is estimated as 0 and the interval has no width, which
    says nothing about new cases.

    Args:
        labels: ``[n]``, 0 or 1, at least two of each.
        scores: ``[n]``, larger for likelier positives.
    """
    of_positives, of_negatives = _structural_components(labels, scores)
    auc = float(of_positives.mean())
    reach = _NORMAL_95 * float(np.sqrt(_variance(of_positives, of_negatives)))
    return AucInterval(auc, max(0.0, auc - reach), min(1.0, auc + reach))


def delong_test(labels: ArrayLike, a: ArrayLike, b: ArrayLike) -> AucComparison:
    """Compare the AUCs of two classifiers on the same cases.

    Args:
        labels: ``[n]``, 0 or 1, at least two of each.
        a: ``[n]``, scores of one classifier.
        b: ``[n]``, of the other one.

    Returns:
        The AUCs, their difference, its 95 % interval and the p value of no difference. Classifiers that rank alike have
        a difference of 0, an interval of no width and p = 1. When the variance is 0 although the AUCs differ (a perfect
        classifier against a constant one), the interval and p cannot be known and are NaN.
    """
    positives_a, negatives_a = _structural_components(labels, a)
    positives_b, negatives_b = _structural_components(labels, b)
    auc_a, auc_b = float(positives_a.mean()), float(positives_b.mean())
    difference = auc_a - auc_b
    # The variance of the difference is that of the differences of the components.
    error = np.sqrt(_variance(positives_a - positives_b, negatives_a - negatives_b))
    if error**2 > _NO_VARIANCE:
        reach = _NORMAL_95 * float(error)
        p = float(2.0 * norm.sf(abs(difference) / error))
        return AucComparison(auc_a, auc_b, difference, difference - reach, difference + reach, p)
    if abs(difference) < np.sqrt(_NO_VARIANCE):
        return AucComparison(auc_a, auc_b, 0.0, 0.0, 0.0, 1.0)
    return AucComparison(auc_a, auc_b, difference, *3 * [float("nan")])


def _structural_components(labels: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return for each positive the fraction of negatives below it, and for each negative that of positives above it.

    Ties count half. Both have the AUC as their mean. From the ranks among all cases and among those of the same label
    (Sun and Xu, Eqs. 12 and 13) this takes O(n log n) instead of comparing all pairs.
    """
    truth, values = np.asarray(labels, dtype=bool), np.asarray(scores, dtype=float)
    ranks = rankdata(values)
    of_positives = (ranks[truth] - rankdata(values[truth])) / (~truth).sum()
    of_negatives = 1.0 - (ranks[~truth] - rankdata(values[~truth])) / truth.sum()
    return of_positives, of_negatives


def _variance(of_positives: np.ndarray, of_negatives: np.ndarray) -> float:
    return float(of_positives.var(ddof=1) / of_positives.size + of_negatives.var(ddof=1) / of_negatives.size)
