# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The figure of every sequence synthesised from every other one, beside what was measured."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from monai.config.type_definitions import NdarrayOrTensor

from seq2seq_mri.plots.frames import FrameAxis
from seq2seq_mri.plots.panels import (
    INTENSITY_LABEL,
    add_colour_bar,
    add_corner_text,
    add_side_letters,
    image_grid,
    show_absent,
    show_image,
    slice_title,
    write_row_label,
)
from seq2seq_mri.plots.slices import (
    BRIGHTER_NOTE,
    DEFAULT_VIEW,
    SliceView,
    axial_view,
    choose_slice,
    foreground_box,
    shown_images,
    shown_timepoint,
)
from seq2seq_mri.plots.style import ANATOMY_COLOURS, publication_style

__all__ = ["translation_grid"]

Pair = tuple[str, str]


@publication_style()
def translation_grid(
    truth: Mapping[str, NdarrayOrTensor | None],
    predictions: Mapping[Pair, NdarrayOrTensor],
    *,
    view: SliceView = DEFAULT_VIEW,
    psnr: Mapping[Pair, float] | None = None,
    region: str = "foreground",
    data_range: float = 1.0,
    frames: Mapping[str, FrameAxis] | None = None,
) -> Figure:
    """Draw X'_{source→target} for all pairs: rows are sources, columns targets, measured images in the margins.

    Volumes are in RAS orientation and shown as radiologists do, the patient's right on the left. What was not
    measured, or not synthesised, is a hatched grey cell. Of a 4D image one timepoint is shown and named.

    Args:
        truth: for each sequence, in the order of the figure, the measured image ``[X, Y, Z]`` or ``[T, X, Y, Z]``, in
            [0, 1], or None where it was not measured.
        predictions: ``(source, target)`` to the synthesised image, of the same size in space.
        view: whose slice is shown; by default the most informative one of the measured images.
        psnr: ``(source, target)`` to PSNR in dB, printed in the cells off the diagonal.
        region: where the PSNR was measured, printed with it.
        data_range: the range that the PSNR refers to, likewise.
        frames: for 4D sequences, which timepoint is shown and how it is named, see
            :func:`frame_axes`; default: the middle one, by its number.
    """
    names = list(truth)
    measured = shown_images(truth, frames)
    index = choose_slice(measured.values(), view.index)
    measured_views = {name: axial_view(image.volume, index) for name, image in measured.items()}
    box = foreground_box(list(measured_views.values()))
    first = next(iter(measured.values()))

    figure, axes = image_grid(
        len(names) + 1,
        len(names) + 1,
        axial_view(first.volume, index)[box],
        width=min(1.3, max(0.95, 6.5 / (len(names) + 1))),
        spacing=view.spacing,
        first_apart=True,
    )
    for place, name in enumerate(names, start=1):
        heading = measured[name].heading if name in measured else name
        axes[0, place].set_title(heading, pad=3)
        write_row_label(axes[place, 0], heading)
        for cell in (axes[0, place], axes[place, 0]):
            if name in measured:
                show_image(cell, measured_views[name][box], (0.0, measured[name].white))
            else:
                show_absent(cell, "not measured")
    for (row, source), (column, target) in itertools.product(enumerate(names, start=1), repeat=2):
        cell = axes[row, column]
        if (source, target) not in predictions:
            show_absent(cell, "not synthesised" if source in measured else "source not measured")
            continue
        volume, _ = shown_timepoint(predictions[source, target], (frames or {}).get(target))
        white = measured[target].white if target in measured else 1.0
        show_image(cell, axial_view(volume, index)[box], (0.0, white))
        value = (psnr or {}).get((source, target), np.nan)
        if source != target and np.isfinite(value):
            add_corner_text(cell, f"{value:.1f} dB")
    add_side_letters(next(cell for cell in axes[0, 1:] if cell.images))
    axes[0, 0].set_axis_off()
    axes[0, 0].text(0.96, 0.55, "target →", transform=axes[0, 0].transAxes, ha="right", va="center", fontsize=7)
    axes[0, 0].text(0.5, 0.05, "source ↓", transform=axes[0, 0].transAxes, ha="center", va="bottom", fontsize=7)
    add_colour_bar(axes, INTENSITY_LABEL, (0.0, 1.0), ANATOMY_COLOURS)
    figure.suptitle(slice_title(view.subject, index, first.volume.shape[-1]))
    note = "First row and column: measured; others: synthesised."
    if psnr:
        note += f" PSNR: {region.replace('_', ' ')}, data range {data_range:g}."
    if any(image.white < 1 for image in measured.values()):
        note += f" {BRIGHTER_NOTE}"
    figure.supxlabel(note)
    return figure
