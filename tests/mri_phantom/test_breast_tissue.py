# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The tissues of the simulated breast and their spread between subjects."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from mri_phantom.breast_tissue import (
    BREAST_TISSUES,
    BreastTissue,
    BreastTissueArrays,
    draw_breast_tissues,
)


def test_parameters_are_possible() -> None:
    for tissue in BREAST_TISSUES.values():
        assert 0 < tissue.proton_density <= 1
        assert 0 < tissue.t2 < tissue.t1
        assert tissue.adc > 0
        assert tissue.ktrans >= 0
        assert 0 <= tissue.ve + tissue.vp <= 1
    assert [name for name, tissue in BREAST_TISSUES.items() if tissue.fat] == ["adipose"]


def test_arrays_are_in_the_order_of_the_tissues() -> None:
    arrays = BreastTissueArrays.from_tissues(BREAST_TISSUES)
    for field in fields(BreastTissue):
        expected = [getattr(tissue, field.name) for tissue in BREAST_TISSUES.values()]
        np.testing.assert_array_equal(getattr(arrays, field.name), expected)
    assert [field.name for field in fields(BreastTissueArrays)] == [field.name for field in fields(BreastTissue)]


def test_draws_follow_the_seed() -> None:
    first, second, third = (draw_breast_tissues(np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert first == second
    assert first != third
    assert list(first) == list(BREAST_TISSUES)


def test_drawn_tissues_spread_about_their_means() -> None:
    generator = np.random.default_rng(0)
    drawn = [draw_breast_tissues(generator, spread=0.05)["malignant"] for _ in range(600)]
    mean = BREAST_TISSUES["malignant"]
    # clipping at two deviations takes 4 % off each of these
    expected = {"proton_density": 0.025, "t1": 0.05, "t2": 0.05, "adc": 0.1, "ktrans": 0.2, "ve": 0.05, "vp": 0.1}
    for attribute, spread in expected.items():
        values = np.log([getattr(tissue, attribute) / getattr(mean, attribute) for tissue in drawn])
        assert values.mean() == pytest.approx(0, abs=0.15 * spread)
        assert values.std() == pytest.approx(0.96 * spread, rel=0.1)
        assert np.abs(values).max() <= 2 * spread + 1e-9
    assert all(tissue.proton_density <= 1 for tissue in draw_breast_tissues(generator, spread=0.3).values())


@pytest.mark.parametrize("seed", range(5))
def test_what_differs_in_one_respect_is_drawn_as_one(seed: int) -> None:
    tissues = draw_breast_tissues(np.random.default_rng(seed))
    cellular, malignant = tissues["malignant_cellular"], tissues["malignant"]
    assert replace(cellular, adc=malignant.adc) == malignant
    assert cellular.adc < 0.75 * malignant.adc

    non_mass, gland = tissues["non_mass"], tissues["fibroglandular"]
    assert replace(non_mass, ktrans=gland.ktrans, ve=gland.ve, vp=gland.vp) == gland
    assert non_mass.ktrans > 2 * gland.ktrans
    assert tissues["vessel"] == tissues["heart_blood"]
