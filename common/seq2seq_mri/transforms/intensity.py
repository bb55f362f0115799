# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The transform that brings the arbitrary intensities of MRI sequences to a common range."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import MapTransform

from seq2seq_mri.sequences import channel_slices, check_sequences, sequence_index

__all__ = ["NormalizeSequencesd"]


# Interpolation makes a few voxels negative: of six real patients, at most 0.04 % of a sequence's voxels are below -5 %
# of its 99th percentile. Of z-scores it is nearly half.
_NEGATIVE_FLOOR = 0.05
_NEGATIVE_SHARE = 0.01
# Below it float32 loses digits, and one over it is infinite.
_LEAST_BOUND = 1e-30


class NormalizeSequencesd(MapTransform):
    """Clip each sequence between zero and a bound taken from its own intensities, and scale it to a common range.

    The bound is ``clip_factor`` times the ``percentile`` of the positive voxels, at the timepoint of a sequence where
    that is largest: one bound for all of its timepoints, so that the course of an enhancement over time is kept, and
    none that cuts the brightest of them (at b = 0 a diffusion-weighted image is several times as bright as later).
    Zero is background, and small negative values (interpolation makes them) count as background. A missing sequence
    becomes background everywhere.

    The default is 1.5 times the 99th percentile, to [0, 1]. A percentile alone cuts the same volume off every head, and
    in a glioma that is the tumour: of the enhancing tumour in T1Gd of two patients with labels (31 and 32 ml), the
    99.5th percentile makes 4.9 and 0.5 ml one flat white, the default 0.02 and 0 ml. What it costs is contrast: the
    median of the tissue, over six patients, comes to 0.47, 0.35, 0.21 and 0.39 in T1, T1Gd, T2 and FLAIR, from 0.69,
    0.45, 0.29 and 0.55 at the 99.5th percentile; the largest value as bound would leave T1Gd 0.21.

    The authors' released code is ``percentile=99, clip_factor=2, output_range=(-1, 1)``. A PSNR depends on this choice,
    therefore it is only meaningful together with its data range; and a network is only meaningful with the bound that
    it was trained with, which :func:`save_weights` writes into its file.

    Args:
        sequences: the sequence table.
        percentile: percentile of the positive voxels, above 0, at most 100.
        clip_factor: the bound in units of the percentile.
        output_range: the values that background and the bound become.
        signed: sequences of which negative values are known, such as maps of wash-out; they become background, where
            any other sequence with many of them is refused.

    Raises:
        ValueError: when an argument is out of its range, or a signed sequence not in the table.
    """

    def __init__(
        self,
        sequences: Mapping[str, int],
        percentile: float = 99.0,
        clip_factor: float = 1.5,
        output_range: tuple[float, float] = (0.0, 1.0),
        signed: Sequence[str] = (),
    ) -> None:
        super().__init__(keys="image")
        if not 0 < percentile <= 100:
            raise ValueError(f"percentile is {percentile}; give a number above 0 and at most 100.")
        if clip_factor <= 0:
            raise ValueError(f"clip_factor is {clip_factor}; give a positive number.")
        if len(output_range) != 2 or not output_range[0] < output_range[1]:
            raise ValueError(f"output_range is {output_range}; give (lower, upper).")
        self.sequences = check_sequences(sequences)
        for name in signed:
            sequence_index(self.sequences, name)
        self.percentile = float(percentile)
        self.clip_factor = float(clip_factor)
        self.output_range = (float(output_range[0]), float(output_range[1]))
        self.signed = tuple(signed)

    @property
    def settings(self) -> dict[str, float | list[float]]:
        """What the intensities of a normalised image depend on, in plain types, as it is kept with trained weights."""
        numbers = {"percentile": self.percentile, "clip_factor": self.clip_factor}
        return {**numbers, "output_range": list(self.output_range)}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in self.settings.items())})"

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace a subject's ``"image"`` ``[ΣT, *spatial]``, zero where a sequence is missing, by normalised float32.

        Raises:
            ValueError: when a measured sequence has no positive voxel, or one has many negative ones.
        """
        image = data["image"]
        lower, upper = self.output_range
        measured = data.get("measured")
        normalized = torch.full_like(image, lower, dtype=torch.float32)
        for index, (name, part) in enumerate(channel_slices(self.sequences).items()):
            where = f"Subject '{data.get('subject', 'unnamed')}': sequence '{name}'"
            sequence = torch.as_tensor(image[part]).to(torch.float32)
            positive = [frame[frame > 0].cpu().numpy() for frame in sequence]
            # torch.quantile refuses more than 2^24 values.
            percentiles = [float(np.percentile(values, self.percentile)) for values in positive if values.size]
            if not percentiles:
                if measured is not None and bool(measured[index]):
                    raise ValueError(f"{where} has no voxel above zero; leave it out.")
                continue
            if name not in self.signed:
                _check_negative(sequence, max(percentiles), where)
            bound = self.clip_factor * max(percentiles)
            if bound < _LEAST_BOUND:
                raise ValueError(
                    f"{where} has intensities below {bound:.3g}, too small to be scaled; multiply the image."
                )
            normalized[part] = sequence.clamp(0, bound) * ((upper - lower) / bound) + lower
        return {**data, "image": normalized}


def _check_negative(sequence: torch.Tensor, bright: float, where: str) -> None:
    """Refuse intensities whose zero is not the background: z-scores, [-1, 1], Hounsfield units, overflown integers.

    Only what is clearly below zero counts: a background of -1 under tissue of hundreds is background.
    """
    signal = int(torch.count_nonzero(sequence))
    share = int((sequence < -_NEGATIVE_FLOOR * bright).sum()) / signal
    if share > _NEGATIVE_SHARE:
        raise ValueError(
            f"{where} is negative in {int((sequence < 0).sum()) / signal:.0%} of its voxels other than 0 (smallest "
            f"{float(sequence.min()):.4g}, largest {float(sequence.max()):.4g}), as of z-scores or images scaled to "
            "[-1, 1]; all of them would become background. Give intensities before such a scaling, or add a constant "
            "to the whole image, so that air is 0 and tissue positive."
        )
