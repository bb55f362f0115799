# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Operations with gradients of their own, which stay in the memory format and the precision of their input.

Torch's reflection padding and group normalisation have gradients too, but on a CPU these copy channels-last feature
maps into another format and back, autocast turns the padding to float32, and the normalisation's gradient is five times
slower in bfloat16 than in float32.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

__all__ = ["InstanceNormalisation", "ReflectionPadding", "standardise", "without_autocast"]


def without_autocast(device_type: str) -> AbstractContextManager:
    """Return a context in which operations keep the precision of their inputs."""
    if torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()


def standardise(x: torch.Tensor, epsilon: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Bring each channel of each sample to mean 0 and variance 1.

    Args:
        x: ``(N, C, *spatial)``.
        epsilon: added to the variance.

    Returns:
        The result, and 1 over the standard deviations, N · C values.
    """
    if x.device.type == "cpu" and x.dtype != torch.bfloat16 and x.dtype != torch.float16:
        # Torch's normalisation adds up the values of channels-last maps one by one, which is ten times less exact than
        # the means, and takes the variance as E[x²] - E[x]². Below float32 the values themselves are less exact.
        axes = list(range(2, x.dim()))
        centred = x - x.mean(axes, keepdim=True)
        inverse_deviation = torch.rsqrt((centred * centred).mean(axes, keepdim=True) + epsilon)
        in_place = not centred.requires_grad
        return centred.mul_(inverse_deviation) if in_place else centred * inverse_deviation, inverse_deviation
    channels, size = x.shape[1], x[0, 0].numel()
    output, _, inverse_deviation = torch.native_group_norm(x, None, None, x.shape[0], channels, size, channels, epsilon)
    return output, inverse_deviation


class ReflectionPadding(torch.autograd.Function):
    """Mirror ``width`` values at each side of each spatial dimension of ``x`` ``(N, C, *spatial)``."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, width: int) -> torch.Tensor:
        """Pad."""
        ctx.width = width
        with without_autocast(x.device.type):
            return F.pad(x, [width] * (2 * (x.dim() - 2)), mode="reflect")

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


class InstanceNormalisation(torch.autograd.Function):
    """Normalise each channel of each sample of ``x`` ``(N, C, *spatial)`` to mean 0 and variance 1."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, epsilon: float) -> torch.Tensor:
        """Normalise."""
        output, inverse_deviation = standardise(x, epsilon)
        ctx.save_for_backward(output, inverse_deviation)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Take from the gradient its mean and its part along the output, the two that normalisation takes out."""
        output, inverse_deviation = ctx.saved_tensors
        axes = list(range(2, gradient.dim()))
        mean = gradient.mean(axes, keepdim=True)
        along = (gradient * output).mean(axes, keepdim=True)
        scale = inverse_deviation.to(gradient.dtype).view(mean.shape)
        return torch.addcmul(gradient - mean, output, along, value=-1).mul_(scale), None
