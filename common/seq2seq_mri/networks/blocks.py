# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The encoder, and the layers that need no target's code, from which it and parts of the decoder are built."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from seq2seq_mri.networks.functional import channels_last, instance_normalisation, reflect_pad

__all__ = ["LEAKY_SLOPE", "Encoder", "InstanceNorm", "ReflectConv2d", "conv_norm", "reflect_conv", "reflect_conv_of"]

LEAKY_SLOPE = 0.2


class LeakyReLU(nn.LeakyReLU):
    """LeakyReLU that works in place where no gradient needs its input, which the normalisation before it also keeps."""

    def __init__(self) -> None:
        super().__init__(LEAKY_SLOPE)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Activate ``x`` of any shape."""
        return F.leaky_relu(x, self.negative_slope, inplace=not x.requires_grad)


class ReflectConv2d(nn.Conv2d):
    """``nn.Conv2d`` whose mirrored borders stay in the precision of its input."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(N, in_channels, H, W)`` to the same size, divided by the stride."""
        x = reflect_pad(x, self.kernel_size[0] // 2)
        return F.conv2d(x, self.weight, self.bias, self.stride, groups=self.groups)


class ReflectConv3d(nn.Conv3d):
    """``nn.Conv3d`` whose mirrored borders stay in the precision of its input."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(N, in_channels, D, H, W)`` to the same size, divided by the stride."""
        x = reflect_pad(x, self.kernel_size[0] // 2)
        return F.conv3d(x, self.weight, self.bias, self.stride, groups=self.groups)


def reflect_conv(
    spatial_dims: int,
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    groups: int = 1,
    bias: bool = True,
) -> ReflectConv2d | ReflectConv3d:
    """Return a convolution with mirrored borders that keeps the spatial size (divided by ``stride``)."""
    conv = ReflectConv2d if spatial_dims == 2 else ReflectConv3d
    width = kernel_size // 2
    return conv(in_channels, out_channels, kernel_size, stride, width, 1, groups, bias, padding_mode="reflect")


def reflect_conv_of(kernel: torch.Tensor, bias: torch.Tensor | None, groups: int = 1) -> ReflectConv2d | ReflectConv3d:
    """Return a convolution with mirrored borders that has a copy of the kernel and bias: see :func:`convolve`."""
    in_channels, width = kernel.shape[1] * groups, kernel.shape[2]
    conv = reflect_conv(kernel.dim() - 2, in_channels, kernel.shape[0], width, groups=groups, bias=bias is not None)
    conv.to(kernel)
    conv.load_state_dict({"weight": kernel} if bias is None else {"weight": kernel, "bias": bias})
    return conv


class InstanceNorm(nn.Module):
    """Instance normalisation for two and three spatial dimensions, by :func:`instance_normalisation`.

    Torch's own copies channels-last maps into another format and back, for twelve times the time on a CPU, and a
    constant map multiplies its gradient. Scale and shift are parameters where ``affine``.
    """

    def __init__(self, channels: int, affine: bool = False) -> None:
        super().__init__()
        self.channels = channels
        self.epsilon = 1e-5
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise ``x`` ``(N, channels, *spatial)``."""
        normalised = instance_normalisation(x, self.epsilon)
        if self.weight is None or self.bias is None:
            return normalised
        shape = [self.channels] + [1] * (x.dim() - 2)
        return normalised * self.weight.view(shape) + self.bias.view(shape)


def conv_norm(
    spatial_dims: int, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, activation: bool = True
) -> nn.Sequential:
    """Return convolution, instance normalisation without affine parameters, and LeakyReLU where ``activation``.

    The convolution has no bias: the normalisation takes out what it would add.
    """
    layers: list[nn.Module] = [
        reflect_conv(spatial_dims, in_channels, out_channels, kernel_size, stride, bias=False),
        InstanceNorm(out_channels),
    ]
    if activation:
        layers.append(LeakyReLU())
    return nn.Sequential(*layers)


class ResidualBlock(nn.Module):
    """``x + norm(conv(activation(norm(conv(x)))))`` with kernels of 3."""

    def __init__(self, spatial_dims: int, channels: int) -> None:
        super().__init__()
        self.first = conv_norm(spatial_dims, channels, channels, 3)
        self.second = conv_norm(spatial_dims, channels, channels, 3, activation=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(N, channels, *spatial)`` to the same shape."""
        return x + self.second(self.first(x))


class Encoder(nn.Module):
    """A 7-wide stem, a stride-2 convolution per further entry of ``channels``, and residual blocks.

    Its arguments are those of the generator.
    """

    def __init__(self, spatial_dims: int, in_channels: int, channels: Sequence[int], num_res_blocks: int) -> None:
        super().__init__()
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.reduction = 2 ** (len(channels) - 1)
        self.stem = conv_norm(spatial_dims, in_channels, channels[0], 7)
        self.downsampling = nn.Sequential(
            *(conv_norm(spatial_dims, inputs, outputs, 3, stride=2) for inputs, outputs in pairwise(channels))
        )
        self.residual_blocks = nn.Sequential(
            *(ResidualBlock(spatial_dims, channels[-1]) for _ in range(num_res_blocks))
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the features ``(N, channels[-1], *spatial / reduction)`` of images ``(N, in_channels, *spatial)``."""
        return self.residual_blocks(self.downsampling(self.stem(channels_last(image))))
