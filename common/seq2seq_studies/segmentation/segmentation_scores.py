# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""How well a predicted mask agrees with the true one: DSC and ASSD, also where a mask is empty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from monai.metrics import compute_average_surface_distance, compute_dice

__all__ = ["MaskAgreement", "mask_agreement"]


class MaskAgreement(NamedTuple):
    """Agreement of two masks.

    Attributes:
        dsc: Dice similarity coefficient, 0 to 1.
        assd: average symmetric surface distance in mm: the mean, over the surface voxels of both masks, of the distance
            to the nearest surface voxel of the other.
        empty: ``""``, or which masks have no voxel: ``"both"``, ``"prediction"`` or ``"truth"``.
    """

    dsc: float
    assd: float
    empty: str


def mask_agreement(prediction: np.ndarray, truth: np.ndarray, spacing: Sequence[float]) -> MaskAgreement:
    """Compare a predicted mask with the true one.

    Where both masks are empty they agree: DSC 1, ASSD 0. Where only one is, DSC is 0, and ASSD, which is not defined,
    is the length of the image's diagonal, as in the evaluations of BraTS: leaving such cases out would favour a network
    that predicts nothing where it is in doubt.

    Args:
        prediction: ``[X, Y, Z]``, bool.
        truth: the same.
        spacing: voxel sizes in mm.

    Raises:
        ValueError: when the shapes differ, or there is not a voxel size for each axis.
    """
    if prediction.shape != truth.shape or len(spacing) != truth.ndim:
        raise ValueError(
            f"The masks have shapes {prediction.shape} and {truth.shape}, with {len(spacing)} voxel sizes; give two "
            "of the same shape, and a voxel size for each axis."
        )
    first, second = (
        torch.from_numpy(np.ascontiguousarray(mask, np.float32))[None, None] for mask in (prediction, truth)
    )
    dsc = float(compute_dice(first, second, include_background=True, ignore_empty=False))
    filled = bool(prediction.any()), bool(truth.any())
    if not all(filled):
        diagonal = math.hypot(*(size * step for size, step in zip(truth.shape, spacing, strict=True)))
        empty = "prediction" if filled[1] else "truth" if filled[0] else "both"
        return MaskAgreement(dsc, 0.0 if empty == "both" else diagonal, empty)
    steps = [float(step) for step in spacing]
    assd = compute_average_surface_distance(first, second, True, symmetric=True, spacing=steps)
    return MaskAgreement(dsc, float(assd), "")
