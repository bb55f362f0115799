# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""A generator for fixed targets, in which every kernel is an ordinary parameter."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import nn

from seq2seq_mri.networks.decoder import HyperDecoder
from seq2seq_mri.networks.generator import SequenceTranslator
from seq2seq_mri.sequences import sequence_codes, sequence_index

__all__ = ["SpecialisedDecoder", "SpecialisedGenerator"]


class SpecialisedDecoder(nn.Module):
    """One plain decoder per target.

    Args:
        decoders: target name → decoder, called with features and a code, which it ignores.
        sequences: the sequence table; codes are one-hot in its order.
    """

    def __init__(self, decoders: Mapping[str, nn.Module], sequences: Mapping[str, int]) -> None:
        super().__init__()
        self.decoders = nn.ModuleDict(decoders)
        self.positions = [sequence_index(sequences, name) for name in decoders]
        self.names = list(sequences)

    def forward(self, features: torch.Tensor, target: torch.Tensor, runs: list[int] | None = None) -> torch.Tensor:
        """Decode features.

        Args:
            features: ``(N, F, *reduced)``.
            target: one-hot codes ``(K, S)``. While torch.export looks on, the code is not read, and there may only be
                one target.
            runs: how many consecutive samples share each target, K numbers with the sum N; None for N / K.

        Returns:
            Images ``(N, out_channels, *spatial)``.

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


class SpecialisedGenerator(SequenceTranslator):
    """A generator for fixed targets: the same images without HyperConv banks.

    The kernels of a HyperConv depend on the target only. Here they are computed once, so that each target has a plain
    decoder, of a sixteenth of the size of the conditional one: specialised to one target, the published network has 43
    instead of 155 million parameters. It has the methods of the generator that it was made of, is meant for inference
    (no parameter has a gradient) and may be converted to another precision as a whole, scripted and exported.

    Args:
        generator: network with a :class:`HyperDecoder`. It is copied, as its weights are
            now.
        targets: names of sequences of its table, without repetition; the first is the default target.

    Raises:
        ValueError: when there is no target, or one is unknown or named twice.
    """

    def __init__(self, generator: SequenceTranslator, targets: Sequence[str]) -> None:
        if len(targets) == 0 or len(set(targets)) < len(targets):
            raise ValueError(f"A generator is specialised to one or more different targets, got {list(targets)}.")
        codes = sequence_codes(generator.sequences, targets).to(next(generator.parameters()))
        decoder = cast(HyperDecoder, generator.decoder)
        decoders = {name: decoder.specialise(code[None]) for name, code in zip(targets, codes, strict=True)}
        super().__init__(
            generator.spatial_dims,
            generator.sequences,
            generator.in_channels,
            generator.reduction,
            encoder=copy.deepcopy(generator.encoder),
            encoder_lstm=copy.deepcopy(generator.encoder_lstm),
            decoder_lstm=copy.deepcopy(generator.decoder_lstm),
            decoder=SpecialisedDecoder(decoders, generator.sequences),
            default_target=sequence_index(generator.sequences, targets[0]),
        )
        self.targets = list(targets)
        self.requires_grad_(False)
        self.eval()
        if next(generator.parameters()).device.type == "cpu":
            # Convolutions then need not bring the kernels into the format of their input.
            self.to(memory_format=torch.channels_last if self.spatial_dims == 2 else torch.channels_last_3d)
