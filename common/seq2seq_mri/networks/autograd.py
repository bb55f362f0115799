# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Operations with gradients of their own, which stay in the memory format and the precision of their input.

Torch's reflection padding and instance normalisation have gradients too, but they copy channels-last feature maps into
another format and back, on a CPU autocast turns the padding to float32, and the normalisation of a constant map
multiplies a gradient by 1/√ε. Under torch.compile, which fuses plain operations, these are left out.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

__all__ = [
    "InstanceNormalisation",
    "ReflectionPadding",
    "gather_mirrored",
    "normalise",
    "standardise",
    "without_autocast",
]


def without_autocast(device_type: str) -> AbstractContextManager:
    """Return a context in which operations keep the precision of their inputs."""
    if torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()


def normalise(x: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Instance normalisation in plain operations: (x - μ) / √(v + ε) of each channel of each sample.

    Where a map is constant, by no more than rounding of its mean, the result is 0 and no gradient passes. There is no
    signal in it, but 1/√ε = 316 would multiply a gradient in each of the layers that such a map goes through, and all
    maps are constant where a patch has no tissue.

    Args:
        x: ``(N, C, *spatial)``.
        epsilon: ε.
    """
    axes = list(range(2, x.dim()))
    exact = x if x.dtype == torch.float64 else x.float()
    mean = exact.mean(axes, keepdim=True)
    centred = exact - mean
    variance = (centred * centred).mean(axes, keepdim=True)
    return (centred * _gain(mean, variance, epsilon, x.dtype)).to(x.dtype)


def standardise(x: torch.Tensor, epsilon: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute :func:`normalise` in the memory format of ``x``, and what each map is multiplied by.

    Args:
        x: ``(N, C, *spatial)``, any strides.
        epsilon: ε.

    Returns:
        The result, and 1/√(v + ε), or 0 where a map is constant, ``(N, C, 1, ...)``, at least in float32.
    """
    axes = list(range(2, x.dim()))
    if x.dtype == torch.float32 or x.dtype == torch.float64:
        # Not E[x²] - E[x]², and not torch's normalisation, which adds up the values of channels-last maps one by one:
        # both are ten times less exact.
        mean = x.mean(axes, keepdim=True)
        centred = x - mean
        gain = _gain(mean, (centred * centred).mean(axes, keepdim=True), epsilon, x.dtype)
        return centred.mul_(gain), gain
    size = x[0, 0].numel()
    if x.device.type == "cpu":
        channels = x.shape[1]
        output, mean, inverse = torch.native_group_norm(x, None, None, x.shape[0], channels, size, channels, epsilon)
        mean, variance = (
            v.float().view(mean.shape + (1,) * len(axes)) for v in (mean, inverse.float() ** -2 - epsilon)
        )
        gain = _gain(mean, variance, epsilon, x.dtype)
        constant = gain == 0
        return output.masked_fill_(constant, 0) if bool(constant.any()) else output, gain
    # Two sums and one product, in float32 inside of the kernels: no map is written in float32.
    mean = x.mean(axes, keepdim=True, dtype=torch.float32)
    square = torch.linalg.vector_norm(x, 2, axes, keepdim=True, dtype=torch.float32).square() / size
    gain = _gain(mean, (square - mean.square()).clamp(min=0), epsilon, x.dtype)
    return torch.addcmul(-mean * gain, x, gain, out=torch.empty_like(x)), gain


def _gain(mean: torch.Tensor, variance: torch.Tensor, epsilon: float, dtype: torch.dtype) -> torch.Tensor:
    bits = 7 if dtype == torch.bfloat16 else 10 if dtype == torch.float16 else 52 if dtype == torch.float64 else 23
    # What is added is the rounding of a variance that is taken back from 1/√(v + ε).
    signal = variance > (mean * 2.0**-bits).square() + epsilon * 2.0**-bits
    return torch.where(signal, torch.rsqrt(variance + epsilon), torch.zeros_like(variance))


class ReflectionPadding(torch.autograd.Function):
    """Mirror ``width`` values at each side of each spatial dimension of ``x`` ``(N, C, *spatial)``."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, width: int) -> torch.Tensor:
        """Pad."""
        ctx.width = width
        if x.device.type == "cpu" or x.dim() != 4:
            with without_autocast(x.device.type):
                return F.pad(x, [width] * (2 * (x.dim() - 2)), mode="reflect")
        return gather_mirrored(x, width)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Add what reaches a mirrored value to what reaches the value itself, one dimension after the other."""
        width = ctx.width
        for axis in range(2, gradient.dim()):
            size = gradient.shape[axis] - 2 * width
            inner = gradient.narrow(axis, width, size)
            # Only the first dimension has to be copied; what follows may change that copy.
            inner = inner.clone(memory_format=torch.preserve_format) if axis == 2 else inner
            inner.narrow(axis, 1, width).add_(gradient.narrow(axis, 0, width).flip(axis))
            inner.narrow(axis, size - 1 - width, width).add_(gradient.narrow(axis, size + width, width).flip(axis))
            gradient = inner
        return gradient, None


def gather_mirrored(x: torch.Tensor, width: int) -> torch.Tensor:
    """Pad ``x`` ``(N, C, H, W)`` as :class:`ReflectionPadding` does; channels-last maps stay what they are.

    Torch's own padding copies them into the other format, but on a CPU.
    """
    positions = []
    for size in x.shape[2:]:
        position = torch.arange(-width, size + width, device=x.device).abs()
        positions.append(torch.where(position < size, position, 2 * (size - 1) - position))
    return x.permute(0, 2, 3, 1)[:, positions[0][:, None], positions[1]].permute(0, 3, 1, 2)


class InstanceNormalisation(torch.autograd.Function):
    """:func:`normalise` of ``x`` ``(N, C, *spatial)``."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, epsilon: float) -> torch.Tensor:
        """Normalise."""
        output, gain = standardise(x, epsilon)
        ctx.save_for_backward(output, gain)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Take from the gradient its mean and its part along the output, the two that normalisation takes out."""
        output, gain = ctx.saved_tensors
        axes = list(range(2, gradient.dim()))
        mean = gradient.mean(axes, keepdim=True)
        along = (gradient * output).mean(axes, keepdim=True)
        return torch.addcmul(gradient - mean, output, along, value=-1).mul_(gain.to(gradient.dtype)), None
