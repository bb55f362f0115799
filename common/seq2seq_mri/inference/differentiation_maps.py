# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Imaging-differentiation maps M_d (Eq. 5) of a subject's volume, translated by a generator; also as a transform."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from monai.transforms import MapTransform
from monai.utils import convert_to_dst_type

from seq2seq_mri.evaluation.differentiation.differentiation import differentiation_map
from seq2seq_mri.inference.generator_bundle import TrainedGenerator
from seq2seq_mri.sequences import channel_slices, check_sequences, marked_sequences, sequence_index

if TYPE_CHECKING:
    from seq2seq_mri.inference.translation_inferer import TranslationInferer
    from seq2seq_mri.networks.generator import SequenceTranslator

__all__ = ["AddDifferentiationMapsd", "differentiation_maps", "translated_differentiation_maps"]


def differentiation_maps(
    predictions: torch.Tensor,
    measured: Mapping[str, torch.Tensor],
    sources: Sequence[str],
    targets: Sequence[str],
    include_self: bool = True,
) -> dict[str, torch.Tensor]:
    """Return M_d of each target from its translations.

    Args:
        predictions: ``[len(sources), ΣT of the targets, X, Y, Z]``.
        measured: sequence → measured image ``[T, X, Y, Z]``.
        sources: what was translated.
        targets: what it was translated into.
        include_self: whether a target's reconstruction from itself counts as a source, as in the paper.

    Returns:
        target → map ``[T, X, Y, Z]``; without the targets that no other sequence was translated into.
    """
    rows = channel_slices({name: len(measured[name]) for name in targets})
    return {
        name: differentiation_map(
            predictions[:, rows[name]],
            measured[name],
            target=sources.index(name) if name in sources else None,
            include_self=include_self or name not in sources,
        )
        for name in targets
        if any(source != name for source in sources)
    }


def translated_differentiation_maps(
    volume: torch.Tensor,
    generator: SequenceTranslator,
    inferer: TranslationInferer,
    sources: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    include_self: bool = True,
) -> torch.Tensor:
    """Translate sequences of a volume into others, and return where these differ from what was measured (Eq. 5).

    Voxels that are background in all sources are background in every translation, so M_d is zero in the padding around
    a volume.

    Args:
        volume: ``[ΣT, X, Y, Z]``, all timepoints of all sequences of the generator's table in its order.
        generator: the network, on the device to compute on.
        inferer: for this kind of network. Its own ``include_self`` is not looked at: in a synthesis it leaves the
            target out, while the paper's M_d has it in.
        sources: the measured sequences; by default all of the table.
        targets: sequences whose M_d is computed, all measured; by default the sources.
        include_self: as in :func:`differentiation_maps`.

    Returns:
        float32 ``[ΣT, X, Y, Z]`` on the CPU: for each timepoint of the targets its M_d, at least 0, in units of the
        volume's intensity; 0 for other sequences, and for a target without any source.
    """
    measured = volume.as_subclass(torch.Tensor).float().cpu()
    maps = torch.zeros_like(measured)
    sources = list(generator.sequences if sources is None else sources)
    # From itself alone, a target has no M_d: nothing could differ from the others.
    targets = [name for name in (sources if targets is None else targets) if any(other != name for other in sources)]
    if not targets:
        return maps
    if inferer.include_self != include_self:
        inferer = copy.copy(inferer)  # it shares the prepared network
        inferer.include_self = include_self
    predictions = inferer(volume[None], generator, sources=sources, targets=targets).cpu()
    channels = channel_slices(generator.sequences)
    images = {name: measured[channels[name]] for name in targets}
    for name, computed in differentiation_maps(predictions, images, sources, targets, include_self).items():
        maps[channels[name]] = computed
    return maps


class AddDifferentiationMapsd(MapTransform):
    """Compute M_d of a subject's sequences with a trained generator, as a step of the preprocessing.

    It comes where the generator's own inference would translate: after the intensities are normalised and the image is
    padded to what the generator takes, and before the image is brought to a classifier's grid. Its result has the
    affine of the image, so spatial transforms after it take both keys.

    The generator is loaded when the first subject comes, and never where :class:`PreparedSubjects` has the maps of all
    subjects. A generator on a GPU cannot be used in worker processes that are forked.

    Args:
        generator: from :func:`load_bundle`.
        sequences: the sequence table of the image, which must be the generator's.
        targets: sequences whose maps are computed, and no others: a classifier that takes one map needs only the
            translations to that sequence. By default all; an empty list computes none, and never loads the generator.
        image_key: key of the image, ``[ΣT, X, Y, Z]``.
        output_key: key of the maps.
        include_self: whether the mean of Eq. 5 takes the target's reconstruction from itself, as in the paper. With it
            the same errors give M_d of another scale in a patient with fewer sequences, which a classifier could learn.

    Raises:
        ValueError: when the generator has another sequence table, or a target is not in it.
    """

    def __init__(
        self,
        generator: TrainedGenerator,
        sequences: Mapping[str, int],
        targets: Sequence[str] | None = None,
        image_key: str = "image",
        output_key: str = "differentiation",
        include_self: bool = False,
    ) -> None:
        super().__init__(keys=image_key)
        self.generator = generator
        self.sequences = check_sequences(sequences)
        self.targets = list(self.sequences) if targets is None else list(targets)
        self.image_key = image_key
        self.output_key = output_key
        self.include_self = include_self
        if list(generator.sequences.items()) != list(self.sequences.items()):
            raise ValueError(
                f"The generator was trained on the sequences {dict(generator.sequences)}, the image has "
                f"{self.sequences}; use the generator of this sequence table."
            )
        for name in self.targets:
            sequence_index(self.sequences, name)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return ``data`` with ``output_key``: the maps as :func:`translated_differentiation_maps` gives them.

        They have the image's metadata. Channels of sequences that are no target or not available are 0, and so are all
        where only one sequence is available. A subject without ``"available"`` (bool ``[S]``) has all.
        """
        image = data[self.image_key]
        available = data.get("available", [True] * len(self.sequences))
        sources = marked_sequences(self.sequences, available)
        targets = [name for name in self.targets if name in sources]
        if len(sources) > 1 and targets:
            network, inferer = self.generator.network, self.generator.inferer
            maps = translated_differentiation_maps(image, network, inferer, sources, targets, self.include_self)
        else:
            maps = torch.zeros(image.shape, dtype=torch.float32)
        return {**data, self.output_key: convert_to_dst_type(maps, image, dtype=torch.float32)[0]}

    def release(self) -> None:
        """Let go of the generator's network, which is loaded again when it is needed."""
        self.generator.release()
