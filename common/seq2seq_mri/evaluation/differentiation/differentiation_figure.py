# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Figures of the imaging-differentiation map M_d laid over the anatomy, of all sequences and along one 4D sequence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure
from monai.config.type_definitions import NdarrayOrTensor

from seq2seq_mri.plots.frames import FrameAxis, frame_axis
from seq2seq_mri.plots.panels import (
    DIFFERENTIATION_LABEL,
    INTENSITY_LABEL,
    add_colour_bar,
    add_corner_text,
    add_side_letters,
    image_grid,
    show_absent,
    show_image,
    show_overlay,
    slice_title,
    write_row_label,
)
from seq2seq_mri.plots.slices import (
    BRIGHTER_NOTE,
    DEFAULT_VIEW,
    SliceView,
    as_array,
    axial_view,
    choose_slice,
    foreground_box,
    shown_images,
)
from seq2seq_mri.plots.style import ANATOMY_COLOURS, MAP_COLOURS, publication_style

__all__ = ["differentiation_overlay", "differentiation_strip"]

CONTOUR_COLOUR = "#00E5FF"  # not on the map's black-red-yellow scale


@publication_style()
def differentiation_overlay(
    anatomy: Mapping[str, NdarrayOrTensor | None],
    differentiation: Mapping[str, NdarrayOrTensor],
    *,
    regions: Mapping[str, NdarrayOrTensor] | None = None,
    view: SliceView = DEFAULT_VIEW,
    labels: Mapping[str, str] | None = None,
    frames: Mapping[str, FrameAxis] | None = None,
    columns: int | None = None,
) -> Figure:
    """Draw, one column per sequence, the measured image and below it M_d in colour over the same image.

    The colour grows opaque with the value, so that the dimmed anatomy shows through where nothing is unique. All
    columns share one slice and one scale, which ends at the slice's 99.5th percentile: a few voxels at the skull or in
    vessels would otherwise leave the rest black. Of a 4D image one timepoint is shown and named, of a 4D map the mean
    over its timepoints, which is so named; :func:`differentiation_strip` shows them all.

    Args:
        anatomy: for each sequence, in the order of the figure, the measured image ``[X, Y, Z]`` or ``[T, X, Y, Z]``
            in RAS orientation and in [0, 1], or None where it was not measured.
        differentiation: M_d (Eq. 5 of the paper) of measured sequences, of the same size; in units of the normalised
            intensity.
        regions: known regions ``[X, Y, Z]`` that only the sequence shows, non-zero inside; drawn as a contour.
        view: whose slice is shown; by default that with the largest known region, else with most foreground.
        labels: how to write a sequence's name; default: as in ``anatomy``.
        frames: for 4D sequences, which timepoint of the anatomy is shown and how it is named, see
            :func:`frame_axes`; default: the middle one, by its number.
        columns: most columns side by side; more sequences go on below. Default: 6, and about 4 where there are more.
    """
    names = list(anatomy)
    shown = shown_images(anatomy, frames, labels)
    known = {name: as_array(region) > 0 for name, region in (regions or {}).items()}
    index = choose_slice(shown.values(), view.index, np.any([*known.values()], axis=0) if known else None)
    views = {name: axial_view(image.volume, index) for name, image in shown.items()}
    box = foreground_box(list(views.values()))
    maps = {name: as_array(values) for name, values in differentiation.items()}
    map_views = {
        name: axial_view(values.mean(axis=0) if values.ndim == 4 else values, index) for name, values in maps.items()
    }
    maximum = float(np.percentile(np.stack([*map_views.values()]), 99.5)) or 1.0 if maps else 1.0

    if columns is None:
        columns = len(names) if len(names) <= 6 else math.ceil(len(names) / math.ceil(len(names) / 4))
    blocks = math.ceil(len(names) / columns)
    width = min(1.7, max(0.9, 6.2 / columns))
    figure, axes = image_grid(2 * blocks, columns, next(iter(views.values()))[box], width, view.spacing)
    for unused in range(len(names), blocks * columns):
        for cell in axes[-2:, unused % columns]:
            cell.set_axis_off()
    for place, name in enumerate(names):
        above, below = axes[2 * (place // columns) : 2 * (place // columns) + 2, place % columns]
        above.set_title(shown[name].heading if name in shown else (labels or {}).get(name, name), pad=3)
        if name in shown:
            show_image(above, views[name][box], (0.0, shown[name].white))
        else:
            show_absent(above, "not measured")
        if name not in maps:
            show_absent(below, "no map" if name in shown else "not measured")
            continue
        show_overlay(below, views[name][box] / shown[name].white, map_views[name][box] / maximum)
        if maps[name].ndim == 4 and len(maps[name]) > 1:
            add_corner_text(below, f"mean of {len(maps[name])} timepoints")
        if name in known and (contour := axial_view(known[name], index)[box]).any():
            below.contour(contour, levels=[0.5], colors=CONTOUR_COLOUR, linewidths=0.8)
    for above, below in axes[:, 0].reshape(-1, 2):
        write_row_label(above, "measured")
        write_row_label(below, "$M_d$")
    add_side_letters(next(cell for cell in axes[::2].flat if cell.images))
    add_colour_bar(axes, DIFFERENTIATION_LABEL, (0.0, maximum), MAP_COLOURS)
    add_colour_bar(axes, INTENSITY_LABEL, (0.0, 1.0), ANATOMY_COLOURS)
    figure.suptitle(slice_title(view.subject, index, next(iter(shown.values())).volume.shape[-1]))
    note = ["Contour: the region that only this sequence shows."] if known else []
    note += [BRIGHTER_NOTE] if any(image.white < 1 for image in shown.values()) else []
    if note:
        figure.supxlabel(" ".join(note))
    return figure


def differentiation_strip(
    anatomy: NdarrayOrTensor,
    differentiation: NdarrayOrTensor,
    name: str,
    *,
    axis: FrameAxis | None = None,
    region: NdarrayOrTensor | None = None,
    view: SliceView = DEFAULT_VIEW,
) -> Figure:
    """Draw all timepoints of a 4D sequence and their M_d in one row, and at its end their means.

    Args:
        anatomy: the measured image ``[T, X, Y, Z]`` in RAS orientation and in [0, 1].
        differentiation: M_d of the same shape (Eq. 5 of the paper).
        name: of the sequence, for the title.
        axis: names the timepoints; default: by their number.
        region: known region that only the sequence shows; drawn as a contour at the mean.
        view: as in :func:`differentiation_overlay`.
    """
    axis = axis or frame_axis(len(anatomy))
    images, maps = as_array(anatomy), as_array(differentiation)
    labels = {str(timepoint): axis.name(timepoint) for timepoint in range(len(images))}
    return differentiation_overlay(
        dict(zip(labels, images, strict=True)) | {"mean": images.mean(axis=0)},
        dict(zip(labels, maps, strict=True)) | {"mean": maps.mean(axis=0)},
        regions=None if region is None else {"mean": region},
        view=replace(view, subject=f"{view.subject}, {name}" if view.subject else name),
        labels=labels,
        columns=len(images) + 1,
    )
