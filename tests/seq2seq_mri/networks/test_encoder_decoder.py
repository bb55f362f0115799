# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Encoder and decoder by the contract; each conditioning really conditions."""

from __future__ import annotations

import pytest
import torch
from contract import NetworkContract

from seq2seq_mri.networks.blocks import Encoder
from seq2seq_mri.networks.decoder import HyperDecoder

CHANNELS = (3, 4, 6)
# The decoder multiplies sizes by four, so small ones do.
SMALL = ((4, 5, 3), (3, 2, 4))


class TestEncoder(NetworkContract):
    # Only the generator pads: alone, the encoder rounds up.
    def network(self, spatial_dims, timepoints):
        return Encoder(spatial_dims, in_channels=2, channels=CHANNELS, num_res_blocks=1)

    def inputs(self, spatial_dims, timepoints, size):
        return (torch.randn(2, 2, *size),)

    def output_shape(self, spatial_dims, timepoints, size):
        return 2, 6, *(-(-length // 4) for length in size)


class DecoderContract(NetworkContract):
    sizes = SMALL
    options: dict[str, str] = {}  # noqa: RUF012

    def network(self, spatial_dims, timepoints):
        return HyperDecoder(
            spatial_dims, 2, CHANNELS, num_res_blocks=1, code_channels=6, weight_code_channels=4, **self.options
        )

    def inputs(self, spatial_dims, timepoints, size):
        size = tuple(-(-length // 4) for length in size) if max(size) > 5 else size
        return torch.randn(2, 6, *size), torch.eye(4)[[0, 2]]

    def output_shape(self, spatial_dims, timepoints, size):
        return 2, 2, *(4 * length for length in size)


class TestHyperDecoder(DecoderContract):
    options = {"conditioning": "hyper"}  # noqa: RUF012


class TestHyperDecoderUpsamplingFirst(DecoderContract):
    options = {"upsample": "first", "output_activation": "sigmoid"}  # noqa: RUF012


class TestAdaptiveInstanceNormDecoder(DecoderContract):
    options = {"conditioning": "adain", "output_activation": "none"}  # noqa: RUF012


class TestDynamicDecoder(DecoderContract):
    options = {"conditioning": "dynamic"}  # noqa: RUF012


@pytest.mark.parametrize("conditioning", ["hyper", "adain", "dynamic"])
def test_targets_differ_from_the_start(conditioning: str) -> None:
    torch.manual_seed(0)
    decoder = HyperDecoder(2, 1, (8, 8), num_res_blocks=1, code_channels=8, conditioning=conditioning)
    features = torch.randn(1, 8, 12, 12)
    with torch.no_grad():
        images = torch.cat([decoder(features, torch.eye(4)[i : i + 1]) for i in range(4)])
    assert min((images[i] - images[j]).abs().mean().item() for i in range(4) for j in range(i)) > 0.02


@pytest.mark.parametrize(("activation", "low", "high"), [("tanh", -1, 1), ("sigmoid", 0, 1)])
def test_range_of_the_output(activation: str, low: float, high: float) -> None:
    torch.manual_seed(0)
    options = {"num_res_blocks": 1, "code_channels": 4}
    decoder = HyperDecoder(2, 1, (4, 4), output_activation=activation, **options)
    image = decoder(torch.randn(1, 4, 8, 8), torch.eye(1, 4))
    assert low <= image.min() < (low + high) / 2 < image.max() <= high
    decoder.output_activation = "none"
    raw = decoder(torch.randn(1, 4, 8, 8), torch.eye(1, 4))
    assert raw.abs().max() > 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"upsample": "middle"}, "Unknown upsample 'middle'; use one of last, first"),
        ({"conditioning": "film"}, "Unknown conditioning 'film'; use one of hyper, adain, dynamic"),
        ({"output_activation": "relu"}, "Unknown output_activation 'relu'; use one of tanh, sigmoid, none"),
    ],
)
def test_options_that_do_not_exist(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HyperDecoder(2, 1, (4, 4), num_res_blocks=1, **options)
