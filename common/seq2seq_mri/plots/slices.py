# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Axial slices of RAS volumes, turned as radiologists look at them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import NdarrayOrTensor

from seq2seq_mri.plots.frames import FrameAxis, frame_axis

__all__ = [
    "BRIGHTER_NOTE",
    "as_array",
    "axial_view",
    "check_axis",
    "check_names",
    "choose_slice",
    "common_shape",
    "display_window",
    "foreground_box",
    "informative_slice",
    "shown_timepoint",
]

#: What the factor of :func:`display_window` means.
BRIGHTER_NOTE = "Factor in brackets: shown that much brighter."
#: An image of noise alone must not look like one of tissue.
MOST_BRIGHTENING = 10


def as_array(values: NdarrayOrTensor) -> np.ndarray:
    """Return an array or a tensor of any device and type as a float32 array in memory."""
    if isinstance(values, torch.Tensor):
        values = values.detach().to("cpu", torch.float32).numpy()
    return np.asarray(values, dtype=np.float32)


def shown_timepoint(volume: NdarrayOrTensor, name: str, axis: FrameAxis | None = None) -> tuple[NdarrayOrTensor, str]:
    """Return the volume to show of a 3D or 4D image, and how to name its timepoint.

    Args:
        volume: ``[X, Y, Z]`` or ``[T, X, Y, Z]``.
        name: what the image is, for the error message.
        axis: chooses and names the timepoint; default: T // 2 (counted from 0), ``"timepoint 4/6"`` (counted from 1).

    Returns:
        ``[X, Y, Z]`` and the timepoint's name, ``""`` when there is only one.

    Raises:
        ValueError: when the image has neither three nor four dimensions, or not the timepoints of ``axis``.
    """
    if volume.ndim == 3:
        return volume, ""
    if volume.ndim != 4:
        raise ValueError(f"The {name} has shape {tuple(volume.shape)}; a figure needs [X, Y, Z] or [T, X, Y, Z].")
    axis = check_axis(volume, name, axis)
    return volume[axis.shown], axis.name(axis.shown) if len(volume) > 1 else ""


def check_axis(volume: NdarrayOrTensor, name: str, axis: FrameAxis | None) -> FrameAxis:
    """Return the axis of the timepoints of ``volume`` (``[T, X, Y, Z]``), one that counts them if ``axis`` is None.

    Raises:
        ValueError: when ``axis`` has another number of timepoints; ``name`` says of what.
    """
    if axis is None:
        return frame_axis(len(volume))
    if len(axis.values) != len(volume):
        raise ValueError(f"The {name} has {len(volume)} timepoints, but its axis has {len(axis.values)}.")
    return axis


def display_window(
    volume: NdarrayOrTensor, axis: FrameAxis | None, window: tuple[float, float]
) -> tuple[tuple[float, float], str]:
    """Return the intensities to show as black and white, narrower than ``window`` for an image of a high b-value.

    All timepoints of a sequence have one scale, on which little is left of the signal at a high b-value.

    Args:
        volume: ``[X, Y, Z]``, the timepoint that is shown.
        axis: of the sequence's timepoints; only b-values make a difference.
        window: intensities shown as black and white otherwise.

    Returns:
        The window, and by how much the image is brighter for it: ``" (4x)"``, or ``""``.
    """
    low, high = window
    if axis is None or axis.kind != "b_value":
        return window, ""
    signal = as_array(volume) - low
    signal = signal[signal > 0]
    factor = int((high - low) / np.percentile(signal, 99.5)) if signal.size else 1
    factor = min(factor, MOST_BRIGHTENING)
    return ((low, low + (high - low) / factor), f" ({factor}x)") if factor > 1 else (window, "")


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
    image = as_array(shown_timepoint(volume, "volume")[0])
    region = image > image.mean(dtype=np.float64)
    if mask is not None:
        marked = as_array(shown_timepoint(mask, "mask")[0]) > 0
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
