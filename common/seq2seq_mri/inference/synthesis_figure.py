# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""One synthesised sequence beside what it was made from, how far its sources disagree, and the truth where known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from monai.config.type_definitions import NdarrayOrTensor

from seq2seq_mri.plots.frames import FrameAxis
from seq2seq_mri.plots.panels import (
    INTENSITY_LABEL,
    Margins,
    add_colour_bar,
    add_side_letters,
    check_window,
    panel_grid,
    panel_height,
    row_label_room,
    show_image,
    slice_title,
    write_note,
    write_row_label,
    write_title,
)
from seq2seq_mri.plots.slices import (
    BRIGHTER_NOTE,
    axial_view,
    check_axis,
    choose_slice,
    common_shape,
    display_window,
    foreground_box,
    shown_timepoint,
)
from seq2seq_mri.plots.style import ANATOMY_COLOURS, MAP_COLOURS, display_name, publication_style

__all__ = ["synthesis_panel"]


class _Result(NamedTuple):
    """One image of the target, or one map, at every timepoint that is shown."""

    title: str
    views: list[np.ndarray]
    is_map: bool


@publication_style()
def synthesis_panel(
    sources: Mapping[str, NdarrayOrTensor],
    target: str,
    synthesised: NdarrayOrTensor,
    *,
    disagreement: NdarrayOrTensor | None = None,
    truth: NdarrayOrTensor | None = None,
    subject: str = "",
    slice_index: int | None = None,
    maximum: float | None = None,
    window: tuple[float, float] = (0.0, 1.0),
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    crop: bool = True,
    labels: Mapping[str, str] | None = None,
    frames: Mapping[str, FrameAxis] | None = None,
) -> Figure:
    """Draw the measured sources above, and below them the synthesised target with its maps.

    Below are, as far as given: the synthesised image, the disagreement between sources, the withheld measured image,
    and the absolute error; the two maps share one scale. Of a 4D target each of them is a row of all its timepoints; of
    a 4D source one timepoint is shown and named.

    Args:
        sources: for each available sequence the measured image ``[X, Y, Z]`` or ``[T, X, Y, Z]`` in RAS orientation.
        target: name of the synthesised sequence.
        synthesised: the synthesised image, of the same size in space; it and what belongs to it, the disagreement and
            the truth, have the same timepoints.
        disagreement: voxelwise uncertainty, how far the images synthesised from the single sources differ; in units of
            the normalised intensity.
        truth: the measured target, when it was withheld.
        subject: name for the title.
        slice_index: axial slice, counted from 0; default: the most informative one of the sources.
        maximum: value at the end of the maps' colours; default: the largest 99.5th percentile of the shown maps.
        window: intensities shown as black and white.
        spacing: voxel sizes along X, Y, Z in millimetres.
        crop: whether to leave out the empty border around the sources.
        labels: how to write a sequence's name.
        frames: for 4D sequences, how their timepoints are named, and which one of a source is shown, see
            :func:`frame_axes`; default: the middle one, by its number.

    Returns:
        The figure; :func:`save_figure` writes it.

    Raises:
        ValueError: when there is no source, sizes differ, or the slice, window or maximum does not exist.
    """
    if not sources:
        raise ValueError(f"No source is given for the synthesised {target}; give at least one measured image.")
    low, high = check_window(window)
    if maximum is not None and not (np.isfinite(maximum) and maximum > 0):
        raise ValueError(f"The maximum of the map colours is {maximum}; give a positive number.")
    axes_of = frames or {}
    notes, volumes, windows = {}, {}, {}
    for name, image in sources.items():
        axis = axes_of.get(name)
        volumes[f"measured {name}"], notes[name] = shown_timepoint(image, f"measured {name}", axis)
        windows[name], brighter = display_window(volumes[f"measured {name}"], axis, (low, high))
        notes[name] += brighter
    series = {"synthesised image": synthesised, "disagreement map": disagreement, "withheld image": truth}
    given = {name: _timepoints(image, name) for name, image in series.items() if image is not None}
    timepoints = len(given["synthesised image"])
    for name, image in given.items():
        if len(image) != timepoints:
            raise ValueError(f"The {name} has {len(image)} timepoints, but the synthesised image {timepoints}.")
        volumes[name] = image[0]
    shape = common_shape(volumes)
    index = choose_slice(slice_index, shape[-1], [volumes[f"measured {name}"] for name in sources])
    source_views = {name: axial_view(volumes[f"measured {name}"], index) for name in sources}
    results = _results({name: [axial_view(frame, index) for frame in image] for name, image in given.items()})
    maps = [view for result in results if result.is_map for view in result.views]
    if maximum is None:
        maximum = max((float(np.percentile(view, 99.5)) for view in maps), default=1.0) or 1.0
    box = foreground_box(list(source_views.values()), low + 0.02 * (high - low)) if crop else (slice(None), slice(None))

    # One timepoint: the results side by side, named above. Several: a row for each result, the timepoints side by side.
    name = display_name(target, labels)
    if timepoints == 1:
        rows = [[(result.title, result.views[0], result.is_map) for result in results]]
        row_labels = [name]
    else:
        target_axis = check_axis(given["synthesised image"], f"synthesised {target}", axes_of.get(target))
        above = [target_axis.name(timepoint) for timepoint in range(timepoints)]
        rows = [
            [(above[k] if result is results[0] else "", view, result.is_map) for k, view in enumerate(result.views)]
            for result in results
        ]
        row_labels = [f"{name}\n{results[0].title}", *(result.title.replace(" ", "\n", 1) for result in results[1:])]
    columns = max(len(rows[0]), min(len(sources), 4))
    source_rows = -(-len(sources) // columns)
    width = min(1.55, max(1.05, 6.6 / columns))
    height = panel_height(next(iter(source_views.values()))[box], width, spacing)
    horizontal, room = row_label_room(["sources", *row_labels], height)
    narrowed = any(window_of_one != (low, high) for window_of_one in windows.values())
    gap = 0.36 if any(notes.values()) else 0.24
    figure, axes = panel_grid(
        source_rows + len(rows),
        columns,
        (width, height),
        Margins(max(0.3, room), right=0.8, top=0.62 if any(notes.values()) else 0.48, bottom=0.28 if narrowed else 0.1),
        row_gaps=[gap] * (source_rows - 1) + [0.24] + [0.04] * (len(rows) - 1),
        column_gaps=[0.06] * (columns - 1),
    )
    for cell, source in zip(axes.flat, sources, strict=False):
        note = notes[source]
        cell.set_title(display_name(source, labels) + (f"\n{note}" if note else ""), pad=3)
        show_image(cell, source_views[source][box], windows[source])
    for row_axes, row in zip(axes[source_rows:], rows, strict=True):
        for cell, (title, view, is_map) in zip(row_axes, row, strict=False):
            cell.set_title(title, pad=3)
            show_image(
                cell, view[box], (0.0, maximum) if is_map else (low, high), MAP_COLOURS if is_map else ANATOMY_COLOURS
            )
    for unused in axes.flat:
        if not unused.images:
            unused.set_axis_off()
    write_row_label(axes[0, 0], "sources", horizontal)
    for row_axes, label in zip(axes[source_rows:], row_labels, strict=True):
        write_row_label(row_axes[0], label, horizontal)
    add_side_letters(axes[0, 0])
    write_title(figure, slice_title(subject, index, shape[-1]), axes)
    last_source = axes[0, columns - 1 if len(rows) > 1 else min(len(sources), columns) - 1]
    last_result = axes[-1, len(rows[0]) - 1]
    add_colour_bar(figure, last_source, last_source, INTENSITY_LABEL, (low, high), ANATOMY_COLOURS)
    if maps:
        first_result = axes[-1 if timepoints == 1 else source_rows, len(rows[0]) - 1]
        label = "Difference\n(fraction of range)"
        add_colour_bar(figure, first_result, last_result, label, (0.0, maximum), MAP_COLOURS)
    if narrowed:
        write_note(figure, BRIGHTER_NOTE, axes)
    return figure


def _timepoints(image: NdarrayOrTensor, name: str) -> NdarrayOrTensor:
    """Return ``[T, X, Y, Z]`` of a 3D or 4D image."""
    if image.ndim not in (3, 4):
        raise ValueError(f"The {name} has shape {tuple(image.shape)}; a figure needs [X, Y, Z] or [T, X, Y, Z].")
    return image if image.ndim == 4 else image[None]


def _results(views: Mapping[str, list[np.ndarray]]) -> list[_Result]:
    """Return what is drawn of the target, from the slices of each image at all timepoints."""
    synthesised, truth = views["synthesised image"], views.get("withheld image")
    results = [_Result("synthesised", synthesised, False)]
    if "disagreement map" in views:
        results.append(_Result("disagreement of sources", views["disagreement map"], True))
    if truth is not None:
        error = [abs(made - measured) for made, measured in zip(synthesised, truth, strict=True)]
        results += [_Result("measured (withheld)", truth, False), _Result("absolute error", error, True)]
    return results
