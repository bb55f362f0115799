# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Pix2Pix: one network for each pair of a source and a target sequence.

Source: Isola et al., "Image-to-image translation with conditional adversarial networks", CVPR 2017. Studies of MRI
synthesis use it with the generator of nine residual blocks that its authors recommend for images of 256 pixels in the
paper on CycleGAN (Zhu et al., ICCV 2017, section 7.2) instead of the U-Net; that is the network of 11.4 million
parameters in their tables (11 365 633 for one channel, 11 378 179 for three). The discriminator is
:class:`ConditionalDiscriminator`, the loss L1 times 100 plus the adversarial one (section 3.1). Noise by dropout (same
section) is left out: a synthesised image shall not change from run to run.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from monai.networks.utils import normal_init
from torch import nn

from seq2seq_mri.sequences import sequence_index
from seq2seq_studies.networks.many_to_many import ManyToMany
from seq2seq_studies.networks.residual_generator import PlainResidualBlock, ResidualGenerator

__all__ = ["Pix2Pix", "pix2pix_generator"]


def pix2pix_generator(
    spatial_dims: int,
    in_channels: int = 1,
    out_channels: int = 1,
    width: int = 64,
    num_res_blocks: int = 9,
    output_activation: str = "tanh",
) -> ResidualGenerator:
    """Return the network of one pair, ``(N, in_channels, *spatial)`` to ``(N, out_channels, *spatial)``.

    Args:
        spatial_dims: 2 (the paper) or 3 (its convolutions in three dimensions).
        in_channels: channels of the source.
        out_channels: channels of the target.
        width: feature channels at full resolution, four times as many in the residual blocks.
        num_res_blocks: number of residual blocks.
        output_activation: see :func:`output_layer`.
    """
    blocks = (PlainResidualBlock(spatial_dims, 4 * width, affine=False) for _ in range(num_res_blocks))
    generator = ResidualGenerator(
        spatial_dims, in_channels, out_channels, nn.Sequential(*blocks), width, output_activation=output_activation
    )
    # Normal weights with a standard deviation of 0.02, as in the paper's section 6.2.
    generator.apply(normal_init)
    return generator


class Pix2Pix(ManyToMany):
    """S · (S - 1) independent networks; a missing sequence is the mean of its translations from the available ones.

    Given one source, as in the paper, the mean is that of one translation. Only the networks that are needed run.

    Args:
        spatial_dims, sequences, in_channels: see :class:`ManyToMany`; at least two sequences.
        width, num_res_blocks, output_activation: of each network, see :func:`pix2pix_generator`.

    Raises:
        ValueError: when the table has a single sequence.

    Example:
        >>> pix2pix = Pix2Pix(2, {"t1": 1, "dce": 4}, width=4, num_res_blocks=1)
        >>> pix2pix(torch.rand(1, 5, 1, 21, 18), torch.tensor([[True, False]])).shape
        torch.Size([1, 5, 1, 21, 18])
        >>> pix2pix["t1", "dce"](torch.rand(1, 1, 21, 18)).shape
        torch.Size([1, 4, 21, 18])
    """

    def __init__(
        self,
        spatial_dims: int,
        sequences: Mapping[str, int],
        in_channels: int = 1,
        width: int = 64,
        num_res_blocks: int = 9,
        output_activation: str = "tanh",
    ) -> None:
        super().__init__(spatial_dims, sequences, in_channels)
        count = len(self.timepoints)
        if count < 2:
            raise ValueError(f"Pix2Pix translates between sequences; the table has only {', '.join(self.sequences)}.")
        #: Positions in the table of source and target of each network.
        self.pairs = [(source, target) for source in range(count) for target in range(count) if source != target]
        self.networks = nn.ModuleList(
            pix2pix_generator(
                spatial_dims,
                self.timepoints[source] * in_channels,
                self.timepoints[target] * in_channels,
                width,
                num_res_blocks,
                output_activation,
            )
            for source, target in self.pairs
        )

    def __getitem__(self, pair: tuple[str, str]) -> nn.Module:
        """Return the network of a pair of names, source and target."""
        source, target = (sequence_index(self.sequences, name) for name in pair)
        return self.networks[self.pairs.index((source, target))]

    def synthesise(self, given: torch.Tensor, available: torch.Tensor) -> torch.Tensor:
        """Translate from every available sequence into every missing one; 0 for available sequences."""
        wanted = available.unsqueeze(2) & ~available.unsqueeze(1)
        weights = wanted.to(given.dtype) / available.sum(1).clamp(min=1).view(-1, 1, 1).to(given.dtype)
        frames = given.split(self.timepoints, dim=1)
        images = [torch.zeros_like(sequence) for sequence in frames]
        for index, network in enumerate(self.networks):
            source, target = self.pairs[index]
            sources, rows = frames[source].flatten(1, 2), self._rows(wanted[:, source, target])
            if rows.numel() > 0:
                translated = network(sources[rows]).unflatten(1, [self.timepoints[target], self.in_channels])
                weight = weights[rows, source, target].view([-1] + [1] * (given.dim() - 1))
                images[target] = images[target].index_add(0, rows, weight * translated)
        return torch.cat(images, dim=1)

    def _rows(self, wanted: torch.Tensor) -> torch.Tensor:
        """Return the positions of the samples that want a translation; of all of them where a graph is recorded."""
        if not torch.jit.is_scripting() and torch.compiler.is_compiling():
            return torch.arange(wanted.shape[0], device=wanted.device)
        return torch.nonzero(wanted)[:, 0]
