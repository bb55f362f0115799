# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Axial slices of RAS volumes, turned as radiologists look at them, and which slice and timepoint to show."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms import generate_spatial_bounding_box

from seq2seq_mri.plots.frames import FrameAxis, frame_axis

__all__ = [
    "BRIGHTER_NOTE",
    "DEFAULT_VIEW",
    "ShownImage",
    "SliceView",
    "as_array",
    "axial_view",
    "choose_slice",
    "foreground_box",
    "informative_slice",
    "shown_images",
    "shown_timepoint",
]

#: What the factor in a heading of :func:`shown_images` means.
BRIGHTER_NOTE = "Factor in brackets: shown that much brighter."
#: An image of noise alone must not look like one of tissue.
MOST_BRIGHTENING = 10


@dataclass(frozen=True)
class SliceView:
    """Of whom a figure is, and which slice it shows.

    Attributes:
        subject: name for the title.
        index: axial slice, counted from 0; None: the one that the figure finds most informative.
        spacing: voxel sizes along X, Y, Z in millimetres.
    """

    subject: str = ""
    index: int | None = None
    spacing: Sequence[float] = (1.0, 1.0, 1.0)


#: What a figure shows when nothing is said.
DEFAULT_VIEW = SliceView()


def as_array(values: NdarrayOrTensor) -> np.ndarray:
    """Return an array or a tensor of any device and type as a float32 array in memory."""
    if isinstance(values, torch.Tensor):
        values = values.detach().to("cpu", torch.float32).numpy()
    return np.asarray(values, dtype=np.float32)


def shown_timepoint(image: NdarrayOrTensor, axis: FrameAxis | None = None) -> tuple[np.ndarray, str]:
    """Return the timepoint to show of an image ``[X, Y, Z]`` or ``[T, X, Y, Z]``, and its name.

    The name is ``""`` when there is only one. ``axis`` chooses and names it; default: T // 2, by its number.
    """
    if image.ndim == 3:
        return as_array(image), ""
    axis = axis or frame_axis(len(image))
    return as_array(image[axis.shown]), axis.name(axis.shown) if len(image) > 1 else ""


class ShownImage(NamedTuple):
    """What a figure shows of an image: one timepoint ``[X, Y, Z]``, its heading, and the intensity drawn as white."""

    volume: np.ndarray
    heading: str
    white: float


def shown_images(
    images: Mapping[str, NdarrayOrTensor | None],
    frames: Mapping[str, FrameAxis] | None = None,
    labels: Mapping[str, str] | None = None,
) -> dict[str, ShownImage]:
    """Return what to show of each image in [0, 1] that is not None.

    The heading is the name (or its entry in ``labels``) and the timepoint. All timepoints of a sequence have one scale,
    on which little is left of the signal at a high b-value, so such an image is drawn brighter, which the heading says.
    """
    shown = {}
    for name, image in images.items():
        if image is None:
            continue
        axis = (frames or {}).get(name)
        volume, note = shown_timepoint(image, axis)
        factor = 1
        if axis is not None and axis.kind == "b_value" and (volume > 0).any():
            factor = int(np.clip(1 / np.percentile(volume[volume > 0], 99.5), 1, MOST_BRIGHTENING))
        lines = [(labels or {}).get(name, name), note + (f" ({factor}x)" if factor > 1 else "")]
        shown[name] = ShownImage(volume, "\n".join(filter(None, lines)), 1 / factor)
    return shown


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
    """Return the axial slice, counted from 0, with the largest part of the mask, else of the foreground.

    Foreground is what is brighter than the volume's mean, which leaves out air with or without noise. Of equal
    slices, the one nearest to the middle is taken.

    Args:
        volume: ``[X, Y, Z]`` or ``[T, X, Y, Z]``.
        mask: region of interest ``[X, Y, Z]`` (non-zero inside); an empty one is ignored.
    """
    image = shown_timepoint(volume)[0]
    region = image > image.mean(dtype=np.float64)
    if mask is not None and (as_array(mask) > 0).any():
        region = as_array(mask) > 0
    area = region.sum(axis=(0, 1))
    candidates = np.flatnonzero(area == area.max())
    return int(min(candidates, key=lambda index: abs(index - (area.size - 1) / 2)))


def choose_slice(
    images: Collection[ShownImage], slice_index: int | None = None, mask: NdarrayOrTensor | None = None
) -> int:
    """Return ``slice_index``, or the most informative slice of the mean of ``images`` where it is None."""
    if slice_index is not None:
        return slice_index
    return informative_slice(np.add.reduce([image.volume for image in images]), mask)


def foreground_box(views: Sequence[np.ndarray], threshold: float = 0.02) -> tuple[slice, slice]:
    """Return rows and columns of the smallest box with all foreground and 4 pixels around, where the views have them.

    Args:
        views: slices of one size, ``[rows, columns]``.
        threshold: intensity above which a pixel is foreground; when there is none, the whole view is returned.
    """
    starts, ends = generate_spatial_bounding_box(
        np.stack(views), lambda image: image > threshold, margin=4, allow_smaller=True
    )
    rows, columns = (slice(start, end) if any(ends) else slice(None) for start, end in zip(starts, ends, strict=True))
    return rows, columns
