# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Costs, compared with what is known of the networks."""

from __future__ import annotations

import pytest
import torch

from seq2seq_studies.comparison.comparison_settings import ComparisonSettings
from seq2seq_studies.comparison.costs import measure_inference, measure_training
from seq2seq_studies.comparison.methods import METHODS
from seq2seq_studies.comparison.recipes import build_recipe
from seq2seq_studies.comparison.resources import count_gmacs

BRAIN = {"t1": 1, "t1gd": 1, "t2": 1, "flair": 1}
SETTINGS = ComparisonSettings("out", size="tiny", slice_size=(32, 32), slices=1, batch_size=2, device="cpu")


@pytest.mark.parametrize("method", METHODS)
def test_training(method) -> None:
    costs = measure_training(SETTINGS, method, BRAIN)
    recipe = build_recipe(method, "tiny", BRAIN, 1, (32, 32), 1)
    assert costs["parameters"] == sum(weight.numel() for weight in recipe.network.parameters())
    assert (costs["discriminator_parameters"] > 0) == (recipe.discriminator is not None)
    assert costs["training_seconds"] > 0
    assert costs["training_gmacs"] > 0


def test_inference() -> None:
    pix2pix, mm_gan, seq2seq = (measure_inference(SETTINGS, name, BRAIN, (32, 32, 3)) for name in
                                ("pix2pix", "mm_gan", "seq2seq_a"))  # fmt: skip
    pair = build_recipe("pix2pix", "tiny", BRAIN, 1, (32, 32), 1).network.networks[0]
    with torch.no_grad():
        single = count_gmacs(lambda: pair(torch.rand(1, 1, 32, 32)))
    assert pix2pix["inference_gmacs"] == pix2pix["inference_gmacs_one_source"] == pytest.approx(3 * single)
    assert pix2pix["inference_seconds"] > 0
    assert mm_gan["inference_gmacs"] == mm_gan["inference_gmacs_one_source"] > 0
    # Three encodings and translations into one; one encoding, and translations into three.
    assert seq2seq["inference_gmacs"] > seq2seq["inference_gmacs_one_source"] > 0
