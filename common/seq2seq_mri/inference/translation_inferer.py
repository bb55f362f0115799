# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The base class of the 2.5D and 3D inferers: the common call, its checks, and the form of the result."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from monai.inferers import Inferer

from seq2seq_mri.inference.translation import NetworkPreparation, translate
from seq2seq_mri.networks.generator import SequenceTranslator
from seq2seq_mri.sequences import channel_slices, sequence_index

__all__ = ["Reduction", "TranslationInferer", "check_spatial_size"]

AUTOCAST_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}

# (predictions (n_sources, ...), names of the sources, name of the target) -> (fused (...), deviation (...))
Reduction = Callable[[torch.Tensor, Sequence[str], str], tuple[torch.Tensor, torch.Tensor]]


class TranslationInferer(Inferer):
    """Base of the inferers that translate a subject's volume from its sources into targets.

    Args:
        autocast_dtype: ``"bfloat16"`` or ``"float16"``: precision in which the network computes, with statistics and
            sums in float32; None for the precision of its parameters.
        include_self: whether a target that is among several sources is reconstructed from itself too; otherwise its
            place holds 0, and a fusion has to give it no weight.
        output_range: lowest and highest intensity of the result; values outside are set to the bound. The lowest one
            is the background's. None to leave values as they are, with a background of 0.
        output_device: where results are returned. The sources are on the generator's device while it computes.
        progress: whether to show a progress bar.

    Raises:
        ValueError: when ``autocast_dtype`` is unknown or ``output_range`` is not increasing.
    """

    spatial_dims: int

    def __init__(
        self,
        autocast_dtype: str | None = None,
        include_self: bool = True,
        output_range: Sequence[float] | None = (0.0, 1.0),
        output_device: str | torch.device = "cpu",
        progress: bool = False,
    ) -> None:
        super().__init__()
        if autocast_dtype is not None and autocast_dtype not in AUTOCAST_DTYPES:
            raise ValueError(f"Unknown autocast_dtype '{autocast_dtype}'; choose {', '.join(AUTOCAST_DTYPES)} or null.")
        if output_range is not None and not (len(output_range) == 2 and output_range[0] < output_range[1]):
            raise ValueError(f"The output range {tuple(output_range)} is not a lower and a higher bound.")
        dtype = None if autocast_dtype is None else AUTOCAST_DTYPES[autocast_dtype]
        self.prepare = NetworkPreparation(dtype)
        self.include_self = include_self
        self.output_range = output_range
        self.background = 0.0 if output_range is None else float(output_range[0])
        self.output_device = torch.device(output_device)
        self.progress = progress

    def __call__(  # type: ignore[override]
        self,
        inputs: torch.Tensor,
        network: Callable,
        sources: Sequence[str] | None = None,
        targets: Sequence[str] | None = None,
        reduce: Reduction | None = None,
    ) -> Any:
        """Translate one subject.

        Args:
            inputs: ``(1, ΣT, X, Y, Z)``: all timepoints of all sequences of the table, in its order; sequences that
                are no sources may hold anything. Axial slices along the last axis.
            network: the generator, also when wrapped in DistributedDataParallel, or one that is specialised to at least
                these targets. Its specialised form is kept while its weights do not change.
            sources: sequences to translate; by default those that are not background everywhere.
            targets: sequences to make; by default all of the table.
            reduce: combines the translations of a target from all sources, see
                :mod:`seq2seq_mri.inference.fusion`. It is applied batch by batch; translations of single pairs are
                then never held as volumes.

        Returns:
            without ``reduce``: float32 ``(len(sources), ΣT of the targets, X, Y, Z)``.
            With ``reduce``: the fused volume and the inter-source standard deviation, each float32
            ``(ΣT of the targets, X, Y, Z)``.
            Voxels that are background in all sources are background, with a deviation of 0.

        Raises:
            ValueError: when shapes do not fit the network, there is no source or target, or one is unknown.
        """
        generator = self._generator(network)
        self._check_volume(inputs, generator)
        # A plain tensor: MetaTensor would copy its metadata at every indexing.
        volume = inputs.as_subclass(torch.Tensor)[0]
        channels = channel_slices(generator.sequences)
        if sources is None:
            sources = self.available_sequences(inputs, generator.sequences)
        targets = list(generator.sequences) if targets is None else list(targets)
        for names, role in ((sources, "source"), (targets, "target")):
            if len(names) == 0:
                raise ValueError(f"There is no {role} sequence to translate; give at least one.")
            for name in names:
                sequence_index(generator.sequences, name)
        # As a whole: slices and windows that are sent one by one are waited for one by one.
        device = next(generator.parameters()).device
        is_sent = device.type == "cuda"  # what comes from a GPU must have come before it is read
        volumes = {
            source: volume[channels[source]].to(device, torch.float32, non_blocking=is_sent) for source in sources
        }
        result = self.translate_volume(volumes, self.prepare(generator, targets), targets, reduce)
        # Around the brain there is nothing to translate; a blurred edge would reach into it.
        empty = torch.stack([(part == self.background).all(dim=0) for part in volumes.values()]).all(dim=0)
        empty = empty.to(result.device)
        # In place: a second copy of all volumes may not fit.
        for index, volumes_of_one in enumerate(result):
            volumes_of_one.masked_fill_(empty, self.background if reduce is None or index == 0 else 0.0)
        result = result.to(self.output_device)
        return result if reduce is None else (result[0], result[1])

    def available_sequences(self, inputs: torch.Tensor, sequences: Mapping[str, int]) -> list[str]:
        """Return the names of the sequences that are not background everywhere, of ``inputs`` ``(1, ΣT, X, Y, Z)``."""
        volume = inputs.as_subclass(torch.Tensor)[0]
        return [
            name for name, part in channel_slices(sequences).items() if bool((volume[part] != self.background).any())
        ]

    @abstractmethod
    def translate_volume(
        self,
        volumes: Mapping[str, torch.Tensor],
        generator: SequenceTranslator,
        targets: Sequence[str],
        reduce: Reduction | None,
    ) -> torch.Tensor:
        """Translate checked input.

        Args:
            volumes: source name → ``(T, X, Y, Z)``.
            generator: the network.
            targets: names of the sequences to make.
            reduce: as in the call.

        Returns:
            ``(K, ΣT of the targets, X, Y, Z)``; K is the number of sources, or 2 (fused, deviation).
        """

    def translate_batch(
        self,
        images: Mapping[str, torch.Tensor],
        generator: SequenceTranslator,
        targets: Sequence[str],
        reduce: Reduction | None,
    ) -> Iterator[torch.Tensor]:
        """Translate images, keep the middle channel, clamp and reduce.

        Args:
            images: source name → ``(N, T, C, *spatial)`` on the generator's device.
            generator: the network.
            targets: names of the sequences to make.
            reduce: as in the call.

        Yields:
            for each target ``(K, N, T_target, *spatial)``, float32; K as in :meth:`translate_volume`.
        """
        names = list(images)
        for target, prediction in translate(generator, images, targets, self.include_self):
            values = prediction[:, :, :, generator.in_channels // 2]
            if self.output_range is not None:
                values = values.clamp(*self.output_range)
            yield values if reduce is None else torch.stack(reduce(values, names, target))

    def _generator(self, network: Callable) -> SequenceTranslator:
        generator: Any = getattr(network, "module", network)
        if generator.spatial_dims != self.spatial_dims:
            raise ValueError(
                f"{type(self).__name__} is for generators with spatial_dims {self.spatial_dims}, this one has "
                f"{generator.spatial_dims}; use SliceTranslationInferer for 2 and VolumeTranslationInferer for 3."
            )
        return generator

    def _check_volume(self, inputs: torch.Tensor, generator: SequenceTranslator) -> None:
        channels = sum(generator.sequences.values())
        if inputs.ndim != 5 or inputs.shape[0] != 1 or inputs.shape[1] != channels:
            raise ValueError(
                f"The inferer got a volume of shape {tuple(inputs.shape)}; it needs (1, {channels}, X, Y, Z), one "
                f"channel per timepoint of {', '.join(generator.sequences)}."
            )


def check_spatial_size(size: Sequence[int], generator: SequenceTranslator, subject: str) -> None:
    """Check that the generator can take images of ``size``.

    Raises:
        ValueError: when it cannot; ``subject`` says what is too small.
    """
    smallest = generator.reduction + 1
    if min(size) < smallest:
        raise ValueError(
            f"{subject} has a size of {' x '.join(str(n) for n in size)} voxels; the generator needs at least "
            f"{smallest} along each axis."
        )
