# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The alphabet task: subjects with their letters, and where M_d sees a difference (Fig. 3 of the paper)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from seq2seq_mri.plots.panels import (
    DIFFERENTIATION_LABEL,
    INTENSITY_LABEL,
    add_colour_bar,
    add_corner_text,
    image_grid,
    show_absent,
    show_image,
    write_row_label,
)
from seq2seq_mri.plots.slices import as_array, axial_view
from seq2seq_mri.plots.style import ANATOMY_COLOURS, MAP_COLOURS, publication_style
from seq2seq_studies.alphabet.glyphs import LETTERS

__all__ = ["alphabet_examples"]

_IMAGES = ("$x_1$", "$x_2$")
_MAPS = ("$M_d(x_1)$", "$M_d(x_2)$")
_PANEL_WIDTH = 1.2


@publication_style()
def alphabet_examples(
    samples: Sequence[Mapping[str, Any]],
    *,
    key_md: str = "image_md",
    maximum: float | None = None,
    title: str = "Alphabet task",
) -> Figure:
    """Draw one row per subject: x1, x2 and, where there are maps, M_d(x1) and M_d(x2), each with its label.

    Args:
        samples: of :class:`AlphabetDataset`, all of one size; those of
            :class:`DifferentiationDataset` have maps.
        key_md: of the maps in a sample.
        maximum: M_d at the end of the colours; default: the 99.5th percentile over all maps.
        title: of the figure.

    Returns:
        The figure; :func:`save_figure` writes it.

    Raises:
        ValueError: when there is no sample, sizes differ, or the maximum is not positive.
    """
    if not samples:
        raise ValueError("There are no samples to show; give at least one.")
    maps = [as_array(sample[key_md]) for sample in samples if key_md in sample]
    shapes = {tuple(image.shape) for image in (*(sample["image"] for sample in samples), *maps)}
    if len(shapes) > 1 or next(iter(shapes))[0] != 2:
        raise ValueError(f"The images and maps have the shapes {sorted(shapes)}; all must be the same (2, X, Y, 1).")
    if maximum is None:
        maximum = float(np.percentile(np.stack(maps), 99.5)) or 1.0 if maps else 1.0
    elif not (np.isfinite(maximum) and maximum > 0):
        raise ValueError(f"The maximum of the M_d colours is {maximum}; give a positive number.")

    names = [str(sample["subject"]) for sample in samples]
    columns = [*_IMAGES, *(_MAPS if maps else ())]
    view = axial_view(samples[0]["image"][0], 0)
    figure, axes = image_grid(len(samples), len(columns), view, width=_PANEL_WIDTH)
    for axis, heading in zip(axes[0], columns, strict=True):
        axis.set_title(heading, pad=3)
    for row, name, sample in zip(axes, names, samples, strict=True):
        write_row_label(row[0], name)
        for axis, image, label in zip(row[:2], sample["image"], sample["label"], strict=True):
            show_image(axis, axial_view(image, 0))
            add_corner_text(axis, f"label {LETTERS[int(label)]}")
        for index, axis in enumerate(row[2:]):
            if key_md in sample:
                show_image(axis, axial_view(sample[key_md][index], 0), (0.0, maximum), MAP_COLOURS)
            else:
                show_absent(axis, "no map")
    if maps:
        add_colour_bar(axes, DIFFERENTIATION_LABEL, (0.0, maximum), MAP_COLOURS)
    add_colour_bar(axes, INTENSITY_LABEL, (0.0, 1.0), ANATOMY_COLOURS)
    figure.suptitle(title)
    figure.supxlabel("Label: the letter that the other image does not show.")
    return figure
