# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The imaging-differentiation map M_d, large where the other sequences cannot predict a target, and its voxel AUC.

Source: Han et al., Synthesis-based imaging-differentiation representation learning for multi-sequence 3D/4D MRI,
Medical Image Analysis 2024, Eq. 5: for the target i, M_d = 1/S Σ_j |X'_{j→i} - X_i|, the mean absolute error of its
synthesis from every source j.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from sklearn.metrics import roc_auc_score

__all__ = ["differentiation_map", "voxel_auc"]


def differentiation_map(
    predictions: torch.Tensor | Sequence[torch.Tensor],
    truth: torch.Tensor,
    target: int | None = None,
    include_self: bool = True,
) -> torch.Tensor:
    """Return the imaging-differentiation map M_d of one target sequence (Eq. 5).

    Eq. 5 takes all S sources; with missing sequences the mean is over the available ones.

    Args:
        predictions: the target as synthesised from each available source, ``[n, *truth.shape]`` or n images.
        truth: the measured target, ``[X, Y, Z]`` or ``[T, X, Y, Z]``.
        target: index of the target among the sources, None where it is not one of them.
        include_self: whether the target's reconstruction from itself (j = i) counts as a source, as in the paper.

    Returns:
        Map of the shape of ``truth``, at least 0, in units of the image's intensity.

    Raises:
        ValueError: when the result has NaN or infinite values.
    """
    used = [prediction for source, prediction in enumerate(predictions) if include_self or source != target]
    mean = sum((prediction - truth).abs() for prediction in used) / len(used)
    if not bool(mean.isfinite().all()):
        raise ValueError("The differentiation map has NaN or infinite values; check the predictions and the truth.")
    return mean


def voxel_auc(differentiation: torch.Tensor, mask: torch.Tensor, foreground: torch.Tensor) -> float:
    """Measure how well a map separates the voxels of a known region from the rest of the foreground.

    Args:
        differentiation: map ``[X, Y, Z]``, or ``[T, X, Y, Z]``, of which the mean over timepoints is taken.
        mask: the region that only this sequence shows, ``[X, Y, Z]``; voxels other than 0 belong to it.
        foreground: the voxels that count, likewise. The background is easily told from any region, and would flatter
            the result.

    Returns:
        Area under the ROC curve over voxels, in [0, 1]; 0.5 is chance.

    Raises:
        ValueError: when the mask holds none or all of the foreground.
    """
    scores = differentiation.mean(dim=0) if differentiation.ndim == mask.ndim + 1 else differentiation
    labels = (mask != 0)[foreground != 0]
    if not labels.any() or labels.all():
        raise ValueError("The mask holds none or all of the foreground, so there is nothing to tell apart.")
    return float(roc_auc_score(labels.cpu().numpy(), scores[foreground != 0].cpu().numpy()))
