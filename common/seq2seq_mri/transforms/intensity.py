# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Bringing the arbitrary intensities of MRI sequences to a common range."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.transforms import MapTransform

from seq2seq_mri.sequences import channel_slices, check_sequences

__all__ = ["NormalizeSequencesd"]


class NormalizeSequencesd(MapTransform):
    """Clip each sequence between zero and a bound taken from its own intensities, and scale it to a common range.

    The bound is ``clip_factor`` times the ``percentile`` of the positive voxels, at the timepoint of a sequence where
    that is largest: one bound for all of its timepoints, so that the course of an enhancement over time is kept, and
    none that cuts the brightest of them (at b = 0 a diffusion-weighted image is several times as bright as later).
    Zero is background, and negative values (interpolation makes them) count as background. A missing sequence becomes
    background everywhere.

    The default follows the paper's min-max normalisation (Han et al., Medical Image Analysis 2024): range [0, 1], with
    the maximum at the 99.5th percentile. The authors' released code is ``percentile=99, clip_factor=2,
    output_range=(-1, 1)``. A PSNR depends on this choice, therefore it is only meaningful together with its data range.

    Args:
        sequences: the sequence table.
        image_key: key of the image, ``[ΣT, *spatial]``, zero where a sequence is missing.
        percentile: percentile of the positive voxels, above 0, at most 100.
        output_range: the values that background and the bound become.
        clip_factor: the bound in units of the percentile.

    Raises:
        ValueError: when an argument is out of its range.
    """

    def __init__(
        self,
        sequences: Mapping[str, int],
        image_key: str = "image",
        percentile: float = 99.5,
        output_range: tuple[float, float] = (0.0, 1.0),
        clip_factor: float = 1.0,
    ) -> None:
        super().__init__(keys=image_key)
        if not 0 < percentile <= 100:
            raise ValueError(f"percentile is {percentile}; give a number above 0 and at most 100.")
        if clip_factor <= 0:
            raise ValueError(f"clip_factor is {clip_factor}; give a positive number.")
        if len(output_range) != 2 or not output_range[0] < output_range[1]:
            raise ValueError(f"output_range is {output_range}; give (lower, upper).")
        self.sequences = check_sequences(sequences)
        self.image_key = image_key
        self.percentile = percentile
        self.output_range = (float(output_range[0]), float(output_range[1]))
        self.clip_factor = clip_factor

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Normalise the image of one subject.

        Returns:
            ``data`` with its image replaced: float32, same shape, values in ``output_range``.

        Raises:
            ValueError: when the image has not ``ΣT`` channels, or a measured sequence has no positive voxel.
        """
        image = data[self.image_key]
        subject = data.get("subject", "unnamed")
        channels = channel_slices(self.sequences)
        if len(image) != sum(self.sequences.values()):
            raise ValueError(
                f"Subject '{subject}': '{self.image_key}' has {len(image)} channels, the sequence table "
                f"({', '.join(self.sequences)}) {sum(self.sequences.values())}."
            )
        lower, upper = self.output_range
        measured = data.get("measured")
        normalized = torch.full_like(image, lower, dtype=torch.float32)
        for index, (name, part) in enumerate(channels.items()):
            sequence = torch.as_tensor(image[part]).to(torch.float32)
            positive = [frame[frame > 0].cpu().numpy() for frame in sequence]
            # torch.quantile refuses more than 2^24 values.
            percentiles = [float(np.percentile(values, self.percentile)) for values in positive if values.size]
            if not percentiles:
                if measured is not None and bool(measured[index]):
                    raise ValueError(f"Subject '{subject}': sequence '{name}' has no voxel above zero; leave it out.")
                continue
            bound = self.clip_factor * max(percentiles)
            normalized[part] = sequence.clamp(0, bound) * ((upper - lower) / bound) + lower
        return {**data, self.image_key: normalized}
