# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The chance of a complete response to therapy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mri_phantom.breast_response import response_probability
from mri_phantom.breast_tissue import BREAST_TISSUES, draw_breast_tissues

TUMOUR = BREAST_TISSUES["malignant"]


def test_log_odds_are_those_documented() -> None:
    chance = response_probability(replace(TUMOUR, ktrans=0.5, ve=0.4, adc=0.9))
    expected = -0.9 + 5 * np.log(0.5 / 0.45) + 2.5 * np.log(0.5 / 0.4 / (0.45 / 0.36)) - 12 * np.log(0.9 / 0.95)
    assert np.log(chance / (1 - chance)) == pytest.approx(expected)


@pytest.mark.parametrize(("change", "likelier"), [({"ktrans": 0.6}, True), ({"ve": 0.3}, True), ({"adc": 1.1}, False)])
def test_perfused_and_cellular_tumours_respond(change: dict, likelier: bool) -> None:
    assert (response_probability(replace(TUMOUR, **change)) > response_probability(TUMOUR)) == likelier


def test_about_a_third_of_the_patients_respond_and_there_is_something_to_learn() -> None:
    drawn = [draw_breast_tissues(np.random.default_rng(seed))["malignant"] for seed in range(400)]
    chances = np.array([response_probability(tumour) for tumour in drawn])
    assert 0.3 < chances.mean() < 0.4
    responds = np.random.default_rng(0).random(len(chances)) < chances
    # area under the receiver operating characteristic of who knows the tissue
    area = (chances[responds][:, None] > chances[~responds]).mean()
    assert area > 0.8
