# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Discriminators D_j, one per MRI sequence (Eq. 2 of the paper)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from monai.networks.nets.patchgan_discriminator import PatchDiscriminator
from torch import nn

from seq2seq_mri.sequences import check_sequences, sequence_index

__all__ = ["SequenceDiscriminators"]


class SequenceDiscriminators(nn.Module):
    """One patch discriminator per sequence; each judges the timepoints of an image one by one.

    Args:
        spatial_dims: 2 or 3.
        sequences: the sequence table, name to number of timepoints.
        in_channels: channels of an image, as of the generator.
        channels: feature channels of the first layer; they double with each further layer.
        num_layers: number of strided layers.

    Example:
        >>> discriminators = SequenceDiscriminators(2, {"t1": 1, "t2": 1}, channels=8, num_layers=2)
        >>> discriminators(torch.rand(1, 1, 3, 32, 32), "t2").shape
        torch.Size([1, 1, 1, 6, 6])
    """

    def __init__(
        self,
        spatial_dims: int,
        sequences: Mapping[str, int],
        in_channels: int = 3,
        channels: int = 64,
        num_layers: int = 3,
    ) -> None:
        super().__init__()
        self.sequences = check_sequences(sequences)
        self.names = list(self.sequences)
        # A list, not a dictionary: names of sequences may contain what names of modules may not.
        self.discriminators = nn.ModuleList(
            PatchDiscriminator(spatial_dims, channels, in_channels, num_layers_d=num_layers, norm="INSTANCE")
            for _ in self.sequences
        )

    def __getitem__(self, sequence: str) -> nn.Module:
        """Return the discriminator of ``sequence``."""
        return self.discriminators[sequence_index(self.sequences, sequence)]

    def forward(self, image: torch.Tensor, sequence: str) -> torch.Tensor:
        """Judge whether images of ``sequence`` are real.

        Args:
            image: ``(B, T, in_channels, *spatial)``.
            sequence: a name of the sequence table.

        Returns:
            Scores of overlapping patches ``(B, T, 1, *patches)``, without activation: high means real.

        Raises:
            ValueError: when there is no such sequence.
        """
        # A loop, because torch.jit.script cannot look a module up by a value.
        for index, discriminator in enumerate(self.discriminators):
            if self.names[index] == sequence:
                # PatchDiscriminator returns every layer's output; the last is the score.
                return discriminator(image.flatten(0, 1))[-1].unflatten(0, image.shape[:2])
        raise ValueError(f"Unknown sequence '{sequence}'; the sequence table has {', '.join(self.names)}.")
