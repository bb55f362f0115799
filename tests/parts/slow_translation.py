# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The slow reference of the inferers: one pair and one slice after the other, through the generator's ``forward``."""

from __future__ import annotations

import torch

from seq2seq_mri.networks.generator import Seq2SeqGenerator
from seq2seq_mri.sequences import channel_slices, sequence_codes


@torch.no_grad()
def slow_translation(volume: torch.Tensor, generator: Seq2SeqGenerator, source: str, target: str) -> torch.Tensor:
    """Translate one sequence of a volume ``[ΣT, X, Y, Z]`` into another, ``[T, X, Y, Z]``.

    A 3D generator takes it as a whole, a 2.5D one each axial slice with its neighbours, which are repeated at the ends.
    """
    image = volume[channel_slices(generator.sequences)[source]]
    code = sequence_codes(generator.sequences, [target])
    if generator.spatial_dims == 3:
        return generator(image[None, :, None], code)[0, :, 0]
    last = image.shape[-1] - 1
    slices = []
    for z in range(last + 1):
        stack = torch.stack([image[..., max(z - 1, 0)], image[..., z], image[..., min(z + 1, last)]], dim=1)
        slices.append(generator(stack[None], code)[0, :, 1])
    return torch.stack(slices, dim=-1)
