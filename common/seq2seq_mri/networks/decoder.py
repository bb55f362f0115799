# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The decoder, which makes an image from features and a target's code, and its form for fixed targets."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import nn

from seq2seq_mri.networks.blocks import LeakyReLU
from seq2seq_mri.networks.conditioning import CodeEmbedding, ConditionalLayer, Conditioning
from seq2seq_mri.networks.functional import channels_last, upsample_twice
from seq2seq_mri.sequences import sequence_index

__all__ = ["Decoder", "SpecialisedDecoder"]

UPSAMPLINGS = ("last", "first")
OUTPUT_ACTIVATIONS = ("tanh", "sigmoid", "none")


class ConditionalBlock(nn.Module):
    """Conditional convolution, normalisation, and LeakyReLU where ``activation``."""

    def __init__(
        self, conditioning: Conditioning, in_channels: int, out_channels: int, activation: bool = True
    ) -> None:
        super().__init__()
        # A bias would be taken out by the normalisation.
        self.conv = conditioning.conv(in_channels, out_channels, 3, bias=False)
        self.norm = conditioning.norm(out_channels)
        self.activation = LeakyReLU() if activation else nn.Identity()

    def forward(self, x: torch.Tensor, code: torch.Tensor, runs: list[int] | None = None) -> torch.Tensor:
        """Map ``(N, in_channels, *spatial)`` and ``(K, code_channels)`` to ``(N, out_channels, *spatial)``."""
        return self.activation(self.norm(self.conv(x, code, runs), code, runs))


class ConditionalResidualBlock(nn.Module):
    """``x + second(first(x))`` with conditional blocks, the second of which has no activation."""

    def __init__(self, conditioning: Conditioning, channels: int) -> None:
        super().__init__()
        self.first = ConditionalBlock(conditioning, channels, channels)
        self.second = ConditionalBlock(conditioning, channels, channels, activation=False)

    def forward(self, x: torch.Tensor, code: torch.Tensor, runs: list[int] | None = None) -> torch.Tensor:
        """Map ``(N, channels, *spatial)`` and ``(K, code_channels)`` to the shape of ``x``."""
        return x + self.second(self.first(x, code, runs), code, runs)


class Decoder(nn.Module):
    """Residual blocks, then convolutions with doublings of the resolution between them, all made for a target's code.

    Args:
        conditioning: makes the layers.
        out_channels: number of image channels.
        channels: the encoder's channels; they are passed through backwards.
        num_res_blocks: number of residual blocks at the lowest resolution.
        upsample: ``"last"`` doubles the resolution before all convolutions but the first (the paper: before the last
            two of three), ``"first"`` before all but the last (the released code).
        output_activation: ``"tanh"`` for values in (-1, 1), ``"sigmoid"`` for (0, 1), ``"none"``.

    Raises:
        ValueError: when ``upsample`` or ``output_activation`` is not one of those named.
    """

    def __init__(
        self,
        conditioning: Conditioning,
        out_channels: int,
        channels: Sequence[int],
        num_res_blocks: int,
        upsample: str = "last",
        output_activation: str = "tanh",
    ) -> None:
        super().__init__()
        if upsample not in UPSAMPLINGS:
            raise ValueError(f"Unknown upsample '{upsample}'; use one of {', '.join(UPSAMPLINGS)}.")
        if output_activation not in OUTPUT_ACTIVATIONS:
            raise ValueError(
                f"Unknown output_activation '{output_activation}'; use one of {', '.join(OUTPUT_ACTIVATIONS)}."
            )
        backwards = list(channels)[::-1]
        code_embedding = CodeEmbedding(conditioning.code_channels)
        self.residual_blocks = nn.ModuleList(
            ConditionalResidualBlock(conditioning, backwards[0]) for _ in range(num_res_blocks)
        )
        self.blocks = nn.ModuleList(
            ConditionalBlock(conditioning, inputs, outputs) for inputs, outputs in pairwise(backwards)
        )
        self.output = conditioning.conv(backwards[-1], out_channels, 7, bias=True)
        self.upsample_first = upsample == "first"
        self.output_activation = output_activation
        # Last, so that parameters keep their order, by which checkpoints of optimisers know them.
        self.code_embedding: nn.Module = code_embedding

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
        """Return the decoder that this one is for one target ``(1, S)``: a copy whose layers ignore the code."""
        code = self.code_embedding(target)
        # What deepcopy finds here by its id it takes for the copy, so that no bank is copied.
        copies: dict[int, nn.Module] = {id(self.code_embedding): nn.Identity()}
        for layer in self.modules():
            if isinstance(layer, ConditionalLayer):
                copies[id(layer)] = layer.specialise(code)
        return copy.deepcopy(self, copies)


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
        parts = features.split(sizes)
        return torch.cat([self.decode_one(part, target, wanted[index]) for index, part in enumerate(parts)])

    def decode_one(self, features: torch.Tensor, target: torch.Tensor, position: int) -> torch.Tensor:
        """Decode all features for the target at ``position`` of the table."""
        for index, decoder in enumerate(self.decoders.values()):
            if self.positions[index] == position:
                return decoder(features, target)
        raise ValueError(f"The generator was specialised to other targets than {self.names[position]}.")
