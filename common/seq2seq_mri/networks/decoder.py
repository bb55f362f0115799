# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The decoder, which makes an image of features and a target's code, and its form for fixed targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import nn

from seq2seq_mri.networks.blocks import ConditionalLayer, LeakyReLU
from seq2seq_mri.networks.conditioning import CodeEmbedding, Conditioning
from seq2seq_mri.networks.functional import channels_last, upsample_twice
from seq2seq_mri.sequences import sequence_index

__all__ = ["Decoder", "SpecialisedDecoder", "conditional_decoder"]

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
        code_embedding: maps a target's one-hot code to the code that the layers are given.
        residual_blocks: conditional layers at the lowest resolution.
        blocks: conditional layers each of which leads towards the full resolution.
        output: the last convolution.
        upsample_first: whether the resolution is doubled before all convolutions but the last, or but the first.
        output_activation: ``"tanh"`` for values in (-1, 1), ``"sigmoid"`` for (0, 1), ``"none"``.
    """

    def __init__(
        self,
        code_embedding: nn.Module,
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
        # Last, so that parameters keep their order, by which checkpoints of optimisers know them.
        self.code_embedding = code_embedding

    def forward(self, features: torch.Tensor, target: torch.Tensor, runs: list[int] | None = None) -> torch.Tensor:
        """Return images ``(N, out_channels, *spatial)``, spatial = reduced · ``2 ** (number of blocks)``.

        Args:
            features: ``(N, F, *reduced)``.
            target: one-hot codes ``(K, S)``.
            runs: how many consecutive samples share each target, K numbers with the sum N; None for N / K.
        """
        code = self.code_embedding(target)
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

    @torch.no_grad()
    def specialise(self, target: torch.Tensor) -> Decoder:
        """Return the decoder that this one is for one target ``(1, S)``; its layers ignore the code."""
        code = self.code_embedding(target)

        def specialised(layers: nn.ModuleList) -> nn.ModuleList:
            return nn.ModuleList(cast(ConditionalLayer, layer).specialise(code) for layer in layers)

        return Decoder(
            nn.Identity(),
            specialised(self.residual_blocks),
            specialised(self.blocks),
            self.output.specialise(code),
            self.upsample_first,
            self.output_activation,
        )


def conditional_decoder(
    conditioning: Conditioning,
    out_channels: int,
    channels: Sequence[int],
    num_res_blocks: int,
    upsample: str = "last",
    output_activation: str = "tanh",
) -> Decoder:
    """Return a decoder whose layers are made for a target's code.

    Args:
        conditioning: makes the layers.
        out_channels: number of image channels.
        channels: the encoder's channels; they are passed through backwards.
        num_res_blocks: number of residual blocks at the lowest resolution.
        upsample: ``"last"`` doubles the resolution before all convolutions but the first (the paper: before the last
            two of three), ``"first"`` before all but the last (the released code).
        output_activation: see :class:`Decoder`.

    Raises:
        ValueError: when an option is not one of those named.
    """
    if upsample not in UPSAMPLINGS:
        raise ValueError(f"Unknown upsample '{upsample}'; use one of {', '.join(UPSAMPLINGS)}.")
    if output_activation not in OUTPUT_ACTIVATIONS:
        raise ValueError(
            f"Unknown output_activation '{output_activation}'; use one of {', '.join(OUTPUT_ACTIVATIONS)}."
        )
    backwards = list(channels)[::-1]

    def block(in_channels: int, out_channels: int, activation: bool = True) -> ConditionalBlock:
        # A bias would be taken out by the normalisation.
        conv = conditioning.conv(in_channels, out_channels, 3, bias=False)
        return ConditionalBlock(conv, conditioning.norm(out_channels), activation)

    def residual_block(width: int) -> ConditionalResidualBlock:
        return ConditionalResidualBlock(block(width, width), block(width, width, activation=False))

    return Decoder(
        CodeEmbedding(conditioning.code_channels),
        residual_blocks=nn.ModuleList(residual_block(backwards[0]) for _ in range(num_res_blocks)),
        blocks=nn.ModuleList(block(backwards[i], backwards[i + 1]) for i in range(len(backwards) - 1)),
        output=conditioning.conv(backwards[-1], out_channels, 7, bias=True),
        upsample_first=upsample == "first",
        output_activation=output_activation,
    )


class SpecialisedDecoder(nn.Module):
    """One plain decoder per target.

    Args:
        decoders: target name → decoder that ignores the code.
        sequences: the sequence table; codes are one-hot in its order.
    """

    def __init__(self, decoders: Mapping[str, Decoder], sequences: Mapping[str, int]) -> None:
        super().__init__()
        self.decoders = nn.ModuleDict(decoders)
        self.positions = [sequence_index(sequences, name) for name in decoders]
        self.names = list(sequences)

    def forward(self, features: torch.Tensor, target: torch.Tensor, runs: list[int] | None = None) -> torch.Tensor:
        """Decode as :meth:`Decoder.forward` does.

        While torch.export looks on, the code is not read, and there may only be one target.

        Raises:
            ValueError: when a code is not that of one of the targets.
        """
        if not torch.jit.is_scripting():  # noqa: SIM102, torch.jit.script passes over the block of just this condition
            if torch.compiler.is_exporting() and len(self.positions) == 1:
                return self.decode_one(features, target, self.positions[0])
        wanted: list[int] = target.argmax(dim=1).tolist()
        if min(wanted) == max(wanted):
            return self.decode_one(features, target, wanted[0])
        sizes = [features.shape[0] // len(wanted)] * len(wanted) if runs is None else runs
        images: list[torch.Tensor] = []
        start = 0
        for index, size in zip(wanted, sizes):  # noqa: B905, torch.jit.script knows no strict
            images.append(self.decode_one(features[start : start + size], target, index))
            start += size
        return torch.cat(images)

    def decode_one(self, features: torch.Tensor, target: torch.Tensor, position: int) -> torch.Tensor:
        """Decode all features for the target at ``position`` of the table."""
        for index, decoder in enumerate(self.decoders.values()):
            if self.positions[index] == position:
                return decoder(features, target)
        raise ValueError(f"The generator was specialised to other targets than {self.names[position]}.")
