# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The networks that are compared."""

from __future__ import annotations

import pytest
import torch

from seq2seq_studies.comparison.methods import METHODS, build_network

SEQUENCES = {"t1": 1, "dce": 2, "t2": 1}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", ["tiny", "reduced"])
def test_all_complete_and_end_in_the_same_activation(method, size) -> None:
    torch.manual_seed(0)
    network = build_network(method, size, SEQUENCES, 3, (32, 40)).eval()
    image, available = 50 * torch.rand(1, 4, 3, 32, 40), torch.tensor([[True, False, False]])
    with torch.no_grad():
        made = network(image, available)[:, 1:]
    assert made.shape == (1, 3, 3, 32, 40)
    assert made.abs().max() <= 1


def test_the_sequence_generators_differ_in_their_conditioning_only() -> None:
    networks = [build_network(f"seq2seq_{letter}", "tiny", SEQUENCES, 1, (32, 32)) for letter in "abc"]
    encoders = {sum(weight.numel() for weight in network.generator.encoder.parameters()) for network in networks}
    assert len(encoders) == 1
    assert len({sum(weight.numel() for weight in network.parameters()) for network in networks}) == 3
