# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""HyperConv against Algorithm 1 written out, and the variance of the kernels that it starts with."""

from __future__ import annotations

import pytest
import torch
from contract import NetworkContract
from slow_reference import hyper_conv

from seq2seq_mri.networks.conditioning import CodeEmbedding
from seq2seq_mri.networks.functional import reflect_pad
from seq2seq_mri.networks.hyper_conv import HyperConv, convolve_runs


class TestContract(NetworkContract):
    def network(self, spatial_dims, timepoints):
        return HyperConv(spatial_dims, 3, 4, kernel_size=3, code_channels=5, weight_code_channels=6)

    def inputs(self, spatial_dims, timepoints, size):
        return torch.randn(2, 3, *size), torch.eye(5)[[1, 3]]

    def output_shape(self, spatial_dims, timepoints, size):
        return 2, 4, *size


@pytest.mark.parametrize(("spatial_dims", "kernel_size"), [(2, 1), (2, 3), (2, 7), (3, 3)])
def test_equals_algorithm_1(spatial_dims: int, kernel_size: int) -> None:
    torch.manual_seed(0)
    layer = HyperConv(spatial_dims, 3, 2, kernel_size, code_channels=5, weight_code_channels=4).double()
    x, code = torch.randn(2, 3, *(9, 8, 7)[:spatial_dims]).double(), torch.randn(2, 5).double()
    state = {f"layer.{name}": value for name, value in layer.state_dict().items()}
    expected = torch.cat([hyper_conv(state, "layer", x[i : i + 1], code[i]) for i in range(2)])
    torch.testing.assert_close(layer(x, code), expected)


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize(("runs", "groups"), [([6], 1), ([2, 4], 1), ([1, 3, 2], 1), ([1] * 6, 1), ([1, 2, 3], 4)])
def test_runs_equal_one_by_one(spatial_dims: int, runs: list[int], groups: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 4, *(7, 6, 5)[:spatial_dims], dtype=torch.float64)
    kernels = torch.randn(len(runs), 8, 4 // groups, *(3, 3, 3)[:spatial_dims], dtype=torch.float64)
    biases = torch.randn(len(runs), 8, dtype=torch.float64)
    function = torch.nn.functional.conv2d if spatial_dims == 2 else torch.nn.functional.conv3d
    which = [index for index, size in enumerate(runs) for _ in range(size)]
    for bias in (biases, None):
        single = [
            function(x[n : n + 1], kernels[k], None if bias is None else bias[k], groups=groups)
            for n, k in enumerate(which)
        ]
        torch.testing.assert_close(convolve_runs(x, kernels, bias, runs, groups), torch.cat(single))


def test_one_code_serves_consecutive_samples() -> None:
    torch.manual_seed(0)
    layer = HyperConv(2, 3, 2, 3, code_channels=4).double()
    x, code = torch.randn(6, 3, 8, 8).double(), torch.eye(4).double()[[2, 0]]
    torch.testing.assert_close(layer(x, code), torch.cat([layer(x[:3], code[:1]), layer(x[3:], code[1:])]))
    torch.testing.assert_close(layer(x, code, [2, 4]), torch.cat([layer(x[:2], code[:1]), layer(x[2:], code[1:])]))


def test_padding_outside_equals_padding_inside() -> None:
    torch.manual_seed(0)
    inside = HyperConv(2, 3, 2, 5, code_channels=4)
    outside = HyperConv(2, 3, 2, 5, code_channels=4, padding=0)
    outside.load_state_dict(inside.state_dict())
    x, code = torch.randn(1, 3, 8, 9), torch.eye(4)[:1]
    assert torch.equal(outside(reflect_pad(x, 2), code), inside(x, code))


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("weight_code_channels", [2, 4, 16])
@pytest.mark.parametrize("sequences", [4, 12])
def test_initial_kernels_have_he_variance_for_every_code(
    spatial_dims: int, weight_code_channels: int, sequences: int
) -> None:
    torch.manual_seed(0)
    layer = HyperConv(spatial_dims, 48, 32, 3, code_channels=12, weight_code_channels=weight_code_channels)
    with torch.no_grad():
        kernels, _ = layer.produce(CodeEmbedding(12)(torch.eye(sequences)))
    # The standard error of the variance of n normal values is sqrt(2 / n) of it: at most 1.2 % here.
    variance = kernels.flatten(1).var(dim=1)
    torch.testing.assert_close(variance, torch.full((sequences,), 2 / (48 * 3**spatial_dims)), rtol=0.06, atol=0)
    # Nor do two sequences start with the same kernel.
    assert all((kernels[i] - kernels[j]).abs().max() > 0 for i in range(sequences) for j in range(i))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spatial_dims": 1}, "spatial_dims must be 2 or 3, got 1"),
        ({"kernel_size": 4}, "kernel_size must be an odd"),
        ({"weight_code_channels": 1}, "weight_code_channels must be at least 2"),
    ],
)
def test_arguments_that_cannot_be_used(arguments: dict, message: str) -> None:
    valid = {"spatial_dims": 2, "in_channels": 3, "out_channels": 2, "kernel_size": 3, "code_channels": 4}
    with pytest.raises(ValueError, match=message):
        HyperConv(**{**valid, **arguments})
