# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""PSNR and SSIM of a synthesised image: over its foreground, over the whole volume, and over its central crop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from monai.transforms import CenterSpatialCrop
from numpy.typing import ArrayLike

from seq2seq_mri.evaluation.image_quality.ssim import WINDOW_RADIUS, ssim_map

__all__ = ["CENTRAL_CROP", "QUALITY_COLUMNS", "Region", "check_region", "check_volume_pair", "image_quality"]

Region = Literal["foreground", "whole", "central_crop"]

QUALITY_COLUMNS: dict[Region, tuple[str, str]] = {
    "foreground": ("psnr_foreground", "ssim_foreground"),
    "whole": ("psnr", "ssim"),
    "central_crop": ("psnr_central_crop", "ssim_central_crop"),
}
"""How PSNR and SSIM of each region are called in tables."""

CENTRAL_CROP = (192, 192, 128)
"""The paper's crop of brain MRI: 128 axial slices of 192 x 192 voxels of 1 mm."""


def image_quality(
    prediction: ArrayLike | torch.Tensor,
    truth: ArrayLike | torch.Tensor,
    foreground: ArrayLike | torch.Tensor,
    data_range: float = 1.0,
    regions: Sequence[Region] = ("foreground", "whole"),
    central_crop: Sequence[int] = CENTRAL_CROP,
) -> dict[str, float]:
    """Measure how close a synthesised image is to the measured one, on the device of the prediction.

    The foreground's measures do not depend on how much background there is around the images; those of the whole volume
    do (a third more of it is 1.2 dB), so give it on the grid on which it was acquired.

    Args:
        prediction: synthesised image ``[X, Y]``, ``[X, Y, Z]`` or ``[T, X, Y, Z]``, background 0.
        truth: measured image of the same shape.
        foreground: mask of the same shape, or ``[X, Y, Z]`` for all timepoints; voxels other than 0 belong to it.
        data_range: largest minus smallest value that the intensities can take; both measures depend on it, so it
            has to be reported with them.
        regions: where to measure.
        central_crop: voxels of the central crop along X, Y, Z; an axis that is shorter is taken whole.

    Returns:
        The columns of ``QUALITY_COLUMNS`` for these regions, each the mean over timepoints where there are several:

        - ``psnr_foreground``: PSNR from the mean squared error within the foreground, in dB; ``inf`` when the images
          are identical there;
        - ``ssim_foreground``: mean of the SSIM map over the foreground, in [-1, 1]; beyond the volume's edges both
          images are taken as 0;
        - ``psnr``: peak signal-to-noise ratio over all voxels, in dB, ``inf`` likewise;
        - ``ssim``: mean of the SSIM map over the voxels whose window lies inside the volume, in [-1, 1];
        - ``psnr_central_crop`` and ``ssim_central_crop``: the same of the crop, as if it were the volume.

    Raises:
        ValueError: when shapes differ, the foreground is empty, an image has NaN or infinite values, or a volume is
            smaller than the SSIM window.

    Example:
        >>> truth = torch.zeros(16, 16, 16)
        >>> measures = image_quality(truth + 0.1, truth, truth == 0)
        >>> round(measures["psnr"], 3)
        20.0
    """
    predictions, truths, masks = check_volume_pair(prediction, truth, foreground)
    shape = truths.shape[1:]
    boxes: dict[Region, tuple[slice, ...]] = {
        "whole": tuple(slice(0, size) for size in shape),
        "central_crop": CenterSpatialCrop(list(central_crop)[: len(shape)]).compute_slices(list(shape)),
    }
    inner = (slice(WINDOW_RADIUS, -WINDOW_RADIUS),) * len(shape)
    size = 2 * WINDOW_RADIUS + 1
    for region in regions:
        if region != "foreground" and min(truths[0][boxes[region]].shape) < size:
            raise ValueError(
                f"Images of shape {tuple(truths[0][boxes[region]].shape)} are smaller than the SSIM window of {size}"
                " voxels along each axis; give larger images, or measure the foreground alone."
            )

    timepoints = []
    for image, target, mask in zip(predictions, truths, masks, strict=True):
        squared_error = (image - target).square_()
        similarity = ssim_map(image, target, data_range)
        measures: list[float] = []
        for region in regions:
            if region == "foreground":
                errors, similarities = squared_error[mask], similarity[mask]
            else:
                errors = squared_error[boxes[region]]
                similarities = similarity[boxes[region]][inner]
            measures += [_psnr(errors, data_range), similarities.mean(dtype=torch.float64).item()]
        timepoints.append(measures)
    names = [name for region in regions for name in QUALITY_COLUMNS[region]]
    return {name: math.fsum(values) / len(values) for name, *values in zip(names, *timepoints, strict=True)}


def check_region(region: str) -> None:
    """Check a region's name.

    Raises:
        ValueError: when there is no such region.
    """
    if region not in QUALITY_COLUMNS:
        raise ValueError(f"Unknown region {region!r}; choose one of {', '.join(get_args(Region))}.")


def _psnr(squared_error: torch.Tensor, data_range: float) -> float:
    mean_squared_error = squared_error.mean(dtype=torch.float64).item()
    if mean_squared_error == 0.0:
        return math.inf
    return 20.0 * math.log10(data_range) - 10.0 * math.log10(mean_squared_error)


def check_volume_pair(
    prediction: ArrayLike | torch.Tensor,
    truth: ArrayLike | torch.Tensor,
    foreground: ArrayLike | torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Check that a prediction can be compared with its truth, and give both a leading axis of timepoints.

    Args:
        prediction, truth, foreground: as :func:`image_quality` takes them.

    Returns:
        ``(prediction, truth, foreground)``, plain tensors ``[T, X, Y(, Z)]`` on the prediction's device, with ``T = 1``
        for images without that axis; the images in floating point, in the wider of their two precisions but at least
        float32; the mask boolean.

    Raises:
        ValueError: when the images' shapes differ, an image has NaN or infinite values, or a timepoint of the
            foreground is empty.
    """
    prediction = _as_tensor(prediction)
    truth = _as_tensor(truth).to(prediction.device)
    if prediction.shape != truth.shape:
        raise ValueError(f"The prediction has shape {tuple(prediction.shape)} but the truth {tuple(truth.shape)}.")
    for name, image in (("prediction", prediction), ("truth", truth)):
        if not bool(image.isfinite().all()):
            raise ValueError(f"The {name} has NaN or infinite values.")
    mask = (_as_tensor(foreground).to(prediction.device) != 0).expand(truth.shape)
    if truth.ndim < 4:
        prediction, truth, mask = prediction[None], truth[None], mask[None]
    if not bool(mask.flatten(1).any(dim=1).all()):
        raise ValueError("The foreground is empty; check the mask, or the truth that it was made from.")
    dtype = torch.promote_types(torch.promote_types(prediction.dtype, truth.dtype), torch.float32)
    return prediction.to(dtype), truth.to(dtype), mask


def _as_tensor(values: ArrayLike | torch.Tensor) -> torch.Tensor:
    if isinstance(values, torch.Tensor):
        return values.detach().as_subclass(torch.Tensor)  # MetaTensor would copy its metadata at every step
    return torch.from_numpy(np.array(values))  # a copy: the array may be read-only, or run backwards
