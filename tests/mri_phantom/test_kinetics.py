# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Pharmacokinetics against slow quadrature and closed forms."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad

from mri_phantom.kinetics import extended_tofts, population_arterial_input

TIMES = [0.0, 0.4, 0.55, 0.7, 1.5, 4.0, 8.0]


def integrated(time: float, ktrans: float, ve: float, vp: float) -> float:
    """Return the equation at one time, by adaptive quadrature between the features of the arterial input."""
    if time < 0:
        return 0.0

    def leaked(moment: float) -> float:
        return float(population_arterial_input(np.array(moment))) * np.exp(-ktrans / ve * (time - moment))

    borders = [0.0, *(feature for feature in (0.17, 0.3, 0.48, 0.8) if feature < time), time]
    pieces = [quad(leaked, *ends, epsabs=1e-11)[0] for ends in pairwise(borders)]
    return vp * float(population_arterial_input(np.array(time))) + ktrans * sum(pieces)


@pytest.mark.parametrize(("ktrans", "ve"), [(0.4, 0.4), (0.05, 0.8), (1e-4, 0.3), (0.002, 1.0), (2.0, 0.1)])
def test_extended_tofts_is_the_integral(ktrans: float, ve: float) -> None:
    expected = [integrated(time - 0.5, ktrans, ve, 0.05) for time in TIMES]
    concentration = extended_tofts(TIMES, ktrans, ve, 0.05, arrival=0.5)
    np.testing.assert_allclose(concentration, expected, rtol=4e-3)
    assert (concentration[:2] == 0).all()


def test_linear_arterial_input_is_integrated_exactly() -> None:
    # steps of 0.005 minutes: the series, its border and the closed form of the weights
    rates, times, ve = [0.0, 1e-9, 0.5, 1.999, 2.001, 3.0, 400.0], [0.01, 0.4], 0.2
    concentration = extended_tofts(times, np.multiply(rates, ve), ve, 0.0, arterial_input=lambda t: 1 + 5 * t)

    def leaked(time: float, rate: float) -> float:
        return rate * ve * quad(lambda s: (1 + 5 * s) * np.exp(-rate * (time - s)), 0, time)[0]

    expected = [[leaked(time, rate) for rate in rates] for time in times]
    np.testing.assert_allclose(concentration, expected, rtol=1e-9)


def test_limits() -> None:
    minutes = np.array(TIMES)
    plasma = population_arterial_input(minutes)
    # nothing leaks, or there is no space to leak into
    for ktrans, ve in ((0.0, 0.3), (0.2, 0.0), (0.0, 0.0)):
        np.testing.assert_allclose(extended_tofts(minutes, ktrans, ve, 0.1), 0.1 * plasma, rtol=1e-12)
    # exchange so fast that the space follows plasma
    np.testing.assert_allclose(extended_tofts(minutes, 1e7, 0.3, 0.0)[1:], 0.3 * plasma[1:], rtol=1e-3)


def test_shapes_and_equal_voxels() -> None:
    generator = np.random.default_rng(0)
    ktrans = generator.uniform(0, 1, (3, 1, 5))
    ve = np.array([0.0, 0.2, 0.5, 0.2]).reshape(1, 4, 1)
    concentration = extended_tofts(TIMES, ktrans, ve, 0.02)
    assert concentration.shape == (len(TIMES), 3, 4, 5)
    np.testing.assert_array_equal(concentration[:, :, 1], concentration[:, :, 3])
    alone = extended_tofts(TIMES, ktrans[1, 0, 2], 0.5, 0.02)
    np.testing.assert_allclose(concentration[:, 1, 2, 2], alone, rtol=1e-12)


def test_arterial_input_is_a_bolus_in_plasma() -> None:
    times = np.linspace(-1, 10, 11001)
    plasma = population_arterial_input(times)
    assert (plasma[times < 0] == 0).all()
    assert (plasma[times >= 0] > 0).all()
    assert times[plasma.argmax()] == pytest.approx(0.17, abs=0.005)
    # in blood, the height of the first Gaussian with a little of the second
    assert plasma.max() * 0.58 == pytest.approx(0.809 / (0.0563 * np.sqrt(2 * np.pi)) + 0.33, rel=0.02)
    late = times > 2
    np.testing.assert_allclose(plasma[late], 1.05 * np.exp(-0.1685 * times[late]) / 0.58, rtol=1e-6)
