# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Operations without parameters in two and three dimensions: padding, normalisation, convolution, upsampling."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache, wraps
from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

__all__ = [
    "channels_last",
    "convolve",
    "crop_to",
    "instance_normalisation",
    "pad_to_multiple",
    "reflect_pad",
    "upsample_twice",
    "without_autocast",
]

logger = logging.getLogger(__name__)


def channels_last(x: torch.Tensor) -> torch.Tensor:
    """Return ``x`` ``(N, C, *spatial)`` with the channels last in memory, where that is faster.

    Convolutions keep the format of their input. On a CPU, bfloat16 convolutions take half the time in this one and
    upsampling a third. On a GPU, measured one by one on an H100, convolutions of 64 channels gain, while torch's
    padding and normalisation lose as much; it pays in training, where these two are compiled.
    """
    if x.device.type != "cpu" and not torch.is_grad_enabled():
        return x
    if x.shape[0] == 1:
        # A batch of one may have any stride; by one that is too small torch does not recognise the format.
        last = x.dim() - 1  # ONNX knows no negative axes here
        x = x.squeeze(0).movedim(0, last - 1).unsqueeze(0).movedim(last, 1)
    if x.dim() == 4:
        return x.contiguous(memory_format=torch.channels_last)
    return x.contiguous(memory_format=torch.channels_last_3d)


def convolve(
    x: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor | None, padding: int = 0, groups: int = 1
) -> torch.Tensor:
    """Convolve ``x`` ``(N, in_channels, *spatial)``, in 2D or 3D as the kernel is, with stride 1 and zero padding.

    The kernel is ``(out_channels, in_channels / groups, *kernel_size)``, the bias ``(out_channels,)``; ``padding``
    zeros are added at each side of each spatial dimension.
    """
    if kernel.dim() == 4:
        return F.conv2d(x, kernel, bias, padding=[padding, padding], groups=groups)
    return F.conv3d(x, kernel, bias, padding=[padding, padding, padding], groups=groups)


def crop_to(x: torch.Tensor, spatial_size: list[int]) -> torch.Tensor:
    """Return the first ``spatial_size`` values along the spatial dimensions of ``x`` ``(N, C, *spatial)``."""
    for axis, size in enumerate(spatial_size):
        x = x.narrow(axis + 2, 0, size)
    return x


def pad_to_multiple(x: torch.Tensor, multiple: int, smallest: int = 1, mode: str = "replicate") -> torch.Tensor:
    """Pad the ends of ``x`` until its spatial sizes are multiples of a number; :func:`crop_to` undoes it.

    Args:
        x: ``(N, C, *spatial)``.
        multiple: of which every spatial size is to be a multiple.
        smallest: size that every spatial dimension has at least, a multiple as well.
        mode: ``"replicate"`` repeats the last value, ``"reflect"`` mirrors, which needs sizes above the multiple.
    """
    padding: list[int] = []
    # F.pad counts from the last dimension.
    for size in x.shape[2:][::-1]:
        padding += [0, max(smallest, size + -size % multiple) - size]
    if sum(padding) == 0:
        return x
    return F.pad(x, padding, mode=mode)


def upsample_twice(x: torch.Tensor) -> torch.Tensor:
    """Double every spatial dimension of ``x`` ``(N, C, *spatial)`` by bilinear or trilinear interpolation."""
    mode = "bilinear" if x.dim() == 4 else "trilinear"
    return F.interpolate(x, scale_factor=2.0, mode=mode, align_corners=False)


def without_autocast(device_type: str) -> AbstractContextManager:
    """Return a context in which operations keep the precision of their inputs."""
    if torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()


def normalise(x: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Instance normalisation of ``x`` ``(N, C, *spatial)`` in plain operations: (x - μ) / √(v + ε) of each map.

    Where a map is constant, by no more than rounding of its mean, the result is 0 and no gradient passes. There is no
    signal in it, but 1/√ε = 316 would multiply a gradient in each of the layers that such a map goes through, and all
    maps are constant where a patch has no tissue.
    """
    axes = list(range(2, x.dim()))
    exact = x if x.dtype == torch.float64 else x.float()
    mean = exact.mean(axes, keepdim=True)
    centred = exact - mean
    variance = (centred * centred).mean(axes, keepdim=True)
    return (centred * _gain(mean, variance, epsilon, x.dtype)).to(x.dtype)


def standardise(x: torch.Tensor, epsilon: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute :func:`normalise` on a CPU, in the memory format of ``x`` ``(N, C, *spatial)``.

    Returns:
        The result, and what each map was multiplied by, ``(N, C, 1, ...)``, at least in float32: 1/√(v + ε), or 0 where
        it is constant.
    """
    axes = list(range(2, x.dim()))
    if x.dtype == torch.float32 or x.dtype == torch.float64:
        # Not E[x²] - E[x]², and not torch's normalisation, which adds up the values of channels-last maps one by one:
        # both are ten times less exact.
        mean = x.mean(axes, keepdim=True)
        centred = x - mean
        gain = _gain(mean, (centred * centred).mean(axes, keepdim=True), epsilon, x.dtype)
        return centred.mul_(gain), gain
    channels, size = x.shape[1], x[0, 0].numel()
    output, mean, inverse = torch.native_group_norm(x, None, None, x.shape[0], channels, size, channels, epsilon)
    shape = mean.shape + (1,) * len(axes)
    variance = inverse.float().view(shape) ** -2 - epsilon
    gain = _gain(mean.float().view(shape), variance, epsilon, x.dtype)
    constant = gain == 0
    return output.masked_fill_(constant, 0) if bool(constant.any()) else output, gain


def _gain(mean: torch.Tensor, variance: torch.Tensor, epsilon: float, dtype: torch.dtype) -> torch.Tensor:
    bits = 7 if dtype == torch.bfloat16 else 10 if dtype == torch.float16 else 52 if dtype == torch.float64 else 23
    # What is added is the rounding of a variance that is taken back from 1/√(v + ε).
    signal = variance > (mean * 2.0**-bits).square() + epsilon * 2.0**-bits
    return torch.where(signal, torch.rsqrt(variance + epsilon), torch.zeros_like(variance))


def mirror(x: torch.Tensor, width: int) -> torch.Tensor:
    """Mirror ``width`` values at each side of each spatial dimension of ``x`` ``(N, C, *spatial)``, by torch."""
    return F.pad(x, [width] * (2 * (x.dim() - 2)), mode="reflect")


@cache
def fused(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Return a function of plain operations compiled for every shape, or as it is where it cannot be compiled."""
    compiled = torch.compile(function, dynamic=True)

    @wraps(function)
    def call(*arguments: torch.Tensor | float) -> torch.Tensor:
        nonlocal compiled
        try:
            return compiled(*arguments)
        except (torch._dynamo.exc.TorchDynamoException, RuntimeError) as error:
            if compiled is function or isinstance(error, torch.OutOfMemoryError):
                raise
            logger.warning(f"torch.compile cannot be used here, training is slower without it: {error}")
            compiled = function
            return function(*arguments)

    return call


class ReflectionPadding(torch.autograd.Function):
    """:func:`mirror` of ``x`` ``(N, C, *spatial)``."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, width: int) -> torch.Tensor:
        """Pad."""
        ctx.width = width
        with without_autocast(x.device.type):
            return mirror(x, width)

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


def reflect_pad(x: torch.Tensor, width: int) -> torch.Tensor:
    """Compute :func:`mirror` in the way that is fastest on the device of ``x``."""
    if width == 0:
        return x
    if torch.jit.is_scripting():  # torch.jit.script passes over the other block of this form only
        return mirror(x, width)
    else:
        if torch.compiler.is_compiling() or (x.device.type != "cpu" and not x.requires_grad):
            return mirror(x, width)
        return ReflectionPadding.apply(x, width) if x.device.type == "cpu" else fused(mirror)(x, width)


def instance_normalisation(x: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Compute :func:`normalise` in the way that is fastest on the device of ``x``."""
    if torch.jit.is_scripting():
        return normalise(x, epsilon)
    else:
        if torch.compiler.is_compiling():
            return normalise(x, epsilon)
        if x.device.type == "cpu":
            return InstanceNormalisation.apply(x, epsilon)
        return fused(normalise)(x, epsilon) if x.requires_grad else F.instance_norm(x, eps=epsilon)
