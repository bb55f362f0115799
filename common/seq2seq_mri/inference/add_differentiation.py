# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Imaging-differentiation maps as a step of the preprocessing."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.transforms import MapTransform
from monai.utils import convert_to_dst_type

from seq2seq_mri.inference.differentiation_maps import translated_differentiation_maps
from seq2seq_mri.inference.generator_bundle import TrainedGenerator
from seq2seq_mri.sequences import check_sequences, sequence_index

__all__ = ["AddDifferentiationMapsd"]


class AddDifferentiationMapsd(MapTransform):
    """Compute the imaging-differentiation maps M_d of a subject's sequences with a trained generator.

    Source: Eq. 5 of the paper (Han et al., Synthesis-based imaging-differentiation representation learning for
    multi-sequence 3D/4D MRI, Medical Image Analysis 2024).

    It comes where the generator's own inference would translate: after the intensities are normalised and the image is
    padded to what the generator takes, and before the image is brought to a classifier's grid. Its result has the
    affine of the image, so spatial transforms after it take both keys.

    The generator is loaded when the first subject comes, and never where
    :class:`PreparedSubjects` has the maps of all subjects. A generator on a GPU
    cannot be used in worker processes that are forked; load subjects in the main process then.

    Args:
        generator: has ``network``, ``inferer`` and ``sequences``, see
            :func:`load_bundle`.
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
        """Compute the maps of one subject.

        Returns:
            ``data`` with ``output_key``: float32 ``[ΣT, X, Y, Z]``, with the image's metadata; for each timepoint of a
            target its M_d from all available sequences, at least 0, in units of the image's intensity, 0 in the
            background that all of them share. Channels of sequences that are no target or not available are 0, and so
            are all where only one sequence is available. A subject without ``"available"`` (bool ``[S]``) has all.

        Raises:
            ValueError: when the image has not ``ΣT`` channels, does not fit the generator, or the maps are not finite.
        """
        image = data[self.image_key]
        available = data.get("available", [True] * len(self.sequences))
        sources = [name for name, present in zip(self.sequences, available, strict=True) if bool(present)]
        targets = [name for name in self.targets if name in sources]
        if len(sources) > 1 and targets:
            maps = translated_differentiation_maps(
                image, self.generator.network, self.generator.inferer, sources, targets, self.include_self
            )
        else:
            maps = torch.zeros(image.shape, dtype=torch.float32)
        return {**data, self.output_key: convert_to_dst_type(maps, image, dtype=torch.float32)[0]}

    def release(self) -> None:
        """Let go of the generator's network, which is loaded again when it is needed."""
        # One that was made by hand need not know how to come back.
        if hasattr(self.generator, "release"):
            self.generator.release()
