# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The figure of one synthesised sequence: its sources, how far their translations differ, and the truth where known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from monai.config.type_definitions import NdarrayOrTensor

from seq2seq_mri.plots.frames import FrameAxis, frame_axis
from seq2seq_mri.plots.panels import (
    INTENSITY_LABEL,
    add_colour_bar,
    add_side_letters,
    image_grid,
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
)
from seq2seq_mri.plots.style import ANATOMY_COLOURS, MAP_COLOURS, publication_style

__all__ = ["synthesis_panel"]

_MAPS = ("inter-source deviation", "absolute error")


@publication_style()
def synthesis_panel(
    sources: Mapping[str, NdarrayOrTensor],
    target: str,
    synthesised: NdarrayOrTensor,
    *,
    deviation: NdarrayOrTensor | None = None,
    truth: NdarrayOrTensor | None = None,
    view: SliceView = DEFAULT_VIEW,
    frames: Mapping[str, FrameAxis] | None = None,
) -> Figure:
    """Draw the measured sources above, and below them the synthesised target with its maps.

    Below are, as far as given: the synthesised image, the inter-source standard deviation, the withheld measured image,
    and the absolute error; the two maps share one scale, which ends at the larger of their 99.5th percentiles. Of a 4D
    target each of them is a row of all its timepoints; of a 4D source one timepoint is shown and named.

    Args:
        sources: for each available sequence the measured image ``[X, Y, Z]`` or ``[T, X, Y, Z]`` in RAS orientation
            and in [0, 1]; at least one.
        target: name of the synthesised sequence.
        synthesised: the synthesised image, of the same size in space; it and what belongs to it, the deviation and
            the truth, have the same timepoints.
        deviation: voxelwise uncertainty, how far the images synthesised from the single sources differ; in units of
            the normalised intensity.
        truth: the measured target, when it was withheld.
        view: whose slice is shown; by default the most informative one of the sources.
        frames: for 4D sequences, how their timepoints are named, and which one of a source is shown, see
            :func:`frame_axes`; default: the middle one, by its number.

    Returns:
        The figure; :func:`save_figure` writes it.
    """
    shown = shown_images(sources, frames)
    index = choose_slice(shown.values(), view.index)
    source_views = [axial_view(image.volume, index) for image in shown.values()]
    box = foreground_box(source_views)
    results = {"synthesised": _views(synthesised, index)}
    if deviation is not None:
        results["inter-source deviation"] = _views(deviation, index)
    if truth is not None:
        results["measured (withheld)"] = _views(truth, index)
        pairs = zip(results["synthesised"], results["measured (withheld)"], strict=True)
        results["absolute error"] = [abs(made - measured) for made, measured in pairs]
    maps = [values for title, views in results.items() if title in _MAPS for values in views]
    maximum = max((float(np.percentile(values, 99.5)) for values in maps), default=1.0) or 1.0

    # One timepoint: the results side by side, named above. Several: a row for each result, the timepoints side by side.
    timepoints = len(results["synthesised"])
    columns = max(timepoints if timepoints > 1 else len(results), min(len(sources), 4))
    source_rows = -(-len(sources) // columns)
    figure, axes = image_grid(
        source_rows + (len(results) if timepoints > 1 else 1),
        columns,
        source_views[0][box],
        width=min(1.55, max(1.05, 6.6 / columns)),
        spacing=view.spacing,
    )
    for cell, image, source in zip(axes.flat, shown.values(), source_views, strict=False):
        cell.set_title(image.heading, pad=3)
        show_image(cell, source[box], (0.0, image.white))
    write_row_label(axes[0, 0], "sources")
    if timepoints == 1:
        cells = list(axes[-1, : len(results), None])
        write_row_label(axes[-1, 0], target)
        for (cell,), title in zip(cells, results, strict=True):
            cell.set_title(title, pad=3)
    else:
        cells = list(axes[source_rows:, :timepoints])
        axis = (frames or {}).get(target) or frame_axis(timepoints)
        for timepoint, cell in enumerate(cells[0]):
            cell.set_title(axis.name(timepoint), pad=3)
        write_row_label(cells[0][0], f"{target}\nsynthesised")
        for row, title in zip(cells[1:], [*results][1:], strict=True):
            write_row_label(row[0], title.replace(" ", "\n", 1))
    for row, (title, views) in zip(cells, results.items(), strict=True):
        window, colours = ((0.0, maximum), MAP_COLOURS) if title in _MAPS else ((0.0, 1.0), ANATOMY_COLOURS)
        for cell, values in zip(row, views, strict=True):
            show_image(cell, values[box], window, colours)
    for unused in axes.flat:
        if not unused.images:
            unused.set_axis_off()
    add_side_letters(axes[0, 0])
    if maps:
        add_colour_bar(axes, "Difference\n(fraction of range)", (0.0, maximum), MAP_COLOURS)
    add_colour_bar(axes, INTENSITY_LABEL, (0.0, 1.0), ANATOMY_COLOURS)
    figure.suptitle(slice_title(view.subject, index, next(iter(shown.values())).volume.shape[-1]))
    if any(image.white < 1 for image in shown.values()):
        figure.supxlabel(BRIGHTER_NOTE)
    return figure


def _views(image: NdarrayOrTensor, index: int) -> list[np.ndarray]:
    """Return a slice of each timepoint of a 3D or 4D image."""
    return [axial_view(volume, index) for volume in (image if image.ndim == 4 else image[None])]
