# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""M_d of one 4D sequence, timepoint by timepoint."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from monai.config.type_definitions import NdarrayOrTensor

from seq2seq_mri.evaluation.differentiation.differentiation_figure import differentiation_overlay
from seq2seq_mri.plots.frames import FrameAxis
from seq2seq_mri.plots.slices import as_array, check_axis

__all__ = ["differentiation_strip"]


def differentiation_strip(
    anatomy: NdarrayOrTensor,
    differentiation: NdarrayOrTensor,
    name: str,
    *,
    axis: FrameAxis | None = None,
    region: NdarrayOrTensor | None = None,
    subject: str = "",
    **options: Any,
) -> Figure:
    """Draw all timepoints of a 4D sequence and their M_d in one row, and at its end their means.

    Args:
        anatomy: the measured image ``[T, X, Y, Z]`` in RAS orientation.
        differentiation: M_d of the same shape (Eq. 5 of the paper).
        name: of the sequence, for the title.
        axis: names the timepoints; default: by their number.
        region: known region that only the sequence shows; drawn as a contour at the mean.
        subject: name for the title.
        **options: ``slice_index``, ``maximum``, ``window``, ``spacing``, ``crop`` as in
            :func:`differentiation_overlay`; the maximum's default is that over all timepoints.

    Returns:
        The figure; :func:`save_figure` writes it.

    Raises:
        ValueError: when the two are not 4D and of one shape, ``axis`` has another number of timepoints, or as
            ``differentiation_overlay``.
    """
    if anatomy.ndim != 4 or anatomy.shape != differentiation.shape:
        raise ValueError(
            f"The {name} has shape {tuple(anatomy.shape)} and its M_d {tuple(differentiation.shape)}; both must be the "
            "same [T, X, Y, Z]."
        )
    axis = check_axis(anatomy, name, axis)
    images, maps = as_array(anatomy), as_array(differentiation)
    labels = {str(timepoint): axis.name(timepoint) for timepoint in range(len(images))}
    return differentiation_overlay(
        dict(zip(labels, images, strict=True)) | {"mean": images.mean(axis=0)},
        dict(zip(labels, maps, strict=True)) | {"mean": maps.mean(axis=0)},
        regions=None if region is None else {"mean": region},
        subject=f"{subject}, {name}" if subject else name,
        labels=labels,
        columns=len(images) + 1,
        **options,
    )
