# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Every sequence synthesised from every other one, side by side with what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from monai.config.type_definitions import NdarrayOrTensor

from seq2seq_mri.plots.frames import FrameAxis
from seq2seq_mri.plots.panels import (
    INTENSITY_LABEL,
    Margins,
    add_colour_bar,
    add_corner_text,
    add_side_letters,
    check_window,
    panel_grid,
    panel_height,
    row_label_room,
    show_absent,
    show_image,
    slice_title,
    write_note,
    write_row_label,
    write_title,
)
from seq2seq_mri.plots.slices import (
    BRIGHTER_NOTE,
    axial_view,
    check_names,
    choose_slice,
    common_shape,
    display_window,
    foreground_box,
    shown_timepoint,
)
from seq2seq_mri.plots.style import ANATOMY_COLOURS, display_name, publication_style

__all__ = ["translation_grid"]

Pair = tuple[str, str]


@publication_style()
def translation_grid(
    truth: Mapping[str, NdarrayOrTensor | None],
    predictions: Mapping[Pair, NdarrayOrTensor | None],
    *,
    subject: str = "",
    slice_index: int | None = None,
    psnr: Mapping[Pair, float] | None = None,
    region: str = "foreground",
    data_range: float = 1.0,
    window: tuple[float, float] = (0.0, 1.0),
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    crop: bool = True,
    labels: Mapping[str, str] | None = None,
    frames: Mapping[str, FrameAxis] | None = None,
) -> Figure:
    """Draw X'_{source→target} for all pairs: rows are sources, columns targets, measured images in the margins.

    Volumes are in RAS orientation and shown as radiologists do, the patient's right on the left. What was not
    measured, or not synthesised, is a hatched grey cell. Of a 4D image one timepoint is shown and named.

    Args:
        truth: for each sequence, in the order of the figure, the measured image ``[X, Y, Z]`` or ``[T, X, Y, Z]``, or
            None where it was not measured.
        predictions: ``(source, target)`` to the synthesised image, of the same size in space.
        subject: name for the title.
        slice_index: axial slice, counted from 0; default: the most informative one of the measured images.
        psnr: ``(source, target)`` to PSNR in dB, printed in the cells off the diagonal.
        region: where the PSNR was measured, printed with it.
        data_range: the range that the PSNR refers to, likewise.
        window: intensities shown as black and white.
        spacing: voxel sizes along X, Y, Z in millimetres.
        crop: whether to leave out the empty border around what was measured.
        labels: how to write a sequence's name; default: as in ``truth``.
        frames: for 4D sequences, which timepoint is shown and how it is named, see
            :func:`frame_axes`; default: the middle one, by its number.

    Returns:
        The figure; :func:`save_figure` writes it.

    Raises:
        ValueError: when a pair names an unknown sequence, sizes differ, or the slice or window does not exist.
    """
    names = list(truth)
    check_names((name for pair in predictions for name in pair), names, "the predictions")
    check_names((name for pair in psnr or {} for name in pair), names, "the PSNR values")
    low, high = check_window(window)
    axis = frames or {}
    timepoints: dict[str, str] = {}
    windows = dict.fromkeys(names, (low, high))
    measured, synthesised = {}, {}
    for (source, target), image in predictions.items():
        if image is not None:
            what = f"{target} made from {source}"
            synthesised[source, target], timepoints[target] = shown_timepoint(image, what, axis.get(target))
    for name, image in truth.items():
        if image is not None:
            measured[name], timepoints[name] = shown_timepoint(image, f"measured {name}", axis.get(name))
            windows[name], brighter = display_window(measured[name], axis.get(name), (low, high))
            timepoints[name] += brighter
    shape = common_shape(
        {f"measured {name}": image for name, image in measured.items()}
        | {f"{target} made from {source}": image for (source, target), image in synthesised.items()}
    )
    index = choose_slice(slice_index, shape[-1], measured.values())
    measured_views = {name: axial_view(image, index) for name, image in measured.items()}
    views = {pair: axial_view(image, index) for pair, image in synthesised.items()}
    box = (slice(None), slice(None))
    if crop and measured_views:
        box = foreground_box(list(measured_views.values()), low + 0.02 * (high - low))

    count = len(names)
    width = min(1.3, max(0.95, 6.5 / (count + 1)))
    height = panel_height(next(iter((measured_views or views).values()))[box], width, spacing)
    headings = {name: _heading(name, timepoints, labels) for name in names}
    horizontal, room = row_label_room(list(headings.values()), height)
    gaps = [0.1] + [0.03] * (count - 1)
    figure, axes = panel_grid(
        count + 1,
        count + 1,
        (width, height),
        Margins(max(0.5, room), right=0.8, top=0.62 if any(timepoints.values()) else 0.48, bottom=0.26),
        row_gaps=gaps,
        column_gaps=gaps,
    )
    for position, name in enumerate(names, start=1):
        axes[0, position].set_title(headings[name], pad=3)
        write_row_label(axes[position, 0], headings[name], horizontal)
        for cell in (axes[0, position], axes[position, 0]):
            if name in measured_views:
                show_image(cell, measured_views[name][box], windows[name])
            else:
                show_absent(cell, "not measured")
    for row, source in enumerate(names, start=1):
        for column, target in enumerate(names, start=1):
            if (source, target) in views:
                show_image(axes[row, column], views[source, target][box], windows[target])
                if source != target and np.isfinite(value := (psnr or {}).get((source, target), np.nan)):
                    add_corner_text(axes[row, column], f"{value:.1f} dB", 7 if width > 1 else 6)
            else:
                show_absent(axes[row, column], "not synthesised" if source in measured else "source not measured")
    first = next((cell for cell in axes[0, 1:] if cell.images), axes[1, 1])
    add_side_letters(first)
    _label_corner(axes[0, 0])
    add_colour_bar(figure, axes[1, -1], axes[-1, -1], INTENSITY_LABEL, (low, high), ANATOMY_COLOURS)
    write_title(figure, slice_title(subject, index, shape[-1]), axes)
    note = "First row and column: measured; others: synthesised."
    if psnr:
        note += f" PSNR: {region.replace('_', ' ')}, data range {data_range:g}."
    if any(narrower != (low, high) for narrower in windows.values()):
        note += f" {BRIGHTER_NOTE}"
    write_note(figure, note, axes)
    return figure


def _heading(name: str, timepoints: Mapping[str, str], labels: Mapping[str, str] | None) -> str:
    note = timepoints.get(name)
    return f"{display_name(name, labels)}\n{note}" if note else display_name(name, labels)


def _label_corner(axes: Axes) -> None:
    axes.set_axis_off()
    axes.text(0.96, 0.55, "target →", transform=axes.transAxes, ha="right", va="center", fontsize=7)
    axes.text(0.5, 0.05, "source ↓", transform=axes.transAxes, ha="center", va="bottom", fontsize=7)
