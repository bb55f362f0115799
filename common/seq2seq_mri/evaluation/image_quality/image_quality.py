# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""PSNR and SSIM of a synthesised image: over its foreground, over the whole volume, and over its central crop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from monai.transforms import CenterSpatialCrop
from numpy.typing import ArrayLike

from seq2seq_mri.evaluation.image_quality.ssim import SSIMWindow, check_window, ssim_map, window_radius
from seq2seq_mri.evaluation.image_quality.volume_pair import check_volume_pair

__all__ = ["CENTRAL_CROP", "QUALITY_COLUMNS", "Region", "check_region", "image_quality"]

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
    ssim_window: SSIMWindow = "gaussian",
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
        ssim_window: ``"gaussian"`` or ``"uniform"``, see :mod:`seq2seq_mri.evaluation.image_quality.ssim`.
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
        ValueError: when shapes differ, the foreground is empty, an image has NaN or infinite values, ``data_range``
            is not positive, a region or window is unknown, or a volume is smaller than the window.

    Example:
        >>> truth = torch.zeros(16, 16, 16)
        >>> measures = image_quality(truth + 0.1, truth, truth == 0)
        >>> round(measures["psnr"], 3)
        20.0
    """
    if not (math.isfinite(data_range) and data_range > 0):
        raise ValueError(f"data_range is {data_range}; give the positive range of the intensities, for example 1.0.")
    check_window(ssim_window)
    for region in regions:
        check_region(region)
    predictions, truths, masks = check_volume_pair(prediction, truth, foreground)
    shape = truths.shape[1:]
    boxes: dict[Region, tuple[slice, ...]] = {
        "whole": tuple(slice(0, size) for size in shape),
        "central_crop": CenterSpatialCrop(list(central_crop)[: len(shape)]).compute_slices(list(shape)),
    }
    radius = window_radius(ssim_window)
    for region in regions:
        if region != "foreground":
            _check_size(truths[0][boxes[region]], ssim_window)

    timepoints = []
    for image, target, mask in zip(predictions, truths, masks, strict=True):
        squared_error = (image - target).square_()
        similarity = ssim_map(image, target, data_range, ssim_window)
        measures: list[float] = []
        for region in regions:
            if region == "foreground":
                errors, similarities = squared_error[mask], similarity[mask]
            else:
                errors = squared_error[boxes[region]]
                similarities = similarity[boxes[region]][(slice(radius, -radius),) * len(shape)]
            measures += [_psnr(errors, data_range), _mean(similarities)]
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
    mean_squared_error = _mean(squared_error)
    if mean_squared_error == 0.0:
        return math.inf
    return 20.0 * math.log10(data_range) - 10.0 * math.log10(mean_squared_error)


def _mean(values: torch.Tensor) -> float:
    return values.mean(dtype=torch.float64).item()


def _check_size(image: torch.Tensor, window: SSIMWindow) -> None:
    size = 2 * window_radius(window) + 1
    if min(image.shape) < size:
        raise ValueError(
            f"Images of shape {tuple(image.shape)} are smaller than the {window} SSIM window of {size} voxels"
            " along each axis; give larger images, measure the foreground alone"
            + (", or take the uniform window (7)." if window == "gaussian" else ".")
        )
