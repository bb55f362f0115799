# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Costs, compared with what is known of the networks."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from seq2seq_studies.comparison.arithmetic import count_gmacs
from seq2seq_studies.comparison.costs import CostMeasurement, measure_inference, measure_training
from seq2seq_studies.comparison.methods import METHODS
from seq2seq_studies.comparison.recipes import build_recipe

BRAIN = {"t1": 1, "t1gd": 1, "t2": 1, "flair": 1}
MEASUREMENT = CostMeasurement("mm_gan", "tiny", BRAIN, 1, (32, 32), 2, (32, 32, 3), 2, "cpu")


@pytest.mark.parametrize("method", METHODS)
def test_training(method) -> None:
    costs = measure_training(dataclasses.replace(MEASUREMENT, method=method))
    recipe = build_recipe(method, "tiny", BRAIN, 1, (32, 32), 1)
    assert costs["parameters"] == sum(weight.numel() for weight in recipe.network.parameters())
    assert (costs["discriminator_parameters"] > 0) == (recipe.discriminator is not None)
    assert costs["training_seconds"] > 0
    assert costs["training_gmacs"] > 0


def test_inference_of_pix2pix_is_one_network_for_each_source() -> None:
    costs = measure_inference(dataclasses.replace(MEASUREMENT, method="pix2pix"))
    pair = build_recipe("pix2pix", "tiny", BRAIN, 1, (32, 32), 1).network.networks[0]
    with torch.no_grad():
        single = count_gmacs(lambda: pair(torch.rand(1, 1, 32, 32)))
    assert costs["inference_gmacs"] == pytest.approx(3 * single)
    assert costs["inference_gmacs_one_source"] == pytest.approx(3 * single)
    assert costs["inference_seconds"] > 0


def test_mm_gan_costs_the_same_whatever_is_missing() -> None:
    costs = measure_inference(MEASUREMENT)
    assert costs["inference_gmacs"] == costs["inference_gmacs_one_source"] > 0


def test_seq2seq_encodes_each_source_once() -> None:
    costs = measure_inference(dataclasses.replace(MEASUREMENT, method="seq2seq_a"))
    # Three encodings and translations into one; one encoding, and translations into three.
    assert costs["inference_gmacs"] > costs["inference_gmacs_one_source"] > 0
