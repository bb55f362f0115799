# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""HyperDecoder: features and a target code to an image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from seq2seq_mri.networks.conditioning import (
    CodeEmbedding,
    ConditionalBlock,
    ConditionalResidualBlock,
    conditional_conv,
)
from seq2seq_mri.networks.functional import upsample_twice

__all__ = ["OUTPUT_ACTIVATIONS", "UPSAMPLINGS", "HyperDecoder"]

UPSAMPLINGS = ("last", "first")
OUTPUT_ACTIVATIONS = ("tanh", "sigmoid", "none")


class HyperDecoder(nn.Module):
    """Conditional residual blocks, then conditional convolutions with doublings of the resolution between them.

    Args:
        spatial_dims: 2 or 3.
        out_channels: number of image channels.
        channels: the encoder's channels; they are passed through backwards.
        num_res_blocks: number of residual blocks at the lowest resolution.
        code_channels: length of the embedded code.
        weight_code_channels: number of kernels in a HyperConv's bank.
        upsample: ``"last"`` doubles the resolution before all convolutions but the first (the paper: before the last
            two of three), ``"first"`` before all but the last (the released code).
        conditioning: ``"hyper"``, ``"adain"`` or ``"dynamic"``; see :mod:`seq2seq_mri.networks.conditioning`.
        output_activation: ``"tanh"`` for values in (-1, 1), ``"sigmoid"`` for (0, 1), ``"none"``.

    Raises:
        ValueError: when an option is not one of those named.
    """

    def __init__(
        self,
        spatial_dims: int,
        out_channels: int = 3,
        channels: Sequence[int] = (64, 128, 256),
        num_res_blocks: int = 6,
        code_channels: int = 64,
        weight_code_channels: int = 16,
        upsample: str = "last",
        conditioning: str = "hyper",
        output_activation: str = "tanh",
    ) -> None:
        super().__init__()
        if upsample not in UPSAMPLINGS:
            raise ValueError(f"Unknown upsample '{upsample}'; use one of {', '.join(UPSAMPLINGS)}.")
        if output_activation not in OUTPUT_ACTIVATIONS:
            raise ValueError(
                f"Unknown output_activation '{output_activation}'; use one of {', '.join(OUTPUT_ACTIVATIONS)}."
            )
        self.upsample_first = upsample == "first"
        self.output_activation = output_activation
        codes = (code_channels, weight_code_channels)
        backwards = list(channels)[::-1]
        self.code_embedding = CodeEmbedding(code_channels)
        self.residual_blocks = nn.ModuleList(
            ConditionalResidualBlock(conditioning, spatial_dims, backwards[0], *codes) for _ in range(num_res_blocks)
        )
        self.blocks = nn.ModuleList(
            ConditionalBlock(conditioning, spatial_dims, backwards[i], backwards[i + 1], *codes)
            for i in range(len(backwards) - 1)
        )
        self.output = conditional_conv(conditioning, spatial_dims, backwards[-1], out_channels, 7, *codes)

    def forward(self, features: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Decode features.

        Args:
            features: ``(N, channels[-1], *reduced)``.
            target: one-hot codes ``(K, S)``, K dividing N: consecutive runs of N / K samples share a target.

        Returns:
            Images ``(N, out_channels, *spatial)``, where spatial is reduced · ``2 ** (len(channels) - 1)``.
        """
        code = self.code_embedding(target)
        for residual_block in self.residual_blocks:
            features = residual_block(features, code)
        for index, block in enumerate(self.blocks):
            if self.upsample_first or index > 0:
                features = upsample_twice(features)
            features = block(features, code)
        if not self.upsample_first:
            features = upsample_twice(features)
        image = self.output(features, code)
        if self.output_activation == "tanh":
            return torch.tanh(image)
        if self.output_activation == "sigmoid":
            return torch.sigmoid(image)
        return image
