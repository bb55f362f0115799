# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Whether less is as good: paired tests of a candidate against a reference on the same subjects."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

__all__ = ["PairedComparison", "compare_with_reference"]


class PairedComparison(NamedTuple):
    """What a candidate loses against a reference.

    Attributes:
        n: number of pairs.
        loss: mean loss; positive where the candidate is worse, in the measure's unit.
        upper: one-sided upper confidence limit of the mean loss.
        p_worse: one-sided paired t-test; small: the candidate is worse than the reference.
        p_non_inferior: one-sided paired t-test; small: the mean loss is less than the margin.
        non_inferior: whether that is significant, or equally, whether ``upper`` is less than the margin.
    """

    n: int
    loss: float
    upper: float
    p_worse: float
    p_non_inferior: float
    non_inferior: bool


def compare_with_reference(
    reference: ArrayLike, candidate: ArrayLike, margin: float, higher_is_better: bool, confidence: float = 0.95
) -> PairedComparison:
    """Test whether a candidate is worse than a reference, and whether it is non-inferior by a margin.

    These are two questions. A large ``p_worse`` does not show that the candidate is as good: with few subjects nothing
    is significant. Non-inferiority does show it: that the mean loss is below what was declared unimportant, the margin,
    before the comparison was made. Losses are taken as independent and their mean as normally distributed.

    Args:
        reference: ``[n]``, a measure of each subject.
        candidate: ``[n]``, of the same subjects in the same order.
        margin: greatest mean loss that does not matter, positive, in the measure's unit.
        higher_is_better: whether greater values are better, as of DSC; not so of distances.
        confidence: of the upper limit; ``1 - confidence`` is the level of the non-inferiority test.

    Returns:
        The comparison. With fewer than two pairs, limits and p are NaN. Where all losses are equal, the t statistic is
        infinite, and p 0 or 1; NaN where that loss equals what it is compared with, 0 or the margin.

    Raises:
        ValueError: when the two have different lengths, are empty or not finite, or an option is out of range.
    """
    first, second = np.asarray(reference, dtype=np.float64), np.asarray(candidate, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise ValueError(f"The measures have shapes {first.shape} and {second.shape}; give one pair for each subject.")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("A measure is NaN or infinite; the pair cannot be compared.")
    if not (math.isfinite(margin) and margin > 0):
        raise ValueError(f"margin is {margin!r}; give a positive number.")
    if not 0.5 <= confidence < 1:
        raise ValueError(f"confidence is {confidence!r}; give a number from 0.5 to less than 1.")
    losses = first - second if higher_is_better else second - first
    n, loss = len(losses), float(losses.mean())
    if n < 2:
        return PairedComparison(n, loss, math.nan, math.nan, math.nan, False)
    if np.ptp(losses) == 0:
        # The same in closed form; with no variance scipy warns, and what it gives depends on rounding.
        loss = float(losses[0])
        return PairedComparison(
            n, loss, loss, _without_variance(-loss), _without_variance(loss - margin), loss < margin
        )
    error = float(losses.std(ddof=1)) / math.sqrt(n)
    upper = loss + float(stats.t.ppf(confidence, n - 1)) * error
    p_worse = float(stats.ttest_1samp(losses, 0.0, alternative="greater").pvalue)
    p_non_inferior = float(stats.ttest_1samp(losses, margin, alternative="less").pvalue)
    return PairedComparison(n, loss, upper, p_worse, p_non_inferior, upper < margin)


def _without_variance(difference: float) -> float:
    """Return p of the alternative that a mean is below a bound, where it lies ``difference`` above without variance."""
    return math.nan if difference == 0 else float(difference > 0)
