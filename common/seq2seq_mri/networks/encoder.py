# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Encoder: one image to features at reduced resolution."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from seq2seq_mri.networks.blocks import ResidualBlock, conv_norm
from seq2seq_mri.networks.functional import channels_last

__all__ = ["Encoder"]


class Encoder(nn.Module):
    """A 7-wide stem, a stride-2 convolution per further entry of ``channels``, and residual blocks.

    Args:
        spatial_dims: 2 or 3.
        in_channels: number of image channels.
        channels: feature channels of the stem and of each halving of the resolution.
        num_res_blocks: number of residual blocks at the lowest resolution.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int = 3,
        channels: Sequence[int] = (64, 128, 256),
        num_res_blocks: int = 6,
    ) -> None:
        super().__init__()
        self.stem = conv_norm(spatial_dims, in_channels, channels[0], 7)
        self.downsampling = nn.Sequential(
            *(conv_norm(spatial_dims, channels[i], channels[i + 1], 3, stride=2) for i in range(len(channels) - 1))
        )
        self.residual_blocks = nn.Sequential(
            *(ResidualBlock(spatial_dims, channels[-1]) for _ in range(num_res_blocks))
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Encode images.

        Args:
            image: ``(N, in_channels, *spatial)``, each spatial size a multiple of ``2 ** (len(channels) - 1)``.

        Returns:
            Features ``(N, channels[-1], *reduced)``, reduced by that factor.
        """
        return self.residual_blocks(self.downsampling(self.stem(channels_last(image))))
