# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What only one sequence shows: the imaging-differentiation map M_d laid over the anatomy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from monai.config.type_definitions import NdarrayOrTensor
from monai.visualize import blend_images

from seq2seq_mri.visualize.panels import (
    INTENSITY_LABEL,
    Margins,
    add_colour_bar,
    add_side_letters,
    check_window,
    panel_grid,
    panel_height,
    show_absent,
    show_image,
    slice_title,
    write_note,
    write_title,
)
from seq2seq_mri.visualize.slices import (
    as_array,
    axial_view,
    check_names,
    choose_slice,
    common_shape,
    foreground_box,
    middle_timepoint,
)
from seq2seq_mri.visualize.style import ANATOMY_COLOURS, MAP_COLOURS, display_name, publication_style

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
) -> Figure:
    """Draw, one column per sequence, the measured image and below it M_d in colour over the same image.

    The colour grows opaque with the value, so that the dimmed anatomy shows through where nothing is unique. All
    columns share one slice and one scale. Of a 4D image the middle timepoint is shown and named.

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

    Returns:
        The figure; :func:`~seq2seq_mri.visualize.save_figure` writes it.

    Raises:
        ValueError: when a map or region names an unknown sequence, or one that was not measured, when sizes differ,
            or the slice, window or maximum does not exist.
    """
    names = list(anatomy)
    check_names(differentiation, names, "the differentiation maps")
    check_names(regions or {}, names, "the regions")
    low, high = check_window(window)
    notes: dict[str, str] = {}
    images, maps, known = {}, {}, {}
    for name, image in anatomy.items():
        if image is not None:
            images[name], notes[name] = middle_timepoint(image, f"measured {name}")
    for name, values in differentiation.items():
        if values is not None:
            maps[name] = middle_timepoint(values, f"M_d of {name}")[0]
            if name not in images:
                raise ValueError(f"There is an M_d of {name}, but no measured {name}; M_d needs the measured image.")
    for name, region in (regions or {}).items():
        if region is not None:
            known[name] = middle_timepoint(region, f"region of {name}")[0]
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

    width = min(1.7, max(0.9, 6.2 / len(names)))
    height = panel_height(next(iter(views.values()))[box], width, spacing)
    figure, axes = panel_grid(
        2,
        len(names),
        (width, height),
        Margins(left=0.3, right=0.8, top=0.62 if any(notes.values()) else 0.48, bottom=0.28 if known else 0.1),
        row_gaps=[0.04],
        column_gaps=[0.04] * (len(names) - 1),
    )
    for column, name in enumerate(names):
        heading = display_name(name, labels)
        axes[0, column].set_title(f"{heading}\n{notes[name]}" if notes.get(name) else heading, pad=3)
        if name not in views:
            show_absent(axes[0, column], "not measured")
        else:
            show_image(axes[0, column], views[name][box], (low, high))
        if name not in map_views:
            show_absent(axes[1, column], "no map" if name in views else "not measured")
            continue
        anatomy_view = np.clip((views[name][box] - low) / (high - low), 0, 1)
        show_image(axes[1, column], _blend(anatomy_view, map_views[name][box] / maximum))
        if name in known:
            contour = axial_view(known[name], index)[box] > 0
            if contour.any():
                axes[1, column].contour(contour.astype(float), levels=[0.5], colors=CONTOUR_COLOUR, linewidths=0.8)
    axes[0, 0].set_ylabel("measured", labelpad=3)
    axes[1, 0].set_ylabel("$M_d$", labelpad=3)
    add_side_letters(next(cell for cell in axes[0] if cell.images))
    add_colour_bar(figure, axes[0, -1], axes[0, -1], INTENSITY_LABEL, (low, high), ANATOMY_COLOURS)
    add_colour_bar(
        figure,
        axes[1, -1],
        axes[1, -1],
        "$M_d$\n(fraction of range)",
        (0.0, maximum),
        MAP_COLOURS,
    )
    write_title(figure, slice_title(subject, index, shape[-1]), axes)
    if known:
        write_note(figure, "Contour: the region that only this sequence shows.", axes)
    return figure


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
