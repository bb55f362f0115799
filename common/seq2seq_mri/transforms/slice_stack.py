# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Arranges images as the generator takes them: slices with their neighbours as channels (2.5D), or one channel (3D).

A two-dimensional network sees a slice together with its neighbours along the last axis, as channels (2.5D); the middle
channel of its output is the result. A three-dimensional network sees one channel.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

__all__ = ["network_input", "slice_stacks"]


def network_input(image: torch.Tensor, channels: slice, spatial_dims: int) -> torch.Tensor:
    """Return one sequence of a batch of patches in the shape that the generator takes.

    Args:
        image: patches ``[B, ΣT, H, W, D]``. For a two-dimensional network ``D`` is its number of adjacent slices.
        channels: the sequence's timepoints, from ``sequences.channel_slices``.
        spatial_dims: 2 or 3.

    Returns:
        ``[B, T, D, H, W]`` for a two-dimensional, ``[B, T, 1, H, W, D]`` for a three-dimensional network; a view.
    """
    sequence = image[:, channels]
    return sequence.permute(0, 1, 4, 2, 3) if spatial_dims == 2 else sequence.unsqueeze(2)


def slice_stacks(volume: torch.Tensor, slice_indices: Sequence[int] | torch.Tensor, in_channels: int) -> torch.Tensor:
    """Return slices with their neighbours along the last axis; the volume's first and last slice are replicated.

    Args:
        volume: ``[T, X, Y, Z]``.
        slice_indices: the ``N`` middle slices, each in ``0 … Z - 1``.
        in_channels: number ``C`` of adjacent slices, odd.

    Returns:
        ``[N, T, C, X, Y]``, a copy of the dtype and on the device of ``volume``.
    """
    # On the CPU: to look at an index on a GPU is to wait for all that it has to do.
    middle = torch.as_tensor(slice_indices, dtype=torch.long).cpu()
    offsets = torch.arange(in_channels) - in_channels // 2
    neighbours = (middle[:, None] + offsets).clamp(0, volume.shape[-1] - 1).to(volume.device, non_blocking=True)
    return volume[..., neighbours].permute(3, 0, 4, 1, 2).contiguous()
