# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Instance normalisation against its definition, and layers that ignore the code."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from seq2seq_mri.networks.blocks import InstanceNorm, Unconditional, reflect_conv_of
from seq2seq_mri.networks.functional import channels_last, reflect_pad


@pytest.mark.parametrize("size", [(7, 5), (33, 21), (6, 5, 3)])
@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 1.0), (5.0, 0.1), (-30.0, 1.0)])
@pytest.mark.parametrize("last", [False, True])
def test_instance_norm(size: tuple[int, ...], mean: float, deviation: float, last: bool) -> None:
    """Also where E[x²] - E[x]² has no correct digit left in float32."""
    torch.manual_seed(0)
    x = mean + deviation * torch.randn(2, 5, *size)
    exact, axes = x.double(), tuple(range(2, x.dim()))
    variance = exact.var(axes, correction=0, keepdim=True)
    expected = (exact - exact.mean(axes, keepdim=True)) / (variance + 1e-5).sqrt()
    found = InstanceNorm(5)(channels_last(x.clone()) if last else x.clone())
    # A value's own rounding, mean · 2⁻²⁴, in units of the deviation.
    assert (found - expected).abs().max() < 2e-6 + 4 * abs(mean) / deviation * 2**-24


@pytest.mark.parametrize("size", [(7, 5), (6, 5, 3)])
@pytest.mark.parametrize("groups", [1, 4])
def test_convolution_of_a_given_kernel(size: tuple[int, ...], groups: int) -> None:
    torch.manual_seed(0)
    kernel, bias, x = torch.randn(8, 4 // groups, *[3] * len(size)), torch.randn(8), torch.randn(2, 4, *size)
    function = nn.functional.conv2d if len(size) == 2 else nn.functional.conv3d
    layer = Unconditional(reflect_conv_of(kernel, bias, groups))
    expected = function(reflect_pad(x, 1), kernel, bias, groups=groups)
    torch.testing.assert_close(layer(x, torch.zeros(1, 3)), expected)
    copy = layer.specialise(torch.zeros(1, 3))
    kernel.zero_()
    nn.init.zeros_(layer.layer.weight)
    torch.testing.assert_close(copy(x, torch.zeros(1, 3)), expected)
