# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What only one sequence shows: the imaging-differentiation map M_d laid over the anatomy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from monai.config.type_definitions import NdarrayOrTensor
from monai.visualize import blend_images

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
    as_array,
    axial_view,
    check_names,
    choose_slice,
    common_shape,
    display_window,
    foreground_box,
    shown_timepoint,
)
from seq2seq_mri.plots.style import ANATOMY_COLOURS, MAP_COLOURS, display_name, publication_style

__all__ = ["differentiation_overlay"]

#: The anatomy below the colours is dimmed, or bright tissue would pass for a large value.
ANATOMY_BRIGHTNESS = 0.6
CONTOUR_COLOUR = "#00E5FF"  # not on the map's black-red-yellow scale


@publication_style()
def differentiation_overlay(
    anatomy: Mapping[str, NdarrayOrTensor | None],
    differentiation: Mapping[str, NdarrayOrTensor | None],
    *,
    regions: Mapping[str, NdarrayOrTensor | None] | None = None,
    subject: str = "",
    slice_index: int | None = None,
    maximum: float | None = None,
    window: tuple[float, float] = (0.0, 1.0),
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    crop: bool = True,
    labels: Mapping[str, str] | None = None,
    frames: Mapping[str, FrameAxis] | None = None,
    columns: int | None = None,
) -> Figure:
    """Draw, one column per sequence, the measured image and below it M_d in colour over the same image.

    The colour grows opaque with the value, so that the dimmed anatomy shows through where nothing is unique. All
    columns share one slice and one scale. Of a 4D image one timepoint is shown and named, of a 4D map the mean over its
    timepoints, which is so named; :func:`differentiation_strip` shows them all.

    Args:
        anatomy: for each sequence, in the order of the figure, the measured image ``[X, Y, Z]`` or ``[T, X, Y, Z]``
            in RAS orientation, or None where it was not measured.
        differentiation: for each sequence M_d (Eq. 5 of the paper), of the same size, or None; in units of the
            normalised intensity.
        regions: known regions that only the sequence shows, non-zero inside; drawn as a contour.
        subject: name for the title.
        slice_index: axial slice, counted from 0; default: the one with the largest known region, else with most
            foreground.
        maximum: M_d at the end of the colours; default: the 99.5th percentile of the shown slice over all sequences.
        window: intensities of the anatomy shown as black and white.
        spacing: voxel sizes along X, Y, Z in millimetres.
        crop: whether to leave out the empty border around what was measured.
        labels: how to write a sequence's name; default: as in ``anatomy``.
        frames: for 4D sequences, which timepoint of the anatomy is shown and how it is named, see
            :func:`frame_axes`; default: the middle one, by its number.
        columns: most columns side by side; more sequences go on below. Default: 6, and about 4 where there are more.

    Returns:
        The figure; :func:`save_figure` writes it.

    Raises:
        ValueError: when a map or region names an unknown sequence, or one that was not measured, when sizes differ,
            or the slice, window or maximum does not exist.
    """
    names = list(anatomy)
    check_names(differentiation, names, "the differentiation maps")
    check_names(regions or {}, names, "the regions")
    low, high = check_window(window)
    notes: dict[str, str] = {}
    means: dict[str, str] = {}
    windows: dict[str, tuple[float, float]] = {}
    images, maps, known = {}, {}, {}
    for name, image in anatomy.items():
        if image is not None:
            axis = (frames or {}).get(name)
            images[name], notes[name] = shown_timepoint(image, f"measured {name}", axis)
            windows[name], brighter = display_window(images[name], axis, (low, high))
            notes[name] += brighter
    for name, values in differentiation.items():
        if values is not None:
            maps[name], means[name] = _mean_timepoint(values, f"M_d of {name}")
            if name not in images:
                raise ValueError(f"There is an M_d of {name}, but no measured {name}; M_d needs the measured image.")
    for name, region in (regions or {}).items():
        if region is not None:
            known[name] = shown_timepoint(region, f"region of {name}")[0]
    shape = common_shape(
        {f"measured {name}": image for name, image in images.items()}
        | {f"M_d of {name}": values for name, values in maps.items()}
        | {f"region of {name}": region for name, region in known.items()}
    )
    union = np.any([as_array(region) > 0 for region in known.values()], axis=0) if known else None
    index = choose_slice(slice_index, shape[-1], images.values(), union)
    views = {name: axial_view(image, index) for name, image in images.items()}
    map_views = {name: axial_view(values, index) for name, values in maps.items()}
    maximum = _scale(maximum, list(map_views.values()))
    box = foreground_box(list(views.values()), low + 0.02 * (high - low)) if crop else (slice(None), slice(None))

    if columns is None:
        columns = len(names) if len(names) <= 6 else math.ceil(len(names) / math.ceil(len(names) / 4))
    columns = min(columns, len(names))
    blocks = math.ceil(len(names) / columns)
    width = min(1.7, max(0.9, 6.2 / columns))
    height = panel_height(next(iter(views.values()))[box], width, spacing)
    headroom = 0.34 if any(notes.values()) else 0.2
    note = "Contour: the region that only this sequence shows. " if known else ""
    note += BRIGHTER_NOTE if any(narrower != (low, high) for narrower in windows.values()) else ""
    horizontal, room = row_label_room(["measured"], height)
    beside = blocks == 1 and height < 1.0  # one bar below the other would be shorter than their labels
    figure, axes = panel_grid(
        2 * blocks,
        columns,
        (width, height),
        Margins(left=room, right=1.6 if beside else 0.8, top=headroom + 0.28, bottom=0.28 if note else 0.1),
        row_gaps=([0.04, headroom + 0.06] * blocks)[:-1],
        column_gaps=[0.04] * (columns - 1),
    )
    for place, name in enumerate(names):
        above, below = axes[2 * (place // columns) : 2 * (place // columns) + 2, place % columns]
        heading = display_name(name, labels)
        above.set_title(f"{heading}\n{notes[name]}" if notes.get(name) else heading, pad=3)
        if name not in views:
            show_absent(above, "not measured")
        else:
            show_image(above, views[name][box], windows[name])
        if name not in map_views:
            show_absent(below, "no map" if name in views else "not measured")
            continue
        anatomy_view = np.clip((views[name][box] - low) / (windows[name][1] - low), 0, 1)
        show_image(below, _blend(anatomy_view, map_views[name][box] / maximum))
        if means[name]:
            add_corner_text(below, means[name], 6)
        contour = axial_view(known[name], index)[box] > 0 if name in known else np.zeros(0)
        if contour.any():
            below.contour(contour.astype(float), levels=[0.5], colors=CONTOUR_COLOUR, linewidths=0.8)
    for unused in range(len(names), blocks * columns):
        for cell in axes[-2:, unused % columns]:
            cell.set_axis_off()
    for above, below in axes[:, 0].reshape(-1, 2):
        write_row_label(above, "measured", horizontal)
        write_row_label(below, "$M_d$", horizontal)
    add_side_letters(next(cell for cell in axes[::2].flat if cell.images))
    spans = blocks > 1 or beside  # a bar is as long as a block is high, or as a panel
    add_colour_bar(figure, axes[0, -1], axes[1 if spans else 0, -1], INTENSITY_LABEL, (low, high), ANATOMY_COLOURS)
    add_colour_bar(
        figure,
        axes[-2 if spans else -1, -1],
        axes[-1, -1],
        "$M_d$\n(fraction of range)",
        (0.0, maximum),
        MAP_COLOURS,
        gap=0.9 if beside else 0.1,
    )
    write_title(figure, slice_title(subject, index, shape[-1]), axes)
    if note:
        write_note(figure, note.strip(), axes)
    return figure


def _mean_timepoint(values: NdarrayOrTensor, name: str) -> tuple[NdarrayOrTensor, str]:
    """Return a map ``[X, Y, Z]``, the mean over timepoints of a 4D one, and how to name it, ``""`` for a 3D one."""
    if values.ndim != 4 or len(values) == 1:
        return shown_timepoint(values, name)
    return as_array(values).mean(axis=0), f"mean of {len(values)} timepoints"


def _scale(maximum: float | None, views: list[np.ndarray]) -> float:
    if maximum is None:
        # A few voxels at the skull or in vessels would otherwise leave the rest of the map black.
        return float(np.percentile(np.stack(views), 99.5)) or 1.0 if views else 1.0
    if not (np.isfinite(maximum) and maximum > 0):
        raise ValueError(f"The maximum of the M_d colours is {maximum}; give a positive number.")
    return float(maximum)


def _blend(anatomy: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Colour ``values`` over ``anatomy`` (both ``[rows, columns]``, 0 to 1); returns ``[rows, columns, 3]``."""
    values = np.clip(values, 0.0, 1.0)
    anatomy = ANATOMY_BRIGHTNESS * anatomy
    blended = blend_images(
        anatomy[None], values[None], alpha=values[None].copy(), cmap=MAP_COLOURS, rescale_arrays=False
    )
    return np.moveaxis(np.asarray(blended), 0, -1)
