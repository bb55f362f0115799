# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Building blocks of encoder and decoder."""

from __future__ import annotations

import torch
from monai.networks.layers.factories import Conv, Norm
from torch import nn

__all__ = ["LEAKY_SLOPE", "ResidualBlock", "conv_norm", "reflect_conv"]

LEAKY_SLOPE = 0.2


def reflect_conv(
    spatial_dims: int, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1
) -> nn.Module:
    """Return a convolution with mirrored borders that keeps the spatial size (divided by ``stride``)."""
    return Conv[Conv.CONV, spatial_dims](
        in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2, padding_mode="reflect"
    )


def conv_norm(
    spatial_dims: int,
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    activation: bool = True,
) -> nn.Sequential:
    """Return convolution, instance normalisation without affine parameters, and LeakyReLU where ``activation``."""
    layers: list[nn.Module] = [
        reflect_conv(spatial_dims, in_channels, out_channels, kernel_size, stride),
        Norm[Norm.INSTANCE, spatial_dims](out_channels),
    ]
    if activation:
        layers.append(nn.LeakyReLU(LEAKY_SLOPE, inplace=True))
    return nn.Sequential(*layers)


class ResidualBlock(nn.Module):
    """``x + norm(conv(activation(norm(conv(x)))))`` with kernels of 3.

    Args:
        spatial_dims: 2 or 3.
        channels: number of input and output channels.
    """

    def __init__(self, spatial_dims: int, channels: int) -> None:
        super().__init__()
        self.first = conv_norm(spatial_dims, channels, channels, 3)
        self.second = conv_norm(spatial_dims, channels, channels, 3, activation=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(N, channels, *spatial)`` to the same shape."""
        return x + self.second(self.first(x))
