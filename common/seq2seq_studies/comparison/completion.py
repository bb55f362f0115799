# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Volumes through a network that completes what is missing, slice by slice."""

from __future__ import annotations

from collections.abc import Collection

import torch

from seq2seq_mri.sequences import sequence_index
from seq2seq_mri.transforms.slice_stack import slice_stacks
from seq2seq_studies.networks.many_to_many import ManyToMany

__all__ = ["complete_volume"]


@torch.inference_mode()
def complete_volume(
    network: ManyToMany,
    image: torch.Tensor,
    sources: Collection[str],
    slice_batch_size: int = 4,
    output_range: tuple[float, float] = (0.0, 1.0),
) -> torch.Tensor:
    """Synthesise the sequences that are not among the sources; slices along the last axis, with their neighbours.

    Args:
        network: of two spatial dimensions, on any device, in evaluation mode.
        image: ``[ΣT, X, Y, Z]``; only the sources are read.
        sources: names of the sequences that the network is given.
        slice_batch_size: slices that are completed together.
        output_range: synthesised intensities are clipped to it.

    Returns:
        ``[ΣT, X, Y, Z]`` float32 on the CPU: sources as they came, the others synthesised; slices in which all sources
        are 0 are 0.

    Raises:
        ValueError: when there is no source, one is unknown, or the network is three-dimensional.
    """
    if network.spatial_dims != 2:
        raise ValueError(f"The network has {network.spatial_dims} spatial dimensions; slices need 2.")
    if not sources:
        raise ValueError("There is no source to synthesise from; give at least one sequence.")
    indices = [sequence_index(network.sequences, name) for name in sources]
    available = torch.zeros(len(network.sequences), dtype=torch.bool)
    available[indices] = True
    device = next(network.parameters()).device
    volume = torch.as_tensor(image, dtype=torch.float32).cpu()
    given = available.repeat_interleave(torch.tensor(network.timepoints))
    result = torch.zeros_like(volume)
    result[given] = volume[given]
    filled = torch.nonzero((volume[given] != 0).flatten(0, 2).any(0))[:, 0]
    for batch in filled.split(slice_batch_size):
        stacks = slice_stacks(volume, batch, network.in_channels).to(device)
        made = network(stacks, available.to(device).expand(len(batch), -1))
        middle = made[:, :, network.in_channels // 2].clamp(*output_range).movedim(0, -1).cpu()
        result[:, :, :, batch] = torch.where(given[:, None, None, None], volume[..., batch], middle)
    return result
