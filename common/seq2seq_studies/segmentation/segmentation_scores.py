# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""DSC and ASSD of predicted tumour regions, also where a mask is empty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import torch
from monai.metrics import compute_average_surface_distance, compute_dice

from seq2seq_mri.io.grids import match_grid
from seq2seq_mri.io.nifti import read_volume
from seq2seq_studies.segmentation.brats_labels import regions_of
from seq2seq_studies.segmentation.subjects import SegmentationSubject, read_nested_labels

__all__ = ["mask_agreement", "score_predictions"]


def mask_agreement(prediction: np.ndarray, truth: np.ndarray, spacing: Sequence[float]) -> dict[str, float | str]:
    """Compare a predicted mask with the true one.

    Where both masks are empty they agree: DSC 1, ASSD 0. Where only one is, DSC is 0, and ASSD, which is not defined,
    is the length of the image's diagonal, as in the evaluations of BraTS: leaving such cases out would favour a network
    that predicts nothing where it is in doubt.

    Args:
        prediction, truth: ``[X, Y, Z]``, bool.
        spacing: voxel sizes in mm.

    Returns:
        ``dsc``, the Dice similarity coefficient, 0 to 1; ``assd``, the average symmetric surface distance in mm: the
        mean, over the surface voxels of both masks, of the distance to the nearest surface voxel of the other; and
        ``empty``: ``""``, or which masks have no voxel: ``"both"``, ``"prediction"`` or ``"truth"``.
    """
    first, second = (
        torch.from_numpy(np.ascontiguousarray(mask, np.float32))[None, None] for mask in (prediction, truth)
    )
    dsc = float(compute_dice(first, second, include_background=True, ignore_empty=False))
    filled = bool(prediction.any()), bool(truth.any())
    if not all(filled):
        diagonal = math.hypot(*(size * step for size, step in zip(truth.shape, spacing, strict=True)))
        empty = "prediction" if filled[1] else "truth" if filled[0] else "both"
        return {"dsc": dsc, "assd": 0.0 if empty == "both" else diagonal, "empty": empty}
    steps = [float(step) for step in spacing]
    assd = compute_average_surface_distance(first, second, True, symmetric=True, spacing=steps)
    return {"dsc": dsc, "assd": float(assd), "empty": ""}


def score_predictions(subjects: Sequence[SegmentationSubject], folder: Path, convention: str) -> pd.DataFrame:
    """Measure DSC and ASSD of ET, TC and WT of each subject.

    Args:
        subjects: with the true segmentations.
        folder: ``SUBJECT.nii.gz``, predicted nested labels on the grid of the true ones.
        convention: numbering of the true segmentations.

    Returns:
        Table with ``subject``, ``region``, ``empty``, ``dsc``, ``assd``.
    """
    rows = []
    for subject in subjects:
        truth = read_nested_labels(subject, convention)
        prediction = read_volume(folder / f"{subject.name}.nii.gz", subject.name, allow_constant=True)
        predicted = regions_of(np.rint(match_grid(prediction, truth, subject.name, tolerance=0.01)[0]))
        spacing = nibabel.affines.voxel_sizes(truth.affine).tolist()
        for region, mask in regions_of(truth.voxels[0]).items():
            agreement = mask_agreement(predicted[region], mask, spacing)
            rows.append({"subject": subject.name, "region": region, **agreement})
    return pd.DataFrame(rows)
