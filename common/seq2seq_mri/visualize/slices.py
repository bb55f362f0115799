# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Axial slices of RAS volumes, turned as radiologists look at them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import NdarrayOrTensor

__all__ = [
    "as_array",
    "axial_view",
    "check_names",
    "choose_slice",
    "common_shape",
    "foreground_box",
    "informative_slice",
    "middle_timepoint",
]


def as_array(values: NdarrayOrTensor) -> np.ndarray:
    """Return an array or a tensor of any device and type as a float32 array in memory."""
    if isinstance(values, torch.Tensor):
        values = values.detach().to("cpu", torch.float32).numpy()
    return np.asarray(values, dtype=np.float32)


def middle_timepoint(volume: NdarrayOrTensor, name: str) -> tuple[NdarrayOrTensor, str]:
    """Return the volume to show of a 3D or 4D image, and how to name its timepoint.

    Args:
        volume: ``[X, Y, Z]`` or ``[T, X, Y, Z]``.
        name: what the image is, for the error message.

    Returns:
        ``[X, Y, Z]``, timepoint T // 2 (counted from 0) of a 4D image, and ``"timepoint 4/6"`` (counted from 1), or
        ``""`` when there is only one.

    Raises:
        ValueError: when the image has neither three nor four dimensions.
    """
    if volume.ndim == 3:
        return volume, ""
    if volume.ndim != 4:
        raise ValueError(f"The {name} has shape {tuple(volume.shape)}; a figure needs [X, Y, Z] or [T, X, Y, Z].")
    timepoints = volume.shape[0]
    return volume[timepoints // 2], f"timepoint {timepoints // 2 + 1}/{timepoints}" if timepoints > 1 else ""


def axial_view(volume: NdarrayOrTensor, slice_index: int) -> np.ndarray:
    """Return one axial slice in radiological orientation: anterior up, the patient's right on the image's left.

    Args:
        volume: ``[X, Y, Z]`` in RAS orientation (X grows to the patient's right, Y to anterior, Z to superior).
        slice_index: position along Z, counted from 0.

    Returns:
        float32 ``[Y, X]`` to be drawn with its first row on top.
    """
    return as_array(volume[..., slice_index])[::-1, ::-1].T


def informative_slice(volume: NdarrayOrTensor, mask: NdarrayOrTensor | None = None) -> int:
    """Return the axial slice that shows most: that with the largest part of the mask, else of the foreground.

    Foreground is what is brighter than the volume's mean, which leaves out air with or without noise. Of equal
    slices, the one nearest to the middle is taken.

    Args:
        volume: ``[X, Y, Z]`` or ``[T, X, Y, Z]``.
        mask: region of interest of the same size (non-zero inside); an empty one is ignored.

    Returns:
        The position along Z, counted from 0.

    Raises:
        ValueError: when mask and volume differ in size.
    """
    image = as_array(middle_timepoint(volume, "volume")[0])
    region = image > image.mean(dtype=np.float64)
    if mask is not None:
        marked = as_array(middle_timepoint(mask, "mask")[0]) > 0
        if marked.shape != image.shape:
            raise ValueError(f"The mask has shape {marked.shape}, but the volume {image.shape}; they must agree.")
        region = marked if marked.any() else region
    area = region.sum(axis=(0, 1))
    candidates = np.flatnonzero(area == area.max())
    return int(min(candidates, key=lambda index: abs(index - (area.size - 1) / 2)))


def choose_slice(
    slice_index: int | None, depth: int, volumes: Iterable[NdarrayOrTensor], mask: NdarrayOrTensor | None = None
) -> int:
    """Return ``slice_index`` after checking it, or the most informative slice of the mean of ``volumes`` if None.

    Raises:
        ValueError: when the volumes, ``depth`` slices deep, have no such slice.
    """
    if slice_index is None:
        total = None
        for volume in volumes:
            image = as_array(volume)
            total = image.copy() if total is None else total + image
        return depth // 2 if total is None else informative_slice(total, mask)
    if not 0 <= slice_index < depth:
        raise ValueError(f"Slice {slice_index} is outside the volume; choose 0 to {depth - 1}.")
    return slice_index


def foreground_box(views: Sequence[np.ndarray], threshold: float, margin: int = 4) -> tuple[slice, slice]:
    """Return rows and columns of the smallest box with all that is above ``threshold`` in any view, and a margin.

    Args:
        views: slices of one size, ``[rows, columns]``.
        threshold: intensity above which a pixel is foreground.
        margin: pixels to keep around the box, where the views have them.

    Returns:
        Row and column slices; the whole view when nothing is above the threshold.
    """
    foreground = np.any([view > threshold for view in views], axis=0)
    if not foreground.any():
        return slice(None), slice(None)
    rows, columns = (np.flatnonzero(foreground.any(axis=axis)) for axis in (1, 0))
    return (
        slice(max(int(rows[0]) - margin, 0), int(rows[-1]) + margin + 1),
        slice(max(int(columns[0]) - margin, 0), int(columns[-1]) + margin + 1),
    )


def common_shape(volumes: Mapping[str, NdarrayOrTensor]) -> tuple[int, ...]:
    """Return the one shape of ``volumes``, each ``[X, Y, Z]``.

    Args:
        volumes: what each volume is (for the error message) and the volume.

    Raises:
        ValueError: when there is none, or two differ in size.
    """
    if not volumes:
        raise ValueError("There is no image to show; give at least one measured or synthesised volume.")
    first, *others = volumes.items()
    for name, volume in others:
        if volume.shape != first[1].shape:
            raise ValueError(
                f"The {name} has shape {tuple(volume.shape)}, but the {first[0]} {tuple(first[1].shape)}; "
                "bring them to the same grid."
            )
    return tuple(first[1].shape)


def check_names(names: Iterable[str], known: Mapping[str, Any] | Sequence[str], what: str) -> None:
    """Check that all ``names`` of ``what`` are among the ``known`` sequences.

    Raises:
        ValueError: for the first that is not; the message lists the known ones.
    """
    for name in names:
        if name not in known:
            raise ValueError(f"Unknown sequence '{name}' in {what}; the sequences are {', '.join(known)}.")
