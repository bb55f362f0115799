# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""A synthesised image and the measured one it is compared with, checked and brought to one form."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike

__all__ = ["as_array", "check_volume_pair"]


def as_array(values: ArrayLike | torch.Tensor) -> np.ndarray:
    """Return ``values`` (array, tensor or MONAI MetaTensor on any device, any dtype) as a NumPy array.

    bfloat16, which NumPy lacks, becomes float32; nothing is copied that does not have to be.
    """
    if isinstance(values, torch.Tensor):
        values = values.detach()
        if values.dtype == torch.bfloat16:
            values = values.float()
        return values.cpu().numpy()
    return np.asarray(values)


def check_volume_pair(
    prediction: ArrayLike | torch.Tensor,
    truth: ArrayLike | torch.Tensor,
    foreground: ArrayLike | torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Check that a prediction can be compared with its truth, and give both a leading axis of timepoints.

    Args:
        prediction: synthesised image ``[X, Y]``, ``[X, Y, Z]`` or ``[T, X, Y, Z]``.
        truth: measured image of the same shape.
        foreground: mask of the same shape, or ``[X, Y, Z]`` for all timepoints; voxels other than 0 belong to it.
            None takes every voxel.

    Returns:
        ``(prediction, truth, foreground)``, plain tensors ``[T, X, Y(, Z)]`` on the prediction's device, with ``T = 1``
        for images without that axis; the images in floating point, in the wider of their two precisions but at least
        float32; the mask boolean.

    Raises:
        ValueError: when shapes differ, the number of axes is not 2, 3 or 4, an image has NaN or infinite values, or
            a timepoint of the foreground is empty.
    """
    prediction = _as_tensor(prediction)
    truth = _as_tensor(truth).to(prediction.device)
    shape = tuple(truth.shape)
    if prediction.shape != truth.shape:
        raise ValueError(f"The prediction has shape {tuple(prediction.shape)} but the truth {shape}.")
    if truth.ndim not in (2, 3, 4):
        raise ValueError(f"Images of shape {shape} cannot be compared; give [X, Y], [X, Y, Z] or [T, X, Y, Z].")
    if 0 in shape:
        raise ValueError(f"Images of shape {shape} have no voxels.")
    dtype = torch.promote_types(torch.promote_types(prediction.dtype, truth.dtype), torch.float32)
    for name, image in (("prediction", prediction), ("truth", truth)):
        if not bool(image.isfinite().all()):
            raise ValueError(f"The {name} has NaN or infinite values.")

    if foreground is None:
        mask = truth.new_ones(shape, dtype=torch.bool)
    else:
        mask = _as_tensor(foreground).to(prediction.device) != 0
        if mask.shape != truth.shape and not (truth.ndim == 4 and mask.shape == truth.shape[1:]):
            raise ValueError(f"The foreground has shape {tuple(mask.shape)} but the images have {shape}.")
        mask = mask.expand(shape)
    if truth.ndim < 4:
        prediction, truth, mask = prediction[None], truth[None], mask[None]
    if not bool(mask.flatten(1).any(dim=1).all()):
        raise ValueError("The foreground is empty; check the mask, or the truth that it was made from.")
    return prediction.to(dtype), truth.to(dtype), mask


def _as_tensor(values: ArrayLike | torch.Tensor) -> torch.Tensor:
    if isinstance(values, torch.Tensor):
        return values.detach().as_subclass(torch.Tensor)  # MetaTensor would copy its metadata at every step
    return torch.from_numpy(np.array(values))  # a copy: the array may be read-only, or run backwards
