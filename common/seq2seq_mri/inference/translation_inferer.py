# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Translation of a subject's sequences by a generator that is prepared for its targets: what 2.5D and 3D share."""

from __future__ import annotations

import weakref
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from monai.inferers import Inferer

from seq2seq_mri.networks.generator import Seq2SeqGenerator, SequenceTranslator
from seq2seq_mri.networks.winograd import use_winograd
from seq2seq_mri.sequences import channel_slices, sequence_codes, sequence_index

__all__ = ["NetworkPreparation", "Reduction", "TranslationInferer", "check_spatial_size", "translate"]

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
        self.prepare = NetworkPreparation(None if autocast_dtype is None else AUTOCAST_DTYPES[autocast_dtype])
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
        generator = self._generator(network, inputs.shape)
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
        # In place: a second copy of all volumes may not fit.
        for index, volumes_of_one in enumerate(result):
            background = self.background if reduce is None or index == 0 else 0.0
            volumes_of_one.masked_fill_(empty.to(result.device), background)
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
        """Translate the sources, source name → ``(T, X, Y, Z)``.

        Returns:
            ``(K, ΣT of the targets, X, Y, Z)``; K is the number of sources, or 2 (fused, deviation). Where all sources
            are background it may hold anything.
        """

    def translate_batch(
        self,
        images: Mapping[str, torch.Tensor],
        generator: SequenceTranslator,
        targets: Sequence[str],
        reduce: Reduction | None,
    ) -> Iterator[torch.Tensor]:
        """Translate images as :func:`translate` does, keep the middle channel, clamp and reduce.

        Yields:
            for each target ``(K, N, T_target, *spatial)``, float32; K as in :meth:`translate_volume`.
        """
        names = list(images)
        for target, prediction in translate(generator, images, targets, self.include_self):
            values = prediction[:, :, :, generator.in_channels // 2]
            if self.output_range is not None:
                values = values.clamp(*self.output_range)
            yield values if reduce is None else torch.stack(reduce(values, names, target))

    def _generator(self, network: Callable, shape: torch.Size) -> SequenceTranslator:
        """Return the generator in ``network``, after checking that it takes a volume of this shape."""
        generator = cast(SequenceTranslator, getattr(network, "module", network))
        if generator.spatial_dims != self.spatial_dims:
            raise ValueError(
                f"{type(self).__name__} is for generators with spatial_dims {self.spatial_dims}, this one has "
                f"{generator.spatial_dims}; use SliceTranslationInferer for 2 and VolumeTranslationInferer for 3."
            )
        channels = sum(generator.sequences.values())
        if len(shape) != 5 or shape[:2] != (1, channels):
            raise ValueError(
                f"The inferer got a volume of shape {tuple(shape)}; it needs (1, {channels}, X, Y, Z), one channel per "
                f"timepoint of {', '.join(generator.sequences)}."
            )
        return generator


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
    float32 on a CPU (measured). No gradients.

    Args:
        generator: specialised to the targets, on the device of the images; it computes in the precision of its
            parameters.
        images: source name → ``(N, T_source, C, *spatial)``; N, C and spatial agree.
        targets: names of the sequences to make.
        include_self: as of :class:`TranslationInferer`.

    Yields:
        the target's name and its images ``(len(images), N, T_target, C, *spatial)``, float32, in the range of the
        generator's output activation. The first axis has the order of ``images``.

    Example:
        >>> generator = Seq2SeqGenerator(2, {"t1": 1, "t2": 1}, channels=(4, 8, 8), num_res_blocks=1).specialise()
        >>> images = {"t1": torch.rand(5, 1, 3, 16, 16)}
        >>> {name: tuple(image.shape) for name, image in translate(generator, images, ["t1", "t2"])}
        {'t1': (1, 5, 1, 3, 16, 16), 't2': (1, 5, 1, 3, 16, 16)}
    """
    names, first = list(images), next(iter(images.values()))
    count, spatial_size = len(first), list(first.shape[3:])
    dtype = next(generator.parameters()).dtype
    one_by_one = first.device.type == "cpu" and dtype == torch.float32
    batches = [[k] for k in range(len(names))] if one_by_one else [list(range(len(names)))]
    # On the CPU: the generator looks a code up, and would wait for a GPU.
    codes = sequence_codes(generator.sequences, targets).to(dtype)
    # The context is left before each yield: the consumer's own computations are not in it.
    with torch.no_grad():
        encoded = [torch.cat([generator.encode(images[names[k]].to(dtype)) for k in batch]) for batch in batches]
    unrolled: dict[int, list[torch.Tensor]] = {}
    for name, code in zip(targets, codes, strict=True):
        timepoints = generator.sequences[name]
        result = first.new_zeros(len(names), count, timepoints, *first.shape[2:], dtype=torch.float32)
        with torch.no_grad():
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
