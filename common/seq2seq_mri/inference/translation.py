# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Prepares a generator for fixed targets, and translates every source into every target with it."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import torch

from seq2seq_mri.networks.generator import Seq2SeqGenerator, SequenceTranslator, SpecialisedGenerator
from seq2seq_mri.networks.winograd import use_winograd
from seq2seq_mri.sequences import sequence_codes

__all__ = ["NetworkPreparation", "translate"]


class NetworkPreparation:
    """Specialises a generator to its targets, in a precision, and with Winograd's convolutions where they are faster.

    The result is kept, and made anew only for other targets or when a weight of the generator has changed.

    Args:
        dtype: precision to which the network is converted; None for that of its parameters.
    """

    def __init__(self, dtype: torch.dtype | None = None) -> None:
        self.dtype = dtype
        self._generator: weakref.ref | None = None
        self._key: tuple = ()
        self._prepared: SequenceTranslator | None = None

    def __call__(self, generator: SequenceTranslator, targets: Sequence[str]) -> SequenceTranslator:
        """Return the prepared network; ``generator`` stays as it is. One that is specialised is returned itself."""
        if not isinstance(generator, Seq2SeqGenerator):
            return generator
        key = (*targets, *_fingerprint(generator))
        is_same = self._generator is not None and self._generator() is generator
        if self._prepared is None or not is_same or key != self._key:
            self._prepared = None  # its memory is free before the next one is made
            self._prepared = self._prepare(generator, targets)
            self._generator, self._key = weakref.ref(generator), key
        return self._prepared

    def _prepare(self, generator: Seq2SeqGenerator, targets: Sequence[str]) -> SequenceTranslator:
        network = generator.specialise(targets)
        if self.dtype is not None:
            network.to(self.dtype)
        weight = next(network.parameters())
        if weight.device.type != "cpu" or weight.dtype != torch.float32:
            return network
        if next(generator.parameters()).dtype == torch.float32:
            # The same weights need no second copy: replacing convolutions changes no module.
            network.encoder = generator.encoder
            network.encoder_lstm, network.decoder_lstm = generator.encoder_lstm, generator.decoder_lstm
        return cast(SequenceTranslator, use_winograd(network))


@torch.no_grad()
def _fingerprint(network: torch.nn.Module) -> list[float | str]:
    """Return numbers and names by which a change of any weight, its type or its device is seen."""
    weights = [*network.parameters(), *network.buffers()]
    # Not by the version counters of tensors: fused optimisers do not advance them.
    sums = torch.stack([weight.sum().double() for weight in weights])
    return [*sums.tolist(), *(f"{weight.dtype} {weight.device}" for weight in weights)]


def translate(
    generator: SequenceTranslator,
    images: Mapping[str, torch.Tensor],
    targets: Sequence[str],
    include_self: bool = True,
) -> Iterator[tuple[str, torch.Tensor]]:
    """Translate images of one or more source sequences into every target, one target after the other.

    Each source is encoded once, its encoding unrolled once for each number of timepoints that targets have, and then
    decoded for each target: all sources in one batch, or one by one where that takes less time and memory, which is in
    float32 on a CPU (measured), with a network whose kernels are not computed anew for each batch. No gradients.

    Args:
        generator: the network, on the device of the images; it computes in the precision of its parameters.
        images: source name → ``(N, T_source, C, *spatial)``; N, C and spatial agree.
        targets: names of the sequences to make.
        include_self: whether a target that is among several sources is reconstructed from itself too; otherwise its
            place holds zeros.

    Yields:
        the target's name and its images ``(len(images), N, T_target, C, *spatial)``, float32, in the range of the
        generator's output activation. The first axis has the order of ``images``.

    Raises:
        ValueError: when there is no source, or a target is not in the generator's sequence table.

    Example:
        >>> generator = Seq2SeqGenerator(2, {"t1": 1, "t2": 1}, channels=(4, 8, 8), num_res_blocks=1)
        >>> images = {"t1": torch.rand(5, 1, 3, 16, 16)}
        >>> {name: tuple(image.shape) for name, image in translate(generator, images, ["t1", "t2"])}
        {'t1': (1, 5, 1, 3, 16, 16), 't2': (1, 5, 1, 3, 16, 16)}
    """
    if not images:
        raise ValueError("There is no source image to translate.")
    names, first = list(images), next(iter(images.values()))
    count, spatial_size = len(first), list(first.shape[3:])
    dtype = next(generator.parameters()).dtype
    one_by_one = isinstance(generator, SpecialisedGenerator) and first.device.type == "cpu" and dtype == torch.float32
    batches = [[k] for k in range(len(names))] if one_by_one else [list(range(len(names)))]
    codes = sequence_codes(generator.sequences, targets).to(dtype)
    if not isinstance(generator, SpecialisedGenerator):  # which looks a code up, on a GPU by waiting for it
        codes = codes.to(first.device)
    encoded: list[torch.Tensor] = []
    unrolled: dict[int, list[torch.Tensor]] = {}
    for name, code in zip(targets, codes, strict=True):
        timepoints = generator.sequences[name]
        result = first.new_zeros(len(names), count, timepoints, *first.shape[2:], dtype=torch.float32)
        # The context is left before each yield: the consumer's own computations are not in it.
        with torch.no_grad():
            if not encoded:
                encoded = [
                    torch.cat([generator.encode(images[names[k]].to(dtype)) for k in batch]) for batch in batches
                ]
            if timepoints not in unrolled:
                unrolled[timepoints] = [generator.unroll(features, timepoints) for features in encoded]
            for batch, frames in zip(batches, unrolled[timepoints], strict=True):
                used = [k for k in batch if include_self or names[k] != name or len(names) == 1]
                if len(used) == 0:
                    continue
                if len(used) < len(batch):
                    parts = frames.unflatten(0, (len(batch), count))
                    # One by one: a list of indices would be sent to a GPU, which is waited for.
                    frames = torch.cat([parts[batch.index(k)] for k in used])
                decoded = generator.decode(frames, code[None], spatial_size).unflatten(0, (-1, count))
                for k, image in zip(used, decoded, strict=True):
                    result[k] = image
        yield name, result
