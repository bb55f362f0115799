# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Pix2Pix: contract, published size, a plain copy of the network, and one network for each pair."""

from __future__ import annotations

import pytest
import torch
from completion import FOUR, CompletionContract, count_parameters, small_pix2pix
from contract import NetworkContract
from torch import nn

from seq2seq_studies.networks.pix2pix import Pix2Pix, pix2pix_generator

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit")


class TestPair(NetworkContract):
    def network(self, spatial_dims, timepoints):
        return pix2pix_generator(spatial_dims, 2, timepoints, width=4, num_res_blocks=2)

    def inputs(self, spatial_dims, timepoints, size):
        return (torch.randn(2, 2, *size),)

    def output_shape(self, spatial_dims, timepoints, size):
        return 2, timepoints, *size


class TestAllPairs(CompletionContract):
    def complete(self, spatial_dims, sequences):
        return small_pix2pix(spatial_dims, sequences, in_channels=2)


def test_published_size() -> None:
    with torch.device("meta"):
        assert count_parameters(pix2pix_generator(2)) == 11_365_633
        assert count_parameters(pix2pix_generator(2, 3, 3)) == 11_378_179
        assert count_parameters(Pix2Pix(2, FOUR)) == 4 * 3 * 11_365_633


def test_equals_a_plain_copy() -> None:
    torch.manual_seed(0)
    generator = pix2pix_generator(2, 2, 3, width=4, num_res_blocks=2).double()

    class Residual(nn.Sequential):
        def forward(self, x):
            return x + super().forward(x)

    def conv(in_channels, out_channels, size):
        return [nn.ReflectionPad2d(size // 2), nn.Conv2d(in_channels, out_channels, size)]

    def norm(channels):
        return [nn.InstanceNorm2d(channels), nn.ReLU()]

    up = {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1}
    plain = nn.Sequential(
        *conv(2, 4, 7), *norm(4),
        nn.Conv2d(4, 8, 3, stride=2, padding=1), *norm(8),
        nn.Conv2d(8, 16, 3, stride=2, padding=1), *norm(16),
        *(Residual(*conv(16, 16, 3), *norm(16), *conv(16, 16, 3), nn.InstanceNorm2d(16)) for _ in range(2)),
        nn.ConvTranspose2d(16, 8, **up), *norm(8),
        nn.ConvTranspose2d(8, 4, **up), *norm(4),
        *conv(4, 3, 7), nn.Tanh(),
    ).double()  # fmt: skip
    # The layers come in the same order.
    ours = list(generator.state_dict().values())
    plain.load_state_dict(dict(zip(plain.state_dict(), ours, strict=True)))
    image = torch.randn(2, 2, 16, 24).double()
    torch.testing.assert_close(generator(image), plain(image))


@torch.no_grad()
def test_means_of_the_networks_of_pairs() -> None:
    torch.manual_seed(0)
    pix2pix = small_pix2pix(2, {"t1": 1, "dce": 2, "t2": 1})
    image = torch.randn(3, 4, 1, 12, 12)
    available = torch.tensor([[True, False, False], [True, False, True], [False, True, False]])
    output = pix2pix(image, available)
    from_t1 = pix2pix["t1", "dce"](image[:2, 0])
    from_t2 = pix2pix["t2", "dce"](image[1:2, 3])
    torch.testing.assert_close(output[0, 1:3, 0], from_t1[0])
    torch.testing.assert_close(output[1, 1:3, 0], (from_t1[1] + from_t2[0]) / 2)
    torch.testing.assert_close(output[0:1, 3], pix2pix["t1", "t2"](image[0:1, 0]))
    torch.testing.assert_close(output[2:3, 0], pix2pix["dce", "t1"](image[2:3, 1:3, 0]))
    assert not pix2pix.predict(image, available)[available.repeat_interleave(torch.tensor([1, 2, 1]), 1)].any()


def test_pairs_that_do_not_exist() -> None:
    pix2pix = small_pix2pix(2, FOUR)
    with pytest.raises(ValueError, match="Unknown sequence 'pd'"):
        pix2pix["t1", "pd"]
    with pytest.raises(ValueError, match="the table has only t1"):
        small_pix2pix(2, {"t1": 1})
