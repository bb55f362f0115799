# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What the tests of all methods that complete missing sequences share: small networks, their contract, overfitting."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from contract import NetworkContract
from torch import nn

from seq2seq_studies.comparison.implicit_conditioning import implicit_conditioning_loss
from seq2seq_studies.networks.many_to_many import ManyToMany
from seq2seq_studies.networks.mm_gan import MMGAN
from seq2seq_studies.networks.pix2pix import Pix2Pix
from seq2seq_studies.networks.resvit import ResViT, TransformerSizes

FOUR = {"t1": 1, "t1gd": 1, "t2": 1, "flair": 1}
TINY_TRANSFORMER = TransformerSizes(8, 8, 12, num_layers=2, num_heads=2, group_sizes=(2, 1), dropout_rate=0.0)


def small_pix2pix(spatial_dims: int, sequences: Mapping[str, int], in_channels: int = 1, **options) -> Pix2Pix:
    """Return Pix2Pix with few and narrow layers."""
    return Pix2Pix(spatial_dims, sequences, in_channels, **{"width": 4, "num_res_blocks": 1, **options})


def small_mm_gan(spatial_dims: int, sequences: Mapping[str, int], in_channels: int = 1, **options) -> MMGAN:
    """Return MM-GAN with three narrow levels; at its start, ReLU would switch off some outputs altogether."""
    settings = {"channels": (4, 6, 8), "output_activation": "tanh", **options}
    return MMGAN(spatial_dims, sequences, in_channels, **settings)


def small_resvit(spatial_dims: int, sequences: Mapping[str, int], in_channels: int = 1, **options) -> ResViT:
    """Return ResViT with few and narrow layers, without dropout."""
    settings = {"width": 4, "image_size": 32, "transformer": TINY_TRANSFORMER, **options}
    return ResViT(spatial_dims, sequences, in_channels, **settings)


class CompletionContract(NetworkContract):
    """The contract, for a table of two sequences of which each sample lacks another one."""

    def complete(self, spatial_dims: int, sequences: Mapping[str, int]) -> ManyToMany:
        raise NotImplementedError

    def network(self, spatial_dims: int, timepoints: int) -> nn.Module:
        return self.complete(spatial_dims, {"t1": timepoints, "t2": 1})

    def inputs(self, spatial_dims: int, timepoints: int, size: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
        return torch.randn(2, timepoints + 1, 2, *size), torch.eye(2) > 0

    def output_shape(self, spatial_dims: int, timepoints: int, size: tuple[int, ...]) -> tuple[int, ...]:
        return 2, timepoints + 1, 2, *size

    def test_any_size(self, spatial_dims: int) -> None:
        image = torch.randn(1, 2, 2, *(1, 5, 70)[:spatial_dims])
        assert self.built(spatial_dims, 1)(image, torch.eye(2)[:1] > 0).shape == image.shape


def count_parameters(network: nn.Module) -> int:
    """Return the number of parameters, those shared by several modules once."""
    return sum(parameter.numel() for parameter in network.parameters())


def smooth_images(samples: int, timepoints: int, size: int = 32) -> torch.Tensor:
    """Return random smooth images ``(samples, timepoints, 1, size, size)`` in [0, 1]."""
    coarse = torch.rand(samples, timepoints, size // 8, size // 8)
    return nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1).unsqueeze(2)


def overfitted_psnr(network: ManyToMany, steps: int, learning_rate: float) -> float:
    """Train on one batch of two samples, one source each, and return the PSNR (dB, range 1) of what was missing."""
    torch.manual_seed(4)
    count = len(network.sequences)
    image, available = smooth_images(2, sum(network.sequences.values())), torch.eye(count)[[0, count - 1]] > 0
    measured = torch.ones_like(available)
    optimizer = torch.optim.Adam(network.parameters(), learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    for _ in range(steps):
        optimizer.zero_grad()
        made = network(image, available)
        implicit_conditioning_loss(made, image, available, measured, network.timepoints).mean().backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        error = (network.eval()(image, available) - image).square()
    hidden = (measured & ~available).repeat_interleave(torch.tensor(network.timepoints), dim=1)
    return -10 * math.log10(error[hidden].mean().item())
