# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The tables of tissues and their spread between subjects; shares of tissues; the chance of a response to therapy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mri_phantom.breast_lesion import response_probability
from mri_phantom.fractions import Fractions
from mri_phantom.tissue import (
    BRAIN_TISSUES,
    BREAST_TISSUES,
    draw_brain_tissues,
    draw_breast_tissues,
)

TUMOUR = BREAST_TISSUES["malignant"]


@pytest.mark.parametrize(
    ("draw", "mean", "spreads"),
    [
        (draw_brain_tissues, "grey_matter", {"proton_density": 0.006, "t1": 0.012, "t2": 0.012}),
        # clipping at two deviations takes 4 % off each of these
        (
            draw_breast_tissues,
            "malignant",
            {"proton_density": 0.0058, "t1": 0.0115, "adc": 0.096, "ktrans": 0.19, "ve": 0.048, "vp": 0.096},
        ),
    ],
)
def test_drawn_tissues_spread_about_their_means(draw, mean: str, spreads: dict[str, float]) -> None:
    generator = np.random.default_rng(0)
    drawn = [draw(generator)[mean] for _ in range(600)]
    for attribute, spread in spreads.items():
        reference = getattr((BRAIN_TISSUES | BREAST_TISSUES)[mean], attribute)
        values = np.log([getattr(tissue, attribute) / reference for tissue in drawn])
        assert values.mean() == pytest.approx(0, abs=0.15 * spread)
        assert values.std() == pytest.approx(spread, rel=0.1)
        assert np.abs(values).max() < 2.7 * spread


@pytest.mark.parametrize("seed", range(3))
def test_what_differs_in_one_respect_is_drawn_as_one(seed: int) -> None:
    tissues = draw_breast_tissues(np.random.default_rng(seed))
    cellular, malignant = tissues["malignant_cellular"], tissues["malignant"]
    assert replace(cellular, adc=malignant.adc) == malignant
    assert cellular.adc < 0.75 * malignant.adc
    for name in ("non_mass", "benign_isointense"):
        other, gland = tissues[name], tissues["fibroglandular"]
        assert replace(other, ktrans=gland.ktrans, ve=gland.ve, vp=gland.vp) == gland
        assert other.ktrans > 2 * gland.ktrans
    assert tissues["vessel"] == tissues["heart_blood"]


def test_shares_of_tissues_sum_to_one() -> None:
    generator = np.random.default_rng(0)
    fractions = Fractions.of_one("a", "abc", np.zeros((3, 50)), width=1.0)
    first, second, third = generator.random((3, 50)).astype(np.float32)
    first[:10] = 0
    fractions.paint("b", first)
    np.testing.assert_allclose(fractions.values, [1 - first, first, 0 * first], rtol=1e-6)
    fractions.paint("c", second)
    fractions.convert("b", "a", third)
    np.testing.assert_allclose(fractions["b"], first * (1 - second) * (1 - third), rtol=1e-5)
    np.testing.assert_allclose(fractions["c"], second, rtol=1e-6)
    np.testing.assert_allclose(fractions.values.sum(axis=0), 1, rtol=1e-6)


def test_log_odds_of_a_response_are_those_documented() -> None:
    chance = response_probability(replace(TUMOUR, ktrans=0.5, ve=0.4, adc=0.9))
    expected = -0.9 + 5 * np.log(0.5 / 0.45) + 2.5 * np.log(0.5 / 0.4 / (0.45 / 0.36)) - 12 * np.log(0.9 / 0.95)
    assert np.log(chance / (1 - chance)) == pytest.approx(expected)


def test_about_a_third_of_the_patients_respond_and_there_is_something_to_learn() -> None:
    drawn = [draw_breast_tissues(np.random.default_rng(seed))["malignant"] for seed in range(400)]
    chances = np.array([response_probability(tumour) for tumour in drawn])
    assert 0.3 < chances.mean() < 0.4
    responds = np.random.default_rng(0).random(len(chances)) < chances
    # area under the receiver operating characteristic of who knows the tissue
    area = (chances[responds][:, None] > chances[~responds]).mean()
    assert area > 0.8
