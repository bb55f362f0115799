# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The inferer that MONAI Label and MONAI Deploy call to synthesise one sequence from a subject's image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer

from seq2seq_mri.inference.fusion import Fusion, MeanFusion
from seq2seq_mri.inference.translation_inferer import TranslationInferer
from seq2seq_mri.sequences import check_sequences, sequence_index

__all__ = ["SynthesisInferer"]


class SynthesisInferer(Inferer):
    """Synthesises one sequence of a subject from all that are there.

    Hosts of bundles know an inferer as a function of an image and a network, and the image as all that is known of a
    subject. Which sequences are there is therefore read from the image: those that are not background everywhere.

    Args:
        translation: translates each source into the target.
        sequences: the sequence table.
        target: name of the sequence to make; None: the one that is missing.
        fusion: combines the sources; None: their mean.

    Raises:
        ValueError: when the table is of no such form, or ``target`` is not in it.
    """

    def __init__(
        self,
        translation: TranslationInferer,
        sequences: Mapping[str, int],
        target: str | None = None,
        fusion: Fusion | None = None,
    ) -> None:
        super().__init__()
        self.translation = translation
        self.sequences = check_sequences(sequences)
        self.target = target
        self.fusion = MeanFusion() if fusion is None else fusion
        if target is not None:
            sequence_index(self.sequences, target)

    def __call__(  # type: ignore[override]
        self,
        inputs: torch.Tensor,
        network: Callable,
        target: str | None = None,
        fusion: Fusion | None = None,
    ) -> MetaTensor:
        """Synthesise.

        Args:
            inputs: ``(1, ΣT, X, Y, Z)``: all timepoints of all sequences of the table, in its order, background where a
                sequence is missing.
            network: the generator.
            target: instead of the one of the constructor.
            fusion: instead of the one of the constructor.

        Returns:
            the fused volume, float32 ``MetaTensor`` ``(1, T of the target, X, Y, Z)``, in the translation's
            output range.

        Raises:
            ValueError: when no other sequence than the target is there, or no target is named and not exactly one
                sequence is missing.
        """
        available = self.translation.available_sequences(inputs, self.sequences)
        target = self._target(target or self.target, available)
        if not set(available) - {target}:
            raise ValueError(
                f"There is no sequence from which {target} could be synthesised; give at least one of "
                f"{', '.join(name for name in self.sequences if name != target)}."
            )
        fused, _ = self.translation(
            inputs, network, sources=available, targets=[target], reduce=self.fusion if fusion is None else fusion
        )
        # Invertd brings nothing else back to the source's grid.
        return MetaTensor(fused[None])

    def _target(self, target: str | None, available: Sequence[str]) -> str:
        if target is not None:
            sequence_index(self.sequences, target)
            return target
        missing = [name for name in self.sequences if name not in available]
        if len(missing) != 1:
            raise ValueError(
                f"{', '.join(missing)} are missing; name the one to synthesise as target."
                if missing
                else f"No sequence is missing; name the one to synthesise as target: {', '.join(self.sequences)}."
            )
        return missing[0]
