# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Discriminators: contract, and one per sequence."""

from __future__ import annotations

import pytest
import torch
from contract import NetworkContract

from seq2seq_mri.networks.discriminator import SequenceDiscriminators


class TestContract(NetworkContract):
    sizes = ((20, 24, 20), (21, 18, 19))

    def network(self, spatial_dims, timepoints):
        # One sequence only: the backward pass of one reaches no other's parameters.
        return SequenceDiscriminators(spatial_dims, {"wash-in": 1}, in_channels=2, channels=3, num_layers=1)

    def inputs(self, spatial_dims, timepoints, size):
        return torch.randn(2, timepoints, 2, *size), "wash-in"

    def output_shape(self, spatial_dims, timepoints, size):
        return 2, timepoints, 1, *(length // 2 - 2 for length in size)


def test_each_sequence_has_its_own() -> None:
    torch.manual_seed(0)
    discriminators = SequenceDiscriminators(2, {"t1": 1, "dce": 3}, in_channels=1, channels=4, num_layers=2)
    image = torch.randn(1, 3, 1, 32, 32)
    discriminators(image, "dce").sum().backward()
    assert all(parameter.grad is None for parameter in discriminators["t1"].parameters())
    assert all(parameter.grad is not None for parameter in discriminators["dce"].parameters())
    assert not torch.equal(discriminators(image, "t1"), discriminators(image, "dce"))
    with pytest.raises(ValueError, match="Unknown sequence 'pd'; the sequence table has t1, dce"):
        discriminators(image, "pd")
