# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Translates volumes by a 3D generator, in windows that overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from monai.inferers import sliding_window_inference
from monai.utils import ensure_tuple_rep, fall_back_tuple

from seq2seq_mri.inference.translation_inferer import Reduction, TranslationInferer, check_spatial_size
from seq2seq_mri.networks.generator import SequenceTranslator

__all__ = ["VolumeTranslationInferer"]


class VolumeTranslationInferer(TranslationInferer):
    """Translate volumes through a generator with ``spatial_dims`` 3 and one channel, on MONAI's sliding window.

    Windows are blended with Gaussian weights. With ``reduce``, what it returns for each window is blended: for fusions
    with fixed weights the fused volume is that of the blended translations, while the deviation is the mean of the
    windows' deviations.

    Args:
        roi_size: window size; 0 or less along an axis stands for the whole volume.
        sw_batch_size: number of windows that are translated together; the decoder's batch is this times the number of
            sources.
        overlap: share of a window that the next one covers again, in [0, 1).
        options: those of :class:`TranslationInferer`.

    Raises:
        ValueError: when an argument cannot be used.
    """

    spatial_dims = 3

    def __init__(
        self,
        roi_size: Sequence[int] | int = (96, 96, 96),
        sw_batch_size: int = 1,
        overlap: float = 0.25,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if sw_batch_size < 1:
            raise ValueError(f"sw_batch_size is {sw_batch_size}; give at least 1.")
        if not 0 <= overlap < 1:
            raise ValueError(f"The overlap of windows is {overlap}; give one in [0, 1).")
        self.roi_size = ensure_tuple_rep(roi_size, 3)
        self.sw_batch_size = sw_batch_size
        self.overlap = overlap

    def translate_volume(
        self,
        volumes: Mapping[str, torch.Tensor],
        generator: SequenceTranslator,
        targets: Sequence[str],
        reduce: Reduction | None,
    ) -> torch.Tensor:
        """Translate; see :meth:`TranslationInferer.translate_volume`.

        Raises:
            ValueError: when the generator takes several channels, or larger windows only.
        """
        if generator.in_channels != 1:
            raise ValueError(f"A 3D generator for volumes has one channel, this one has {generator.in_channels}.")
        names, timepoints = list(volumes), [len(volume) for volume in volumes.values()]
        image = torch.cat(list(volumes.values()))
        # A volume that is smaller than the window is padded with background.
        check_spatial_size(fall_back_tuple(self.roi_size, image.shape[1:]), generator, "A window of the volume")
        layers = len(volumes) if reduce is None else 2

        def translate_windows(windows: torch.Tensor) -> torch.Tensor:
            parts = windows.unsqueeze(2).split(timepoints, dim=1)
            images = dict(zip(names, parts, strict=True))
            values = torch.cat(list(self.translate_batch(images, generator, targets, reduce)), dim=2)
            # (K, N, ΣT, x, y, z) -> (N, K * ΣT, x, y, z), because the sliding window knows one channel axis.
            return values.transpose(0, 1).flatten(1, 2)

        result = sliding_window_inference(
            image[None],
            self.roi_size,
            self.sw_batch_size,
            translate_windows,
            overlap=self.overlap,
            mode="gaussian",
            cval=self.background,
            sw_device=next(generator.parameters()).device,
            device=self.output_device,
            progress=self.progress,
        )
        return cast(torch.Tensor, result)[0].unflatten(0, (layers, -1))
