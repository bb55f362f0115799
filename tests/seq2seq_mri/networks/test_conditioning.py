# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What a target's code changes from the start; HyperConv itself is compared in the generator's tests."""

from __future__ import annotations

import pytest
import torch

from seq2seq_mri.networks.conditioning import CodeEmbedding, Conditioning, HyperConv
from seq2seq_mri.networks.decoder import Decoder


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("weight_code_channels", [2, 16])
def test_initial_kernels_have_he_variance_for_every_code(spatial_dims: int, weight_code_channels: int) -> None:
    torch.manual_seed(0)
    layer = HyperConv(spatial_dims, 48, 32, 3, code_channels=12, weight_code_channels=weight_code_channels)
    with torch.no_grad():
        kernels, _ = layer.produce(CodeEmbedding(12)(torch.eye(7)))
    # The standard error of the variance of n normal values is sqrt(2 / n) of it: at most 1.2 % here.
    variance = kernels.flatten(1).var(dim=1)
    torch.testing.assert_close(variance, torch.full((7,), 2 / (48 * 3**spatial_dims)), rtol=0.06, atol=0)


@pytest.mark.parametrize("kind", ["hyper", "adain", "dynamic"])
def test_targets_differ_from_the_start(kind: str) -> None:
    torch.manual_seed(0)
    decoder = Decoder(Conditioning(kind, 2, 8), 1, (8, 8), num_res_blocks=1)
    features = torch.randn(1, 8, 12, 12)
    with torch.no_grad():
        images = torch.cat([decoder(features, torch.eye(4)[i : i + 1]) for i in range(4)])
    assert min((images[i] - images[j]).abs().mean().item() for i in range(4) for j in range(i)) > 0.02
