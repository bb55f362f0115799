# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Signal equations against closed forms and the Bloch equations in small steps; the contrasts of both protocols."""

from __future__ import annotations

import numpy as np
import pytest

from mri_phantom.kinetics import extended_tofts
from mri_phantom.signal import (
    brain_signals,
    breast_signals,
    inversion_recovery,
    relaxation_with_gadolinium,
    spin_echo,
    spoiled_gradient_echo,
    t1gd_signal,
)
from mri_phantom.tissue import (
    BRAIN_TISSUES,
    BREAST_TISSUES,
    Tissue,
    draw_brain_tissues,
    draw_breast_tissues,
    parameters,
)

TIMES = (0, 90, 180, 270, 360, 450)
B_VALUES = (0, 150, 800, 1500)
BREAST = list(BREAST_TISSUES)
MEANS = parameters(BREAST_TISSUES.values())


def longitudinal(start: float, duration: float, t1: float, steps: int = 20000) -> float:
    """Integrate dM/dt = (1 - M) / T1 by the midpoint rule."""
    magnetisation, step = start, duration / steps
    for _ in range(steps):
        middle = magnetisation + 0.5 * step * (1 - magnetisation) / t1
        magnetisation += step * (1 - middle) / t1
    return magnetisation


@pytest.mark.parametrize(("t1", "t2"), [(832.0, 78.0), (4300.0, 2000.0)])
def test_spin_echoes_are_the_bloch_equations_steady_state(t1: float, t2: float) -> None:
    expected = 0.7 * longitudinal(0.0, 500.0, t1) * np.exp(-12.0 / t2)
    assert spin_echo(0.7, t1, t2, repetition_time=500, echo_time=12) == pytest.approx(expected, rel=1e-6)
    # 180°, wait TI, 90° (nothing is left along the field), wait TR - TI, and again
    before_inversion = longitudinal(0.0, 9000.0 - 2500.0, t1)
    expected = 0.8 * abs(longitudinal(-before_inversion, 2500.0, t1)) * np.exp(-140.0 / t2)
    signal = inversion_recovery(0.8, t1, t2, repetition_time=9000, inversion_time=2500, echo_time=140)
    assert signal == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(("t1", "flip_angle"), [(420.0, 3.0), (1680.0, 12.0), (1680.0, 90.0), (420.0, 130.0)])
def test_spoiled_gradient_echo_is_the_steady_state_of_many_pulses(t1: float, flip_angle: float) -> None:
    magnetisation, angle = 1.0, np.deg2rad(flip_angle)
    for _ in range(3000):
        magnetisation = 1 + (magnetisation * np.cos(angle) - 1) * np.exp(-5.5 / t1)
    expected = 0.8 * magnetisation * np.sin(angle) * np.exp(-2.5 / 60)
    signal = spoiled_gradient_echo(0.8, t1, 60.0, repetition_time=5.5, echo_time=2.5, flip_angle=flip_angle)
    assert signal == pytest.approx(expected, rel=1e-5)


def test_gadolinium_adds_relaxation_rates() -> None:
    t1, t2 = relaxation_with_gadolinium(1000.0, 100.0, 0.5)
    assert (1000 / t1, 1000 / t2) == (pytest.approx(1 + 3.7 * 0.5), pytest.approx(10 + 5.2 * 0.5))


def brain_signals_of(tissues: dict[str, Tissue]) -> dict[str, dict[str, float]]:
    """Return sequence → tissue → signal."""
    return {name: dict(zip(tissues, values, strict=True)) for name, values in brain_signals(tissues).items()}


def test_t1gd_is_t1_without_contrast_agent_and_saturates_with_it() -> None:
    tissue = BRAIN_TISSUES["enhancing_tumour"]
    signals = brain_signals_of(BRAIN_TISSUES)
    dose = np.array([0.0, 0.6, tissue.gadolinium, 1.8])
    signal = t1gd_signal(tissue.proton_density, tissue.t1, tissue.t2, dose)
    assert signal[0] == signals["t1"]["enhancing_tumour"]
    assert signal[2] == signals["t1gd"]["enhancing_tumour"]
    assert (np.diff(signal) > 0).all()
    assert signal[3] - signal[2] < 0.2 * (signal[1] - signal[0])


@pytest.mark.parametrize("seed", range(3))
def test_brain_contrasts_and_what_gadolinium_and_flair_alone_separate(seed: int) -> None:
    signals = brain_signals_of(draw_brain_tissues(np.random.default_rng(seed)))
    assert signals["t1"]["white_matter"] > signals["t1"]["grey_matter"] > signals["t1"]["csf"]
    assert signals["t2"]["csf"] > signals["t2"]["oedema"] > signals["t2"]["grey_matter"] > signals["t2"]["white_matter"]
    assert signals["flair"]["oedema"] > signals["flair"]["grey_matter"] > 5 * signals["flair"]["csf"]
    for shown, plain in (("enhancing_tumour", "tumour"), ("cortical_vessel", "grey_matter")):
        for sequence in ("t1", "t2", "flair"):
            assert signals[sequence][shown] == signals[sequence][plain]
        assert signals["t1gd"][shown] > 1.5 * signals["t1gd"][plain]
    difference = {name: abs(of["fluid_oedema"] - of["csf"]) / max(of.values()) for name, of in signals.items()}
    assert difference["t1"] < 0.15
    assert difference["t2"] < 0.1
    assert difference["flair"] > 0.5
    assert signals["flair"]["fluid_oedema"] > signals["flair"]["white_matter"]


@pytest.fixture(params=range(3))
def patient(request: pytest.FixtureRequest) -> dict[str, Tissue]:
    """The breast tissues of a patient."""
    return draw_breast_tissues(np.random.default_rng(request.param))


def breast_signals_of(tissues: dict[str, Tissue]) -> dict[str, dict[str, np.ndarray]]:
    """Return sequence → tissue → signals of its frames."""
    signals = breast_signals(parameters(tissues[name] for name in BREAST), TIMES, B_VALUES)
    return {sequence: dict(zip(BREAST, values.T, strict=True)) for sequence, values in signals.items()}


def test_a_frame_is_the_steady_state_at_its_middle() -> None:
    index, tissue = BREAST.index("malignant"), BREAST_TISSUES["malignant"]
    concentration = extended_tofts([(180 + 30 - 75) / 60], tissue.ktrans, tissue.ve, tissue.vp)[0]
    t1, t2 = 1 / (1 / tissue.t1 + 3.7e-3 * concentration), 1 / (1 / tissue.t2 + 5.2e-3 * concentration)
    expected = spoiled_gradient_echo(tissue.proton_density, t1, t2, repetition_time=5.5, echo_time=2.46, flip_angle=12)
    assert breast_signals(MEANS, TIMES, B_VALUES)["dce"][2, index] == pytest.approx(float(expected), rel=1e-4)


def test_enhancement_curves_are_those_of_the_tissues(patient: dict[str, Tissue]) -> None:
    dce = breast_signals_of(patient)["dce"]
    relative = {name: curve / curve[0] - 1 for name, curve in dce.items()}
    for name in ("malignant", "malignant_cellular", "vessel", "heart_blood"):
        # type III: highest in the first frame after the agent, falling by more than a tenth until the last
        assert (np.diff(dce[name][1:]) < 0).all(), name
        assert dce[name][-1] < 0.9 * dce[name][1], name
        assert relative[name][1] > 1, name
    for name in ("benign", "fibroglandular", "necrosis"):
        # type I: rises to the end
        assert (np.diff(dce[name]) > 0).all(), name
    # type II: neither rises nor falls much after the first two minutes
    assert dce["non_mass"][-1] == pytest.approx(dce["non_mass"][2], rel=0.2)
    assert relative["malignant"][1] > 2 * relative["benign"][1] > 2 * relative["necrosis"][1]
    assert relative["fibroglandular"].max() < relative["benign"].max()
    assert np.abs(relative["adipose"]).max() < 0.06
    assert (relative["cyst"] == 0).all()


def test_fat_is_bright_but_for_fat_saturation(patient: dict[str, Tissue]) -> None:
    signals = breast_signals_of(patient)
    for plain, saturated in (("t1", "fatsat_t1"), ("dce", "fatsat_dce")):
        fat, water = signals[plain]["adipose"], signals[plain]["fibroglandular"]
        assert fat[0] > 2 * water[0]
        np.testing.assert_allclose(signals[saturated]["adipose"], 0.04 * fat, rtol=1e-5)
        for name in set(BREAST) - {"adipose"}:
            np.testing.assert_array_equal(signals[saturated][name], signals[plain][name])
    assert signals["t2"]["adipose"] > signals["t2"]["fibroglandular"]
    assert signals["dwi"]["adipose"][0] < 0.15 * signals["dwi"]["fibroglandular"][0]


def test_diffusion_and_t2_tell_lesions_apart(patient: dict[str, Tissue]) -> None:
    signals = breast_signals_of(patient)
    assert all(signals["t2"]["cyst"] >= signals["t2"][name] for name in BREAST)
    last = {name: frames[-1] for name, frames in signals["dwi"].items()}
    assert last["malignant_cellular"] > last["malignant"] > 2 * max(last["fibroglandular"], last["cyst"])
    assert last["malignant"] > last["benign"]
    for name, frames in signals["dwi"].items():
        assert -np.log(frames[2] / frames[1]) / 0.65 == pytest.approx(patient[name].adc, rel=1e-4)


def test_dose_scales_and_arrival_shifts_the_enhancement() -> None:
    without = breast_signals(MEANS, TIMES, B_VALUES, dose=0.0)["dce"]
    np.testing.assert_array_equal(without, np.broadcast_to(without[:1], without.shape))
    late = breast_signals(MEANS, TIMES, B_VALUES, arrival=75 + 90)["dce"]
    np.testing.assert_array_equal(late[:2], without[:2])
    np.testing.assert_allclose(late[1:], breast_signals(MEANS, TIMES, B_VALUES)["dce"][:-1], rtol=1e-4)


def test_voxels_may_be_partly_fat_and_unevenly_saturated() -> None:
    voxels = {name: np.repeat(values[BREAST.index("adipose")], 3) for name, values in MEANS.items()}
    voxels["fat"] = np.array([0.0, 0.5, 1.0])
    signals = breast_signals(voxels, TIMES, B_VALUES, fat_residual=np.array([0.0, 0.0, 0.5]))
    np.testing.assert_allclose(signals["fatsat_t1"] / signals["t1"], [[1.0, 0.5, 0.5]], rtol=1e-6)
