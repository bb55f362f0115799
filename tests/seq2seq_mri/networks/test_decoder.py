# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The decoder: each conditioning really conditions, and outputs have the range of their activation."""

from __future__ import annotations

import pytest
import torch

from seq2seq_mri.networks.conditioning import Conditioning
from seq2seq_mri.networks.decoder import conditional_decoder


@pytest.mark.parametrize("kind", ["hyper", "adain", "dynamic"])
def test_targets_differ_from_the_start(kind: str) -> None:
    torch.manual_seed(0)
    decoder = conditional_decoder(Conditioning(kind, 2, 8), 1, (8, 8), num_res_blocks=1)
    features = torch.randn(1, 8, 12, 12)
    with torch.no_grad():
        images = torch.cat([decoder(features, torch.eye(4)[i : i + 1]) for i in range(4)])
    assert min((images[i] - images[j]).abs().mean().item() for i in range(4) for j in range(i)) > 0.02


@pytest.mark.parametrize(("activation", "low", "high"), [("tanh", -1, 1), ("sigmoid", 0, 1)])
def test_range_of_the_output(activation: str, low: float, high: float) -> None:
    torch.manual_seed(0)
    decoder = conditional_decoder(Conditioning("hyper", 2, 4), 1, (4, 4), 1, output_activation=activation)
    image = decoder(torch.randn(1, 4, 8, 8), torch.eye(1, 4))
    assert low <= image.min() < (low + high) / 2 < image.max() <= high
    decoder.output_activation = "none"
    raw = decoder(torch.randn(1, 4, 8, 8), torch.eye(1, 4))
    assert raw.abs().max() > 1
