# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Noise against Rice's distribution, the bias field, the point spread function, and stored integers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mri_phantom.scanner import acquire, bias_field, blurred, rician_noise


@pytest.mark.parametrize("signal", [0.0, 3.0, 20.0])
def test_noise_has_rices_distribution(signal: float) -> None:
    deviation = 1.5
    noisy = rician_noise(np.random.default_rng(1), np.full(200_000, signal, dtype=np.float32), deviation)
    expected = stats.rice(signal / deviation, scale=deviation)
    assert noisy.dtype == np.float32
    assert stats.kstest(noisy[:5000].astype(float), expected.cdf).pvalue > 0.001


def test_bias_field_is_smooth_one_at_the_centre_and_of_the_strength_asked_for() -> None:
    generator = np.random.default_rng(2)
    points = np.zeros((3, 181), dtype=np.float32)
    points[0] = np.linspace(-90, 90, 181)
    field = bias_field(generator, points, 0.1)
    assert (field > 0).all()
    assert field[90] == 1
    assert np.abs(np.diff(field)).max() < 0.02
    logarithms = [float(np.log(bias_field(generator, points[:, -1:], 0.1)[0])) for _ in range(2000)]
    assert np.std(logarithms) == pytest.approx(0.1, rel=0.1)
    assert bias_field(generator, points[:, -1:], 0.0) == 1


def test_blur_keeps_a_constant_and_nothing_comes_from_outside() -> None:
    inside = np.zeros((12, 13, 14), dtype=bool)
    inside[2:9, 3:10, 4:11] = True
    np.testing.assert_allclose(blurred(np.full(7**3, 3.0, dtype=np.float32), inside), 3.0, rtol=1e-5)
    # and of a point it makes the Gaussian
    inside = np.ones((15, 15, 15), dtype=bool)
    point = np.zeros(inside.shape)
    point[7, 7, 7] = 1
    spread = blurred(point[inside], inside, deviation=1.0).reshape(inside.shape)
    assert spread.sum() == pytest.approx(1, rel=1e-3)
    assert spread[8, 8, 8] / spread[7, 7, 7] == pytest.approx(np.exp(-1.5), rel=1e-3)


def test_frames_are_stored_as_integers_of_one_scale() -> None:
    inside = np.zeros((6, 7, 8), dtype=bool)
    inside[1:5, 1:6, 1:7] = True
    signal = np.array([0.4, 0.8, 0.0], dtype=np.float32)[:, None] * np.ones((3, inside.sum()), dtype=np.float32)
    stored = acquire(np.random.default_rng(0), signal, inside, np.float32(1), noise=0.0)
    assert stored.dtype == np.int16
    assert (stored[:, ~inside] == 0).all()
    assert (stored[2, inside] == 1).all(), "tissue without signal is not background"
    assert 2000 <= stored.max() <= 4000
    np.testing.assert_allclose(stored[1, inside], 2 * stored[0, inside].astype(float), atol=1)
