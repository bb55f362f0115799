# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Convolutional encoder and decoder around any bottleneck, shared by Pix2Pix and ResViT."""

from __future__ import annotations

import torch
from monai.networks.layers.factories import Conv
from torch import nn

from seq2seq_mri.networks.blocks import InstanceNorm, reflect_conv
from seq2seq_mri.networks.functional import crop_to, pad_to_multiple
from seq2seq_studies.networks.many_to_many import output_layer

__all__ = ["PlainResidualBlock", "ResidualGenerator", "doubling", "halving", "norm_relu"]


def norm_relu(layer: nn.Module, channels: int, affine: bool) -> nn.Sequential:
    """Return a layer of ``channels`` outputs, followed by instance normalisation and ReLU."""
    return nn.Sequential(layer, InstanceNorm(channels, affine), nn.ReLU())


def halving(spatial_dims: int, in_channels: int, out_channels: int, affine: bool) -> nn.Sequential:
    """Return a convolution that halves every (even) spatial size, with normalisation and ReLU.

    Where the normalisation has scale and shift (``affine``), the convolution has no bias.
    """
    conv = Conv[Conv.CONV, spatial_dims](in_channels, out_channels, 3, stride=2, padding=1, bias=not affine)
    return norm_relu(conv, out_channels, affine)


def doubling(spatial_dims: int, in_channels: int, out_channels: int, affine: bool) -> nn.Sequential:
    """Return the transposed convolution that doubles every spatial size, otherwise like :func:`halving`."""
    conv = Conv[Conv.CONVTRANS, spatial_dims](
        in_channels, out_channels, 3, stride=2, padding=1, output_padding=1, bias=not affine
    )
    return norm_relu(conv, out_channels, affine)


class PlainResidualBlock(nn.Module):
    """``x + norm(conv(ReLU(norm(conv(x)))))`` with kernels of 3 and mirrored borders; ``affine`` as in halving."""

    def __init__(self, spatial_dims: int, channels: int, affine: bool) -> None:
        super().__init__()
        self.first = norm_relu(reflect_conv(spatial_dims, channels, channels, 3, bias=not affine), channels, affine)
        self.second = nn.Sequential(
            reflect_conv(spatial_dims, channels, channels, 3, bias=not affine), InstanceNorm(channels, affine)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(N, channels, *spatial)`` to the same shape."""
        return x + self.second(self.first(x))


class ResidualGenerator(nn.Module):
    """A 7-wide convolution, two halvings, a bottleneck, two doublings, a 7-wide convolution.

    Source: Johnson et al., "Perceptual losses for real-time style transfer and super-resolution", ECCV 2016, as adopted
    for image translation by Zhu et al., "Unpaired image-to-image translation using cycle-consistent adversarial
    networks", ICCV 2017, section 7.2.

    Args:
        spatial_dims: 2 or 3.
        in_channels: number of input channels.
        out_channels: number of output channels.
        bottleneck: maps ``(N, 4 · width, *spatial / 4)`` to the same shape.
        width: feature channels at full resolution; they double with each halving.
        affine: whether the normalisations have scale and shift; the convolutions before them have no bias then.
        output_activation: see :func:`output_layer`.
        multiple: of which the bottleneck wants spatial sizes to be a multiple, counted at full resolution.
        smallest: smallest spatial size that the bottleneck can use, counted at full resolution.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        bottleneck: nn.Module,
        width: int = 64,
        affine: bool = False,
        output_activation: str = "tanh",
        multiple: int = 4,
        smallest: int = 8,
    ) -> None:
        super().__init__()
        self.multiple = multiple
        self.smallest = smallest
        self.encoder = nn.Sequential(
            norm_relu(reflect_conv(spatial_dims, in_channels, width, 7, bias=not affine), width, affine),
            halving(spatial_dims, width, 2 * width, affine),
            halving(spatial_dims, 2 * width, 4 * width, affine),
        )
        self.bottleneck = bottleneck
        self.decoder = nn.Sequential(
            doubling(spatial_dims, 4 * width, 2 * width, affine),
            doubling(spatial_dims, 2 * width, width, affine),
            reflect_conv(spatial_dims, width, out_channels, 7),
            output_layer(output_activation),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Translate ``(N, in_channels, *spatial)``, padded and cropped inside, to ``(N, out_channels, *spatial)``."""
        padded = pad_to_multiple(image, self.multiple, self.smallest)
        return crop_to(self.decoder(self.bottleneck(self.encoder(padded))), list(image.shape[2:]))
