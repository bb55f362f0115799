# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""How far a synthesised image is from the measured one, voxel by voxel (the first term of Eq. 1, and Eq. 3)."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["MEASURES", "ReconstructionLoss"]

MEASURES = {"l1": nn.L1Loss, "smooth_l1": nn.SmoothL1Loss, "mse": nn.MSELoss}


class ReconstructionLoss(nn.Module):
    """Mean voxelwise difference of each sample.

    One value per sample, so that a trainer can average over the pairs of a patient before it averages over patients:
    a patient with many available sequences then weighs as much as one with few.

    Args:
        measure: ``"l1"`` (Han et al., Medical Image Analysis 2024, Eq. 1 and 3), ``"smooth_l1"`` (β = 1, as in the
            authors' released code) or ``"mse"``.

    Raises:
        ValueError: when ``measure`` is none of them.

    Example:
        >>> ReconstructionLoss()(torch.zeros(2, 1, 3, 8, 8), torch.ones(2, 1, 3, 8, 8))
        tensor([1., 1.])
    """

    def __init__(self, measure: str = "l1") -> None:
        super().__init__()
        if measure not in MEASURES:
            raise ValueError(f"Unknown reconstruction loss '{measure}'; choose one of {', '.join(MEASURES)}.")
        self.measure = measure
        self.difference = MEASURES[measure](reduction="none")

    def forward(self, prediction: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Compare.

        Args:
            prediction: synthesised images, ``(B, T, C, *spatial)``.
            truth: measured images of the same shape.

        Returns:
            the mean over T, C and space, float32 of shape ``(B,)``.

        Raises:
            ValueError: when the shapes differ; they are never broadcast.
        """
        if prediction.shape != truth.shape:
            raise ValueError(
                f"The prediction has shape {tuple(prediction.shape)} and its truth {tuple(truth.shape)}; they must be "
                "equal."
            )
        return self.difference(prediction.float(), truth.float()).flatten(1).mean(1)
