# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Gradients against finite differences, and against torch's own operations."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from seq2seq_mri.networks.autograd import InstanceNormalisation, ReflectionPadding

SIZES = [(7, 5), (4, 9), (4, 5, 6)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("width", [1, 3])
def test_reflection_padding(size: tuple[int, ...], width: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    expected = F.pad(x, [width] * (2 * len(size)), mode="reflect")
    assert torch.equal(ReflectionPadding.apply(x, width), expected)
    weights = torch.randn_like(expected)
    for memory in (torch.contiguous_format, torch.channels_last if len(size) == 2 else torch.channels_last_3d):
        given = weights.contiguous(memory_format=memory)
        (gradient,) = torch.autograd.grad(ReflectionPadding.apply(x, width), x, given)
        torch.testing.assert_close(gradient, torch.autograd.grad(expected, x, weights, retain_graph=True)[0])
        assert torch.equal(given, weights)  # what reaches the padding is not overwritten
    assert torch.autograd.gradcheck(lambda value: ReflectionPadding.apply(value, width), x)


@pytest.mark.parametrize("size", SIZES)
def test_instance_normalisation(size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(InstanceNormalisation.apply(x, 1e-5), F.instance_norm(x))
    assert torch.autograd.gradcheck(lambda value: InstanceNormalisation.apply(value, 1e-5), x)


def test_precision_of_the_input_is_kept_under_autocast() -> None:
    x = torch.randn(1, 4, 8, 8, dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        padded = ReflectionPadding.apply(x, 1)
        normalised = InstanceNormalisation.apply(padded, 1e-5)
    normalised.sum().backward()
    assert (padded.dtype, normalised.dtype, x.grad.dtype) == (torch.bfloat16,) * 3
