# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Padding and normalisation, with gradients, against torch's own operations and the definition."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from seq2seq_mri.networks.blocks import InstanceNorm
from seq2seq_mri.networks.functional import (
    InstanceNormalisation,
    ReflectionPadding,
    channels_last,
    fused,
    mirror,
    normalise,
    standardise,
)

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


@pytest.mark.parametrize("size", SIZES)
def test_instance_normalisation(size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    expected, weights = F.instance_norm(x), torch.randn(2, 3, *size, dtype=torch.float64)
    (expected_gradient,) = torch.autograd.grad(expected, x, weights)
    for function in (InstanceNormalisation.apply, normalise):
        found = function(x, 1e-5)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(torch.autograd.grad(found, x, weights)[0], expected_gradient)


@pytest.mark.parametrize("size", [(33, 21), (6, 5, 3)])
@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 1.0), (5.0, 0.1), (-30.0, 1.0)])
def test_instance_norm_in_single_precision(size: tuple[int, ...], mean: float, deviation: float) -> None:
    """Also where E[x²] - E[x]² has no correct digit left."""
    torch.manual_seed(0)
    x = mean + deviation * torch.randn(2, 5, *size)
    exact, axes = x.double(), tuple(range(2, x.dim()))
    variance = exact.var(axes, correction=0, keepdim=True)
    expected = (exact - exact.mean(axes, keepdim=True)) / (variance + 1e-5).sqrt()
    for given in (x, channels_last(x)):
        # A value's own rounding, mean · 2⁻²⁴, in units of the deviation.
        assert (InstanceNorm(5)(given) - expected).abs().max() < 2e-6 + 4 * abs(mean) / deviation * 2**-24


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("value", [0.0, -3.3])
def test_a_constant_map_becomes_zero_and_passes_no_gradient(dtype: torch.dtype, value: float) -> None:
    """Beside one that is not constant, in the same batch; its normalisation would multiply the gradient by 316."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, 9, 11, dtype=dtype)
    expected = F.instance_norm(x.float())
    x[0, 1] = value
    for function in (InstanceNormalisation.apply, normalise):
        given = x.clone().requires_grad_()
        output = function(given, 1e-5)
        (gradient,) = torch.autograd.grad(output, given, torch.randn_like(output))
        assert not output[0, 1].any()
        assert not gradient[0, 1].any()
        assert gradient[1].any()
        torch.testing.assert_close(
            output[1].float(), expected[1], atol=1e-5 if dtype == torch.float32 else 0.02, rtol=0
        )


def test_one_voxel_is_a_signal() -> None:
    x = torch.zeros(1, 1, 40, 40)
    x[0, 0, 7, 8] = 0.01
    torch.testing.assert_close(standardise(x, 1e-5)[0], F.instance_norm(x))


def test_fused_functions_compute_the_same_and_their_gradient() -> None:
    torch.manual_seed(0)
    for size in SIZES[:2]:
        x = torch.randn(2, 3, *size, requires_grad=True)
        for function, argument in ((normalise, 1e-5), (mirror, 1)):
            found, expected = fused(function)(x, argument), function(x, argument)
            weights = torch.randn_like(expected)
            torch.testing.assert_close(found, expected)
            (gradient,), (truth,) = (torch.autograd.grad(y, x, weights) for y in (found, expected))
            torch.testing.assert_close(gradient, truth)


def test_what_cannot_be_compiled_runs_as_it_is(monkeypatch, caplog) -> None:
    def fail(*arguments):
        raise RuntimeError("Failed to find a C compiler")

    monkeypatch.setattr(torch, "compile", lambda function, dynamic: fail)
    call = fused(lambda x: 2 * x)
    assert [float(call(torch.tensor(k))) for k in (1.0, 2.0)] == [2.0, 4.0]
    assert caplog.text.count("slower without it: Failed to find a C compiler") == 1


def test_precision_of_the_input_is_kept_under_autocast() -> None:
    x = torch.randn(1, 4, 8, 8, dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        padded = ReflectionPadding.apply(x, 1)
        normalised = InstanceNormalisation.apply(padded, 1e-5)
    normalised.sum().backward()
    assert (padded.dtype, normalised.dtype, x.grad.dtype) == (torch.bfloat16,) * 3


@pytest.mark.parametrize("size", [(7, 5), (6, 5, 3)])
@pytest.mark.parametrize("batch", [1, 2])
def test_channels_last(size: tuple[int, ...], batch: int) -> None:
    memory_format = torch.channels_last if len(size) == 2 else torch.channels_last_3d
    x = torch.randn(batch, 1, 4, *size)
    # The batch's stride of a view may be anything where the batch is one.
    for given in (x[:, 0], channels_last(x[:, 0]).unsqueeze(1).flatten(0, 1)):
        found = channels_last(given)
        assert torch.equal(found, given)
        assert found.is_contiguous(memory_format=memory_format)
        assert torch.empty_like(found).is_contiguous(memory_format=memory_format)
        assert found.stride(0) == found[0].numel()
