# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The paired tests against scipy, closed forms and their meaning."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from seq2seq_studies.segmentation.non_inferiority import compare_with_reference


def drawn(seed: int, n: int = 11) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    reference = random.uniform(0.6, 0.95, n)
    return reference, reference - random.normal(0.02, 0.04, n)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_against_scipy(seed, confidence) -> None:
    reference, candidate = drawn(seed)
    result = compare_with_reference(reference, candidate, 0.05, True, confidence)
    assert result.n == 11
    assert result.loss == pytest.approx(np.mean(reference) - np.mean(candidate))
    paired = stats.ttest_rel(reference, candidate, alternative="greater")
    assert result.p_worse == pytest.approx(paired.pvalue)
    shifted = stats.ttest_rel(candidate + 0.05, reference, alternative="greater")
    assert result.p_non_inferior == pytest.approx(shifted.pvalue)
    # The one-sided limit is an end of the two-sided interval at twice the level.
    interval = stats.ttest_rel(reference, candidate).confidence_interval(2 * confidence - 1)
    assert result.upper == pytest.approx(interval.high)
    assert result.non_inferior == (result.p_non_inferior < 1 - confidence)


def test_by_hand() -> None:
    """Losses 1, 2, 3: mean 2, deviation 1, so t = 2 sqrt(3) with two degrees of freedom; p in closed form."""
    result = compare_with_reference([1, 2, 3], [0, 0, 0], 4.0, True)
    t = 2 * math.sqrt(3)
    p = 0.5 - t / (2 * math.sqrt(2 + t * t))  # of Student's distribution with two degrees of freedom
    assert result.loss == 2
    assert result.p_worse == pytest.approx(p)
    assert result.p_non_inferior == pytest.approx(p)  # 4 lies as far above the mean as 0 lies below


def test_of_distances_less_is_better() -> None:
    reference, candidate = drawn(1)
    as_dsc = compare_with_reference(reference, candidate, 0.1, True)
    as_distance = compare_with_reference(-reference, -candidate, 0.1, False)
    assert as_dsc == pytest.approx(as_distance)


def test_a_large_p_is_not_non_inferiority() -> None:
    result = compare_with_reference([0.9, 0.5, 0.8], [0.5, 0.8, 0.7], 0.05, True)
    assert result.p_worse > 0.3
    assert not result.non_inferior


@pytest.mark.parametrize(
    ("loss", "p_worse", "p_non_inferior", "non_inferior"),
    [(0.0, math.nan, 0.0, True), (0.25, 0.0, 0.0, True), (0.5, 0.0, math.nan, False), (1.0, 0.0, 1.0, False)],
)
def test_equal_losses(loss, p_worse, p_non_inferior, non_inferior) -> None:
    result = compare_with_reference(np.ones(4), np.ones(4) - loss, 0.5, True)
    assert result == pytest.approx((4, loss, loss, p_worse, p_non_inferior, non_inferior), nan_ok=True)


def test_a_gain_without_variance_is_not_worse() -> None:
    result = compare_with_reference(np.ones(4), np.ones(4) + 0.25, 0.5, True)
    assert (result.p_worse, result.p_non_inferior, result.non_inferior) == (1.0, 0.0, True)


def test_one_pair_allows_no_test() -> None:
    result = compare_with_reference([1.0], [0.9], 0.5, True)
    assert result.n == 1
    assert result.loss == pytest.approx(0.1)
    assert math.isnan(result.upper)
    assert math.isnan(result.p_worse)
    assert not result.non_inferior


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], [1.0, 2.0], 0.1, True), "one pair for each subject"),
        (([], [], 0.1, True), "one pair for each subject"),
        (([1.0, np.nan], [1.0, 2.0], 0.1, True), "NaN or infinite"),
        (([1.0], [1.0], 0.0, True), "margin is 0.0"),
        (([1.0], [1.0], 0.1, True, 1.0), "confidence is 1.0"),
    ],
)
def test_refuses(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        compare_with_reference(*arguments)
