# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The contrasts of a breast protocol: enhancement curves, fat saturation and diffusion."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mri_phantom.breast_signal import breast_signals
from mri_phantom.breast_tissue import BREAST_TISSUES, BreastTissueArrays, draw_breast_tissues
from mri_phantom.kinetics import extended_tofts
from mri_phantom.signal import spoiled_gradient_echo

TIMES = (0, 90, 180, 270, 360, 450)
B_VALUES = (0, 150, 800, 1500)
NAMES = list(BREAST_TISSUES)
MEANS = BreastTissueArrays.from_tissues(BREAST_TISSUES)


def signals_of(seed: int | None) -> dict[str, dict[str, np.ndarray]]:
    """Return sequence → tissue → signals of its frames, of the mean tissues or of a subject."""
    tissues = BREAST_TISSUES if seed is None else draw_breast_tissues(np.random.default_rng(seed))
    signals = breast_signals(BreastTissueArrays.from_tissues(tissues), TIMES, B_VALUES)
    return {sequence: dict(zip(NAMES, values.T, strict=True)) for sequence, values in signals.items()}


def test_shapes_and_ranges() -> None:
    signals = breast_signals(MEANS, TIMES[:5], B_VALUES[:3])
    frames = {"t1": 1, "fatsat_t1": 1, "t2": 1, "dce": 5, "fatsat_dce": 5, "dwi": 3}
    assert {name: values.shape for name, values in signals.items()} == {
        name: (count, len(NAMES)) for name, count in frames.items()
    }
    for values in signals.values():
        assert values.dtype == np.float32
        assert values.min() >= 0
        assert values.max() <= 1


def test_a_frame_is_the_steady_state_at_its_middle() -> None:
    index, tissue = NAMES.index("malignant"), BREAST_TISSUES["malignant"]
    concentration = extended_tofts([(180 + 30 - 75) / 60], tissue.ktrans, tissue.ve, tissue.vp)[0]
    t1, t2 = 1 / (1 / tissue.t1 + 3.7e-3 * concentration), 1 / (1 / tissue.t2 + 5.2e-3 * concentration)
    expected = spoiled_gradient_echo(tissue.proton_density, t1, t2, repetition_time=5.5, echo_time=2.46, flip_angle=12)
    assert breast_signals(MEANS, TIMES, B_VALUES)["dce"][2, index] == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("seed", [None, *range(40)])
def test_enhancement_curves_are_those_of_the_tissues(seed: int | None) -> None:
    dce = signals_of(seed)["dce"]
    relative = {name: curve / curve[0] - 1 for name, curve in dce.items()}

    for name in ("malignant", "malignant_cellular", "vessel", "heart_blood"):
        # type III: highest in the first frame after the agent, falling by more than a tenth until the last
        assert relative[name].argmax() == 1, name
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


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_fat_is_bright_but_for_fat_saturation(seed: int | None) -> None:
    signals = signals_of(seed)
    for plain, saturated in (("t1", "fatsat_t1"), ("dce", "fatsat_dce")):
        fat, water = signals[plain]["adipose"], signals[plain]["fibroglandular"]
        assert fat[0] > 2 * water[0]
        np.testing.assert_allclose(signals[saturated]["adipose"], 0.04 * fat, rtol=1e-5)
        assert (signals[saturated]["adipose"] < 0.3 * water).all()
        for name in set(NAMES) - {"adipose"}:
            np.testing.assert_array_equal(signals[saturated][name], signals[plain][name])
    assert signals["t2"]["adipose"] > signals["t2"]["fibroglandular"]
    assert signals["dwi"]["adipose"][0] < 0.15 * signals["dwi"]["fibroglandular"][0]


@pytest.mark.parametrize("seed", [None, *range(10)])
def test_diffusion_and_t2_tell_lesions_apart(seed: int | None) -> None:
    signals = signals_of(seed)
    t2, dwi = signals["t2"], signals["dwi"]
    water = set(NAMES) - {"adipose"}
    assert all(t2["cyst"] >= t2[name] for name in NAMES)
    assert all(dwi["cyst"][0] >= dwi[name][0] for name in water)
    last = {name: frames[-1] for name, frames in dwi.items()}
    assert last["malignant_cellular"] > last["malignant"] > 2 * last["fibroglandular"]
    assert last["malignant"] > 2 * last["cyst"]
    assert last["malignant"] > last["benign"]
    for name, frames in dwi.items():
        assert (np.diff(frames) < 0).all(), name
    adc = -np.log(dwi["benign"][2] / dwi["benign"][1]) / 0.65
    expected = BREAST_TISSUES["benign"] if seed is None else draw_breast_tissues(np.random.default_rng(seed))["benign"]
    assert adc == pytest.approx(expected.adc, rel=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_some_things_only_one_kind_of_sequence_shows(seed: int) -> None:
    signals = signals_of(seed)
    for sequence, frames in signals.items():
        cellular, malignant = frames["malignant_cellular"], frames["malignant"]
        non_mass, gland = frames["non_mass"], frames["fibroglandular"]
        if sequence == "dwi":
            assert (cellular[1:] > malignant[1:]).all()
            assert cellular[-1] > 1.3 * malignant[-1]
        else:
            np.testing.assert_array_equal(cellular, malignant)
        if sequence in ("dce", "fatsat_dce"):
            assert (non_mass[1:] > 1.3 * gland[1:]).all()
            assert non_mass[0] == gland[0]
        else:
            np.testing.assert_array_equal(non_mass, gland)


def test_dose_scales_and_arrival_shifts_the_enhancement() -> None:
    without = breast_signals(MEANS, TIMES, B_VALUES, dose=0.0)["dce"]
    np.testing.assert_array_equal(without, np.broadcast_to(without[:1], without.shape))
    late = breast_signals(MEANS, TIMES, B_VALUES, arrival=75 + 90)["dce"]
    np.testing.assert_array_equal(late[:2], without[:2])
    np.testing.assert_allclose(late[1:], breast_signals(MEANS, TIMES, B_VALUES)["dce"][:-1], rtol=1e-4)


def test_voxels_may_be_partly_fat_and_unevenly_saturated() -> None:
    count = NAMES.index("adipose")
    voxels = BreastTissueArrays(**{name: np.repeat(values[count], 3) for name, values in vars(MEANS).items()})
    voxels = replace(voxels, fat=np.array([0.0, 0.5, 1.0]))
    signals = breast_signals(voxels, TIMES, B_VALUES, fat_residual=np.array([0.0, 0.0, 0.5]))
    np.testing.assert_allclose(signals["fatsat_t1"] / signals["t1"], [[1.0, 0.5, 0.5]], rtol=1e-6)


def test_the_first_frame_must_be_before_the_agent() -> None:
    with pytest.raises(ValueError, match="The first frame of DCE is measured at 90 s"):
        breast_signals(MEANS, (60, 150), B_VALUES)


def test_b_values_must_not_be_negative() -> None:
    with pytest.raises(ValueError, match="b-values are"):
        breast_signals(MEANS, TIMES, (0, -150))
