# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""HyperConv against Algorithm 1 written out, and the variance of the kernels that it starts with."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from seq2seq_mri.networks.conditioning import CodeEmbedding
from seq2seq_mri.networks.hyper_conv import HyperConv, convolve_runs


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("spatial_dims", "kernel_size"), [(2, 1), (2, 3), (2, 7), (3, 3)])
def test_equals_algorithm_1(spatial_dims: int, kernel_size: int, bias: bool) -> None:
    torch.manual_seed(0)
    layer = HyperConv(spatial_dims, 3, 2, kernel_size, code_channels=5, weight_code_channels=4, bias=bias).double()
    x, codes = torch.randn(2, 3, *(9, 8, 7)[:spatial_dims]).double(), torch.randn(2, 5).double()
    convolve = F.conv2d if spatial_dims == 2 else F.conv3d

    def produce(mixing: torch.nn.Linear, bank: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        return sum(w * part for w, part in zip(mixing.weight @ code + mixing.bias, bank, strict=True))

    padded = F.pad(x, [kernel_size // 2] * (2 * spatial_dims), mode="reflect")
    expected = [
        convolve(
            padded[k : k + 1],
            produce(layer.kernel_code, layer.kernel_bank, code),
            produce(layer.bias_code, layer.bias_bank, code) if bias else None,
        )
        for k, code in enumerate(codes)
    ]
    torch.testing.assert_close(layer(x, codes), torch.cat(expected))
    ordinary = layer.specialise(codes[:1])
    torch.testing.assert_close(ordinary(x[:1], codes[1:]), expected[0])


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize(
    ("runs", "groups"), [([6], 1), ([2, 4], 1), ([1, 3, 2], 1), ([1] * 6, 1), ([1, 2, 3], 4), (None, 1)]
)
def test_runs_equal_one_by_one(spatial_dims: int, runs: list[int] | None, groups: int) -> None:
    torch.manual_seed(0)
    sizes = runs or [2, 2, 2]
    x = torch.randn(6, 4, *(7, 6, 5)[:spatial_dims], dtype=torch.float64)
    kernels = torch.randn(len(sizes), 8, 4 // groups, *(3, 3, 3)[:spatial_dims], dtype=torch.float64)
    biases = torch.randn(len(sizes), 8, dtype=torch.float64)
    convolve = F.conv2d if spatial_dims == 2 else F.conv3d
    which = [index for index, size in enumerate(sizes) for _ in range(size)]
    for bias in (biases, None):
        single = [
            convolve(x[n : n + 1], kernels[k], None if bias is None else bias[k], groups=groups)
            for n, k in enumerate(which)
        ]
        torch.testing.assert_close(convolve_runs(x, kernels, bias, runs, groups), torch.cat(single))


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
