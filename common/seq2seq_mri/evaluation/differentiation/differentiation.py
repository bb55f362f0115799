# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Where an image shows what the other sequences do not: the imaging-differentiation map M_d.

Source: Han et al., Synthesis-based imaging-differentiation representation learning for multi-sequence 3D/4D MRI,
Medical Image Analysis 2024, Eq. 5: for the target i, M_d = 1/S Σ_j |X'_{j→i} - X_i|, the mean absolute error of its
synthesis from every source j.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.metrics import roc_auc_score

from seq2seq_mri.evaluation.image_quality.volume_pair import as_array

__all__ = ["differentiation_map", "voxel_auc"]

Image = TypeVar("Image", np.ndarray, torch.Tensor)


def differentiation_map(
    predictions: Image | Sequence[Image],
    truth: Image,
    available: Sequence[bool] | np.ndarray | torch.Tensor | None = None,
    target: int | None = None,
    include_self: bool = True,
) -> Image:
    """Return the imaging-differentiation map M_d of one target sequence (Eq. 5).

    Eq. 5 takes all S sources; with missing sequences the mean is over the available ones.

    Args:
        predictions: the target as synthesised from each source, ``[n, *truth.shape]`` or a sequence of n images; those
            of unavailable sources are not looked at.
        truth: the measured target, ``[X, Y, Z]`` or ``[T, X, Y, Z]``.
        available: ``[n]``, which sources are measured; None takes all.
        target: index of the target among the sources; needed to leave it out.
        include_self: whether the target's reconstruction from itself (j = i) counts as a source, as in the paper.

    Returns:
        Map of the shape and type of ``truth``, at least 0, in units of the image's intensity; large where the other
        sequences cannot predict the target.

    Raises:
        ValueError: when shapes differ, no source is left, ``target`` is needed or out of range, or the result has NaN
            or infinite values.
    """
    number = len(predictions)
    used = np.ones(number, dtype=bool) if available is None else as_array(available).astype(bool)
    if used.shape != (number,):
        raise ValueError(f"There are {number} predictions but availability has the shape {used.shape}.")
    if target is not None and not 0 <= target < number:
        raise ValueError(f"target is {target}, but there are sources 0 to {number - 1}.")
    if not include_self:
        if target is None:
            raise ValueError("Leaving out the target's own reconstruction needs its index; give target.")
        used = used.copy()
        used[target] = False
    if not used.any():
        raise ValueError("No source is available to compute a differentiation map from.")

    total: Any = 0.0
    for source, prediction in enumerate(predictions):
        if not used[source]:
            continue
        if prediction.shape != truth.shape:
            raise ValueError(
                f"The prediction from source {source} has shape {tuple(prediction.shape)} but the truth"
                f" {tuple(truth.shape)}."
            )
        total = total + abs(prediction - truth)
    mean = total / int(used.sum())
    if not np.isfinite(as_array(mean)).all():
        raise ValueError("The differentiation map has NaN or infinite values; check the predictions and the truth.")
    return mean


def voxel_auc(
    differentiation: ArrayLike | torch.Tensor,
    mask: ArrayLike | torch.Tensor,
    foreground: ArrayLike | torch.Tensor | None = None,
) -> float:
    """Measure how well a map separates the voxels of a known region from the rest of the foreground.

    Args:
        differentiation: map ``[X, Y, Z]``, or ``[T, X, Y, Z]``, of which the mean over timepoints is taken.
        mask: the region that only this sequence shows, ``[X, Y, Z]``; voxels other than 0 belong to it.
        foreground: the voxels that count, ``[X, Y, Z]``; None takes all. Leave the background out: it is easily told
            from any region, and flatters the result.

    Returns:
        Area under the ROC curve over voxels, in [0, 1]; 0.5 is chance.

    Raises:
        ValueError: when shapes differ, the mask holds none or all of the foreground, or the map has NaN or infinite
            values there.
    """
    scores = as_array(differentiation)
    region = as_array(mask) != 0
    if scores.ndim == region.ndim + 1:
        scores = scores.mean(axis=0)
    counted = np.ones(region.shape, dtype=bool) if foreground is None else as_array(foreground) != 0
    if scores.shape != region.shape or counted.shape != region.shape:
        raise ValueError(
            f"The map has shape {scores.shape}, the mask {region.shape} and the foreground {counted.shape}."
        )
    labels = region[counted]
    if not labels.any():
        raise ValueError("The mask is empty within the foreground, so there is nothing to find.")
    if labels.all():
        raise ValueError("The mask covers the whole foreground, so there is nothing to tell it from.")
    if not np.isfinite(scores[counted]).all():
        raise ValueError("The differentiation map has NaN or infinite values within the foreground.")
    return float(roc_auc_score(labels, scores[counted]))
