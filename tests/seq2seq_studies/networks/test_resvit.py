# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""ResViT: contract, size, its transformer against the equations, and positional encodings."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from completion import FOUR, TINY_TRANSFORMER, CompletionContract, count_parameters, small_resvit
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import vit_b_16

from seq2seq_studies.networks.resvit import ResidualTransformers, ResViT

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit")


class TestContract(CompletionContract):
    sizes = ((32, 48, 16), (17, 20, 9))

    def complete(self, spatial_dims, sequences):
        return small_resvit(spatial_dims, sequences, in_channels=2)


def test_size_of_the_released_network() -> None:
    with torch.device("meta"):
        assert count_parameters(ResViT(2, {"t2": 1})) == 123_441_537
        unified, transformer = ResViT(2, FOUR), vit_b_16().encoder
    assert count_parameters(unified) == 123_460_356
    shared = count_parameters(unified.network.bottleneck.transformer)
    assert shared == count_parameters(transformer.layers) + count_parameters(transformer.ln) == 85_056_000


def bottleneck(spatial_dims: int = 2, grid=(2, 3), groups=(2, 1)) -> ResidualTransformers:
    torch.manual_seed(0)
    return ResidualTransformers(spatial_dims, 4, replace(TINY_TRANSFORMER, group_sizes=groups), grid)


@torch.no_grad()
def test_transformer_equals_its_equations() -> None:
    network = bottleneck().double().eval()
    tokens = torch.randn(2, 5, 8).double()
    expected = tokens
    for layer in network.transformer[:-1]:
        x = F.layer_norm(expected, [8], layer.attention_norm.weight, layer.attention_norm.bias)
        query, key, value = (
            part.unflatten(2, (2, 4)).transpose(1, 2) for part in layer.attention.qkv(x).chunk(3, dim=2)
        )
        attention = (query @ key.transpose(2, 3) / math.sqrt(4)).softmax(3)
        expected = expected + layer.attention.out_proj((attention @ value).transpose(1, 2).flatten(2))
        x = F.layer_norm(expected, [8], layer.perceptron_norm.weight, layer.perceptron_norm.bias)
        expected = expected + layer.perceptron.linear2(F.gelu(layer.perceptron.linear1(x)))
    last = network.transformer[-1]
    torch.testing.assert_close(network.transformer(tokens), F.layer_norm(expected, [8], last.weight, last.bias))


@torch.no_grad()
def test_bottleneck_equals_its_parts() -> None:
    network = bottleneck().double().eval()
    x = torch.randn(2, 4, 8, 12).double()
    expected = x
    for module, convolutions in zip(network.transformer_modules, network.convolutions, strict=True):
        torch.nn.init.normal_(module.positions)
        embedded = module.embedding(module.downsampling(expected)) + module.positions
        # One token after the other, row by row.
        tokens = torch.stack([embedded[:, :, row, column] for row in range(2) for column in range(3)], dim=1)
        tokens = network.transformer(tokens)
        grid = torch.stack(
            [torch.stack([tokens[:, 3 * row + column] for column in range(3)], 2) for row in range(2)], 2
        )
        expected = torch.cat([module.upsampling(grid), expected], dim=1)
        compression = module.compression
        expected = torch.relu(compression.convolutions(expected) + compression.shortcut(expected))
        for block in convolutions:
            expected = expected + block.second(block.first(expected))
    assert [len(convolutions) for convolutions in network.convolutions] == [2, 1]
    torch.testing.assert_close(network(x), expected)


@torch.no_grad()
def test_every_operation_of_the_transformer_is_counted() -> None:
    network = bottleneck().eval()
    with FlopCounterMode(display=False) as counter:
        network.transformer(torch.randn(1, 5, 8))
    # Per layer: queries, keys, values and output; the perceptron; products with keys and with values.
    assert counter.get_total_flops() == 2 * 2 * (5 * 4 * 8 * 8 + 5 * 2 * 8 * 12 + 2 * 5 * 5 * 8)


@pytest.mark.parametrize(("spatial_dims", "mode"), [(2, "bilinear"), (3, "trilinear")])
def test_positions_are_interpolated(spatial_dims: int, mode: str) -> None:
    module = bottleneck(spatial_dims, (2, 3, 2)[:spatial_dims]).transformer_modules[0]
    torch.nn.init.normal_(module.positions)
    x = torch.randn(1, 4, *(16, 8, 12)[:spatial_dims])
    size = (4, 2, 3)[:spatial_dims]
    positions = F.interpolate(module.positions, size, mode=mode)
    torch.testing.assert_close(module.embed(x), module.embedding(module.downsampling(x)) + positions)


def test_grid_follows_the_image_size() -> None:
    network = small_resvit(3, FOUR, image_size=(64, 100, 16))
    assert network.network.bottleneck.transformer_modules[0].positions.shape == (1, 8, 4, 7, 1)
