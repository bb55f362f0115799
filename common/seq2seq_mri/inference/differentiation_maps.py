# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The imaging-differentiation maps M_d of a volume, through a generator."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from seq2seq_mri.evaluation.differentiation.differentiation import differentiation_map
from seq2seq_mri.sequences import channel_slices

if TYPE_CHECKING:
    from seq2seq_mri.inference.translation_inferer import TranslationInferer
    from seq2seq_mri.networks.translator import SequenceTranslator

__all__ = ["translated_differentiation_maps"]


def translated_differentiation_maps(
    volume: torch.Tensor,
    generator: SequenceTranslator,
    inferer: TranslationInferer,
    sources: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    include_self: bool = True,
) -> torch.Tensor:
    """Translate sequences of a volume into others, and return where these differ from what was measured (Eq. 5).

    Only the pairs that are needed are translated: every source to every target, but no target to itself unless
    ``include_self``. Voxels that are background in all sources are background in every translation, so M_d is zero in
    the padding around a volume.

    Args:
        volume: ``[ΣT, X, Y, Z]``, all timepoints of all sequences of the generator's table in its order.
        generator: the network, on the device to compute on.
        inferer: for this kind of network. Its own ``include_self`` is not looked at: in a synthesis it leaves the
            target out, while the paper's M_d has it in.
        sources: the measured sequences; by default all of the table.
        targets: sequences whose M_d is computed, all measured; by default the sources.
        include_self: whether the mean of Eq. 5 takes the target's reconstruction from itself, as in the paper.

    Returns:
        float32 ``[ΣT, X, Y, Z]`` on the CPU: for each timepoint of the targets its M_d, at least 0, in units of the
        volume's intensity; 0 for other sequences, and for a target without any source.

    Raises:
        ValueError: as of the inferer, and when the result is not finite.
    """
    measured = volume.as_subclass(torch.Tensor).float().cpu()
    maps = torch.zeros_like(measured)
    sources = list(generator.sequences) if sources is None else list(sources)
    # From itself alone, a target has no M_d: nothing could differ from the others.
    targets = [name for name in (sources if targets is None else targets) if any(other != name for other in sources)]
    if not targets:
        return maps
    if inferer.include_self != include_self:
        inferer = copy.copy(inferer)  # it shares the prepared network
        inferer.include_self = include_self
    predictions = inferer(volume[None], generator, sources=sources, targets=targets).cpu()
    channels = channel_slices(generator.sequences)
    for name, rows in channel_slices({name: generator.sequences[name] for name in targets}).items():
        maps[channels[name]] = differentiation_map(
            predictions[:, rows],
            measured[channels[name]],
            target=sources.index(name) if name in sources else None,
            include_self=include_self or name not in sources,
        )
    return maps
