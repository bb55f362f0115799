# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""A generator made ready for the translation of whole volumes."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import cast

import torch

from seq2seq_mri.networks.generator import Seq2SeqGenerator, SequenceTranslator
from seq2seq_mri.networks.winograd import use_winograd

__all__ = ["NetworkPreparation"]


class NetworkPreparation:
    """Specialises a generator to its targets, in the precision and with the convolutions that inference asks for.

    The result is kept, and made anew only for other targets or when a weight of the generator has changed.

    Args:
        dtype: precision to which the network is converted; None for that of its parameters.
        winograd: whether 3 × 3 convolutions of many channels in float32 on a CPU go by Winograd's algorithm, see
            :mod:`seq2seq_mri.networks.winograd`.
    """

    def __init__(self, dtype: torch.dtype | None = None, winograd: bool = True) -> None:
        self.dtype = dtype
        self.winograd = winograd
        self._generator: weakref.ref | None = None
        self._key: tuple = ()
        self._prepared: SequenceTranslator | None = None

    def __call__(self, generator: SequenceTranslator, targets: Sequence[str]) -> SequenceTranslator:
        """Return the prepared network.

        Args:
            generator: network to prepare, which stays as it is. One that is specialised already is returned itself.
            targets: names of sequences of its table.

        Raises:
            ValueError: when there is no target, or one is unknown or named twice.
        """
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
        if not self.winograd or weight.device.type != "cpu" or weight.dtype != torch.float32:
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
