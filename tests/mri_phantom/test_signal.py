# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The signal equations against closed forms and against the Bloch equations integrated in small steps."""

from __future__ import annotations

import numpy as np
import pytest

from mri_phantom.signal import (
    brain_signals,
    diffusion_weighted,
    inversion_recovery,
    relaxation_with_gadolinium,
    spin_echo,
    spoiled_gradient_echo,
    t1gd_signal,
)
from mri_phantom.tissue import TISSUES, draw_tissues


def longitudinal(start: float, duration: float, t1: float, steps: int = 20000) -> float:
    """Integrate dM/dt = (1 - M) / T1 by the midpoint rule."""
    magnetisation, step = start, duration / steps
    for _ in range(steps):
        middle = magnetisation + 0.5 * step * (1 - magnetisation) / t1
        magnetisation += step * (1 - middle) / t1
    return magnetisation


@pytest.mark.parametrize(("t1", "t2"), [(832.0, 78.0), (1331.0, 92.0), (4300.0, 2000.0)])
def test_spin_echo_is_the_bloch_equations_solution(t1: float, t2: float) -> None:
    recovered = longitudinal(0.0, 500.0, t1)
    expected = 0.7 * recovered * np.exp(-12.0 / t2)
    assert spin_echo(0.7, t1, t2, repetition_time=500, echo_time=12) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("t1", "t2"), [(832.0, 78.0), (1331.0, 92.0), (4300.0, 2000.0)])
def test_inversion_recovery_is_the_bloch_equations_steady_state(t1: float, t2: float) -> None:
    # 180°, wait TI, 90° (nothing is left along the field), wait TR - TI, and again
    before_inversion = longitudinal(0.0, 9000.0 - 2500.0, t1)
    expected = 0.8 * abs(longitudinal(-before_inversion, 2500.0, t1)) * np.exp(-140.0 / t2)
    signal = inversion_recovery(0.8, t1, t2, repetition_time=9000, inversion_time=2500, echo_time=140)

    assert signal == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_spin_echo_limits() -> None:
    assert spin_echo(0.9, 1000, 100, repetition_time=1e9, echo_time=0) == pytest.approx(0.9)
    assert spin_echo(0.9, 1000, 100, repetition_time=0, echo_time=0) == 0
    one_constant = spin_echo(1.0, 700, 70, repetition_time=700, echo_time=70)
    assert one_constant == pytest.approx((1 - np.exp(-1)) * np.exp(-1))


def test_inversion_recovery_nulls_at_ln_2_times_t1() -> None:
    signal = inversion_recovery(1.0, 900, 80, repetition_time=1e9, inversion_time=900 * np.log(2), echo_time=10)
    assert signal == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("flip_angle", [3.0, 12.0, 60.0, 90.0, 130.0])
@pytest.mark.parametrize("t1", [420.0, 1680.0])
def test_spoiled_gradient_echo_is_the_steady_state_of_many_pulses(t1: float, flip_angle: float) -> None:
    magnetisation, angle = 1.0, np.deg2rad(flip_angle)
    for _ in range(3000):
        magnetisation = 1 + (magnetisation * np.cos(angle) - 1) * np.exp(-5.5 / t1)
    expected = 0.8 * magnetisation * np.sin(angle) * np.exp(-2.5 / 60)
    signal = spoiled_gradient_echo(0.8, t1, 60.0, repetition_time=5.5, echo_time=2.5, flip_angle=flip_angle)
    assert signal == pytest.approx(expected, rel=1e-5)


def test_spoiled_gradient_echo_is_highest_at_the_ernst_angle() -> None:
    kept = np.exp(-10 / 1000)
    ernst = float(np.rad2deg(np.arccos(kept)))
    below, best, above = (
        float(spoiled_gradient_echo(1.0, 1000, 50, repetition_time=10, echo_time=0, flip_angle=angle))
        for angle in (ernst - 0.1, ernst, ernst + 0.1)
    )
    assert below < best > above
    assert best == pytest.approx(np.sqrt((1 - kept) / (1 + kept)))


def test_spoiled_gradient_echo_with_90_degrees_is_saturation_recovery() -> None:
    t1 = np.array([300.0, 1500.0])
    signal = spoiled_gradient_echo(0.9, t1, 80, repetition_time=500, echo_time=12, flip_angle=90)
    np.testing.assert_allclose(signal, spin_echo(0.9, t1, 80, repetition_time=500, echo_time=12))
    assert spoiled_gradient_echo(0.9, 1000, 80, repetition_time=500, echo_time=12, flip_angle=0) == 0


def test_diffusion_decays_with_b_times_adc() -> None:
    assert diffusion_weighted(0.8, 1000, 1.0) == pytest.approx(0.8 * np.exp(-1))
    signal = diffusion_weighted(np.full(3, 0.5), np.array([[0.0], [800.0]]), np.array([0.0, 1.0, 2.0]))
    assert signal.shape == (2, 3)
    np.testing.assert_array_equal(signal[0], 0.5)
    np.testing.assert_allclose(np.log(signal[0] / signal[1]), [0.0, 0.8, 1.6], atol=1e-12)


def test_signals_broadcast() -> None:
    signal = spin_echo(np.ones((3, 1)), np.array([500.0, 900.0]), 80, repetition_time=500, echo_time=10)
    assert signal.shape == (3, 2)


def test_gadolinium_adds_relaxation_rates() -> None:
    t1, t2 = relaxation_with_gadolinium(1000.0, 100.0, 0.5, r1=4.0, r2=5.0)
    assert t1 == pytest.approx(1000 / 3)
    assert t2 == pytest.approx(80.0)
    unchanged = relaxation_with_gadolinium(1000.0, 100.0, 0.0)
    assert unchanged == (pytest.approx(1000.0), pytest.approx(100.0))


def test_contrasts_are_those_of_the_sequences() -> None:
    names = list(TISSUES)
    signals = {sequence: dict(zip(names, values, strict=True)) for sequence, values in brain_signals(TISSUES).items()}
    assert signals["t1"]["white_matter"] > signals["t1"]["grey_matter"] > signals["t1"]["csf"]
    assert signals["t2"]["csf"] > signals["t2"]["oedema"] > signals["t2"]["grey_matter"] > signals["t2"]["white_matter"]
    assert signals["flair"]["oedema"] > signals["flair"]["grey_matter"] > 10 * signals["flair"]["csf"]
    assert signals["t1gd"]["enhancing_tumour"] > 2 * signals["t1"]["enhancing_tumour"]


def test_t1gd_is_t1_without_contrast_agent_and_saturates_with_it() -> None:
    tissue = TISSUES["enhancing_tumour"]
    signals = {sequence: dict(zip(TISSUES, values, strict=True)) for sequence, values in brain_signals(TISSUES).items()}
    dose = np.array([0.0, 0.6, tissue.gadolinium, 1.8])
    signal = t1gd_signal(tissue.proton_density, tissue.t1, tissue.t2, dose)
    assert signal[0] == signals["t1"]["enhancing_tumour"]
    assert signal[2] == signals["t1gd"]["enhancing_tumour"]
    assert (np.diff(signal) > 0).all()
    assert signal[3] - signal[2] < 0.2 * (signal[1] - signal[0])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("shown", "plain"), [("enhancing_tumour", "tumour"), ("cortical_vessel", "grey_matter")])
def test_only_gadolinium_separates_what_enhances(seed: int, shown: str, plain: str) -> None:
    tissues = draw_tissues(np.random.default_rng(seed))
    enhancing, other = list(tissues).index(shown), list(tissues).index(plain)
    signals = brain_signals(tissues)
    for sequence in ("t1", "t2", "flair"):
        assert signals[sequence][enhancing] == signals[sequence][other]
    assert signals["t1gd"][enhancing] > 1.5 * signals["t1gd"][other]


@pytest.mark.parametrize("seed", range(5))
def test_only_flair_separates_fluid_oedema_from_fluid(seed: int) -> None:
    tissues = draw_tissues(np.random.default_rng(seed))
    oedema, fluid, white = (list(tissues).index(name) for name in ("fluid_oedema", "csf", "white_matter"))
    differences = {
        sequence: abs(values[oedema] - values[fluid]) / values.max()
        for sequence, values in brain_signals(tissues).items()
    }
    assert differences["t1"] < 0.15
    assert differences["t2"] < 0.1
    assert differences["flair"] > 0.5
    flair = brain_signals(tissues)["flair"]
    assert flair[oedema] > flair[white]


def test_drawn_tissues_spread_about_their_means() -> None:
    generator = np.random.default_rng(0)
    drawn = [draw_tissues(generator, spread=0.05)["grey_matter"] for _ in range(400)]
    mean = TISSUES["grey_matter"]
    for attribute, spread in (("proton_density", 0.025), ("t1", 0.05), ("t2", 0.05)):
        values = np.array([getattr(tissue, attribute) for tissue in drawn])
        assert values.mean() == pytest.approx(getattr(mean, attribute), rel=0.01)
        assert values.std() / values.mean() == pytest.approx(spread, rel=0.15)
    assert all(tissue.proton_density <= 1 for tissue in draw_tissues(generator, spread=0.3).values())
