# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""A volume through the naive network: pair by pair, slice batch by slice batch."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from naive_generator import NaiveGenerator
from seq2seq_mri.sequences import channel_slices, sequence_codes
from seq2seq_mri.transforms.slice_stack import slice_stacks

__all__ = ["naive_translations"]


@torch.inference_mode()
def naive_translations(
    naive: NaiveGenerator,
    image: torch.Tensor,
    pairs: Iterable[tuple[str, str]],
    batch_size: int = 8,
) -> dict[tuple[str, str], torch.Tensor]:
    """Translate a subject's sequences.

    The result is what :class:`~seq2seq_mri.inference.slice_inferer.SliceTranslationInferer` gives: the middle slice,
    clamped to [0, 1], 0 where all sequences are background.

    Args:
        naive: the network, on the device to compute on.
        image: ``[ΣT, X, Y, Z]``, in [0, 1], X and Y multiples of what the network divides them by.
        pairs: source and target of each translation.
        batch_size: number of slices that are translated at once.

    Returns:
        (source, target) → float32 ``[T, X, Y, Z]``, on the CPU.
    """
    device = next(naive.parameters()).device
    channels = channel_slices(naive.sequences)
    foreground = (image != 0).any(dim=0)
    translations = {}
    for source, target in pairs:
        code = sequence_codes(naive.sequences, [target])[0].to(device)
        parts = []
        for slices in torch.arange(image.shape[-1]).split(batch_size):
            stacks = slice_stacks(image[channels[source]], slices, naive.in_channels).to(device)
            parts.append(naive(stacks, code)[:, :, naive.in_channels // 2].clamp(0, 1).cpu())
        volume = torch.cat(parts).permute(1, 2, 3, 0).contiguous()
        translations[source, target] = volume * foreground
    return translations
