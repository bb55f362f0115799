# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""HyperDecoder: features and a target code to an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from seq2seq_mri.networks.blocks import ConditionalLayer, LeakyReLU
from seq2seq_mri.networks.conditioning import CodeEmbedding, conditional_conv, conditional_norm
from seq2seq_mri.networks.functional import channels_last, upsample_twice

__all__ = [
    "OUTPUT_ACTIVATIONS",
    "UPSAMPLINGS",
    "ConditionalBlock",
    "ConditionalResidualBlock",
    "Decoder",
    "HyperDecoder",
]

UPSAMPLINGS = ("last", "first")
OUTPUT_ACTIVATIONS = ("tanh", "sigmoid", "none")


class ConditionalBlock(ConditionalLayer):
    """Conditional convolution, normalisation, and LeakyReLU where ``activation``.

    Args:
        conv: the convolution.
        norm: the normalisation.
        activation: whether LeakyReLU follows.
    """

    def __init__(self, conv: ConditionalLayer, norm: ConditionalLayer, activation: bool = True) -> None:
        super().__init__()
        self.conv: ConditionalLayer = conv
        self.norm: ConditionalLayer = norm
        self.activation: nn.Module = LeakyReLU() if activation else nn.Identity()

    def specialise(self, code: torch.Tensor) -> ConditionalBlock:
        """Return the block that this one is for one code ``(1, code_channels)``; it ignores the code."""
        activation = not isinstance(self.activation, nn.Identity)
        return ConditionalBlock(self.conv.specialise(code), self.norm.specialise(code), activation)

    def forward(self, x: torch.Tensor, code: torch.Tensor, runs: list[int] | None = None) -> torch.Tensor:
        """Map ``(N, in_channels, *spatial)`` and ``(K, code_channels)`` to ``(N, out_channels, *spatial)``."""
        return self.activation(self.norm(self.conv(x, code, runs), code, runs))


class ConditionalResidualBlock(ConditionalLayer):
    """``x + second(first(x))`` with conditional blocks, the second of which has no activation.

    Args:
        first: the first block.
        second: the second block.
    """

    def __init__(self, first: ConditionalLayer, second: ConditionalLayer) -> None:
        super().__init__()
        self.first: ConditionalLayer = first
        self.second: ConditionalLayer = second

    def specialise(self, code: torch.Tensor) -> ConditionalResidualBlock:
        """Return the block that this one is for one code ``(1, code_channels)``; it ignores the code."""
        return ConditionalResidualBlock(self.first.specialise(code), self.second.specialise(code))

    def forward(self, x: torch.Tensor, code: torch.Tensor, runs: list[int] | None = None) -> torch.Tensor:
        """Map ``(N, channels, *spatial)`` and ``(K, code_channels)`` to the shape of ``x``."""
        return x + self.second(self.first(x, code, runs), code, runs)


class Decoder(nn.Module):
    """Residual blocks, then convolutions with doublings of the resolution between them.

    Args:
        residual_blocks: blocks at the lowest resolution, each a conditional layer.
        blocks: conditional layers each of which leads towards the full resolution.
        output: the last convolution.
        upsample_first: whether the resolution is doubled before all convolutions but the last, or but the first.
        output_activation: ``"tanh"`` for values in (-1, 1), ``"sigmoid"`` for (0, 1), ``"none"``.
    """

    def __init__(
        self,
        residual_blocks: nn.ModuleList,
        blocks: nn.ModuleList,
        output: ConditionalLayer,
        upsample_first: bool,
        output_activation: str,
    ) -> None:
        super().__init__()
        self.residual_blocks = residual_blocks
        self.blocks = blocks
        self.output: ConditionalLayer = output
        self.upsample_first = upsample_first
        self.output_activation = output_activation

    def run(self, features: torch.Tensor, code: torch.Tensor, runs: list[int] | None = None) -> torch.Tensor:
        """Decode features with the codes that every layer is given; see :meth:`HyperDecoder.forward`."""
        features = channels_last(features)
        for residual_block in self.residual_blocks:
            features = residual_block(features, code, runs)
        for index, block in enumerate(self.blocks):
            if self.upsample_first or index > 0:
                features = upsample_twice(features)
            features = block(features, code, runs)
        if not self.upsample_first:
            features = upsample_twice(features)
        image = self.output(features, code, runs)
        if self.output_activation == "tanh":
            return torch.tanh(image)
        if self.output_activation == "sigmoid":
            return torch.sigmoid(image)
        return image

    def forward(self, features: torch.Tensor, code: torch.Tensor, runs: list[int] | None = None) -> torch.Tensor:
        """Decode features; see :meth:`HyperDecoder.forward`."""
        return self.run(features, code, runs)


class HyperDecoder(Decoder):
    """A decoder whose layers are made for a target's code.

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
        if upsample not in UPSAMPLINGS:
            raise ValueError(f"Unknown upsample '{upsample}'; use one of {', '.join(UPSAMPLINGS)}.")
        if output_activation not in OUTPUT_ACTIVATIONS:
            raise ValueError(
                f"Unknown output_activation '{output_activation}'; use one of {', '.join(OUTPUT_ACTIVATIONS)}."
            )
        codes = (code_channels, weight_code_channels)
        backwards = list(channels)[::-1]

        def block(in_channels: int, out_channels: int, activation: bool = True) -> ConditionalBlock:
            # A bias would be taken out by the normalisation.
            conv = conditional_conv(conditioning, spatial_dims, in_channels, out_channels, 3, *codes, bias=False)
            return ConditionalBlock(conv, conditional_norm(conditioning, out_channels, code_channels), activation)

        def residual_block(width: int) -> ConditionalResidualBlock:
            return ConditionalResidualBlock(block(width, width), block(width, width, activation=False))

        embedding = CodeEmbedding(code_channels)
        super().__init__(
            residual_blocks=nn.ModuleList(residual_block(backwards[0]) for _ in range(num_res_blocks)),
            blocks=nn.ModuleList(block(backwards[i], backwards[i + 1]) for i in range(len(backwards) - 1)),
            output=conditional_conv(conditioning, spatial_dims, backwards[-1], out_channels, 7, *codes, bias=True),
            upsample_first=upsample == "first",
            output_activation=output_activation,
        )
        self.code_embedding = embedding

    @torch.no_grad()
    def specialise(self, target: torch.Tensor) -> Decoder:
        """Return the decoder that this one is for one target ``(1, S)``; its layers ignore the code."""
        code = self.code_embedding(target)

        def specialised(layers: nn.ModuleList) -> nn.ModuleList:
            return nn.ModuleList(cast(ConditionalLayer, layer).specialise(code) for layer in layers)

        return Decoder(
            specialised(self.residual_blocks),
            specialised(self.blocks),
            self.output.specialise(code),
            self.upsample_first,
            self.output_activation,
        )

    def forward(self, features: torch.Tensor, target: torch.Tensor, runs: list[int] | None = None) -> torch.Tensor:
        """Decode features.

        Args:
            features: ``(N, channels[-1], *reduced)``.
            target: one-hot codes ``(K, S)``.
            runs: how many consecutive samples share each target, K numbers with the sum N; None for N / K.

        Returns:
            Images ``(N, out_channels, *spatial)``, where spatial is reduced · ``2 ** (len(channels) - 1)``.
        """
        return self.run(features, self.code_embedding(target), runs)
