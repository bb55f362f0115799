# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""One synthesised sequence beside what it was made from, how far its sources disagree, and the truth where known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from monai.config.type_definitions import NdarrayOrTensor

from seq2seq_mri.visualize.panels import (
    INTENSITY_LABEL,
    Margins,
    add_colour_bar,
    add_side_letters,
    check_window,
    panel_grid,
    panel_height,
    show_image,
    slice_title,
    write_title,
)
from seq2seq_mri.visualize.slices import axial_view, choose_slice, common_shape, foreground_box, middle_timepoint
from seq2seq_mri.visualize.style import ANATOMY_COLOURS, MAP_COLOURS, display_name, publication_style

__all__ = ["synthesis_panel"]


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
) -> Figure:
    """Draw the measured sources above, and below them the synthesised target with its maps.

    Below are, as far as given: the synthesised image, the disagreement between sources, the withheld measured image,
    and the absolute error; the two maps share one scale. Of a 4D image the middle timepoint is shown and named.

    Args:
        sources: for each available sequence the measured image ``[X, Y, Z]`` or ``[T, X, Y, Z]`` in RAS orientation.
        target: name of the synthesised sequence.
        synthesised: the synthesised image, of the same size in space.
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

    Returns:
        The figure; :func:`~seq2seq_mri.visualize.save_figure` writes it.

    Raises:
        ValueError: when there is no source, sizes differ, or the slice, window or maximum does not exist.
    """
    if not sources:
        raise ValueError(f"No source is given for the synthesised {target}; give at least one measured image.")
    low, high = check_window(window)
    if maximum is not None and not (np.isfinite(maximum) and maximum > 0):
        raise ValueError(f"The maximum of the map colours is {maximum}; give a positive number.")
    notes, volumes = {}, {}
    for name, image in sources.items():
        volumes[f"measured {name}"], notes[name] = middle_timepoint(image, f"measured {name}")
    source_volumes = list(volumes.values())
    volumes["synthesised image"], target_note = middle_timepoint(synthesised, f"synthesised {target}")
    if disagreement is not None:
        volumes["disagreement map"] = middle_timepoint(disagreement, "disagreement map")[0]
    if truth is not None:
        volumes["withheld image"] = middle_timepoint(truth, f"withheld {target}")[0]
    shape = common_shape(volumes)
    index = choose_slice(slice_index, shape[-1], source_volumes)
    views = {name: axial_view(volume, index) for name, volume in volumes.items()}
    source_views = [views[f"measured {name}"] for name in sources]

    target_name = display_name(target, labels) + (f"\n{target_note}" if target_note else "")
    results = [("synthesised", views["synthesised image"], False)]
    if disagreement is not None:
        results.append(("disagreement of sources", views["disagreement map"], True))
    if truth is not None:
        results.append(("measured (withheld)", views["withheld image"], False))
        results.append(("absolute error", abs(views["synthesised image"] - views["withheld image"]), True))
    maps = [view for _, view, is_map in results if is_map]
    if maximum is None:
        maximum = max((float(np.percentile(view, 99.5)) for view in maps), default=1.0) or 1.0
    box = foreground_box(source_views, low + 0.02 * (high - low)) if crop else (slice(None), slice(None))

    columns = max(len(results), min(len(sources), 4))
    source_rows = -(-len(sources) // columns)
    width = 1.55
    height = panel_height(source_views[0][box], width, spacing)
    gap = 0.36 if any(notes.values()) else 0.24
    figure, axes = panel_grid(
        source_rows + 1,
        columns,
        (width, height),
        Margins(left=0.42 if target_note else 0.3, right=0.8, top=0.62 if any(notes.values()) else 0.48, bottom=0.1),
        row_gaps=[gap] * (source_rows - 1) + [0.24],
        column_gaps=[0.06] * (columns - 1),
    )
    for cell, name in zip(axes.flat, sources, strict=False):
        note = notes[name]
        cell.set_title(display_name(name, labels) + (f"\n{note}" if note else ""), pad=3)
        show_image(cell, views[f"measured {name}"][box], (low, high))
    for cell, (title, view, is_map) in zip(axes[-1], results, strict=False):
        cell.set_title(title, pad=3)
        show_image(
            cell, view[box], (0.0, maximum) if is_map else (low, high), MAP_COLOURS if is_map else ANATOMY_COLOURS
        )
    for unused in [*list(axes.flat)[len(sources) : source_rows * columns], *axes[-1][len(results) :]]:
        unused.set_axis_off()
    axes[0, 0].set_ylabel("sources", labelpad=3)
    axes[-1, 0].set_ylabel(target_name, labelpad=3)
    add_side_letters(axes[0, 0])
    write_title(figure, slice_title(subject, index, shape[-1]), axes)
    last_source, last_result = axes[0, min(len(sources), columns) - 1], axes[-1, len(results) - 1]
    add_colour_bar(figure, last_source, last_source, INTENSITY_LABEL, (low, high), ANATOMY_COLOURS)
    if maps:
        label = "Difference\n(fraction of range)"
        add_colour_bar(figure, last_result, last_result, label, (0.0, maximum), MAP_COLOURS)
    return figure
