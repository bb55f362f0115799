# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Grids of image panels, and what is drawn in a panel or beside the grid: images, overlays, text, colour bars."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from seq2seq_mri.plots.style import ABSENT_COLOUR, ANATOMY_COLOURS, MAP_COLOURS, OUTLINE, new_figure

__all__ = [
    "DIFFERENTIATION_LABEL",
    "INTENSITY_LABEL",
    "add_colour_bar",
    "add_corner_text",
    "add_side_letters",
    "image_grid",
    "show_absent",
    "show_image",
    "show_overlay",
    "slice_title",
    "write_row_label",
]

#: Images are normalised to [0, 1]: the unit of intensities, errors and M_d is the fraction of that range.
INTENSITY_LABEL = "Intensity\n(fraction of range)"
DIFFERENTIATION_LABEL = "$M_d$\n(fraction of range)"
#: The anatomy below colours is dimmed, or bright tissue would pass for a large value.
ANATOMY_BRIGHTNESS = 0.6
_HEADROOM = 0.7  # inches for a grid's titles


def image_grid(
    rows: int,
    columns: int,
    view: np.ndarray,
    width: float,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    first_apart: bool = False,
) -> tuple[Figure, np.ndarray]:
    """Return a figure and its ``[rows, columns]`` axes, without ticks or frames, in which views are undistorted.

    Args:
        rows: number of rows.
        columns: number of columns.
        view: one of the axial views to show, all of this size.
        width: of a panel in inches, about: matplotlib makes room for titles and labels.
        spacing: voxel sizes along X, Y, Z in millimetres.
        first_apart: whether there is a gap after the first row and the first column.
    """
    aspect = (view.shape[0] * spacing[1]) / (view.shape[1] * spacing[0])
    # Wider than needed, so that the height decides on the panels' size; what is left blank is not saved.
    layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.03, wspace=0, hspace=0, compress=True)
    figure = new_figure(columns * width + 2.5, rows * width * aspect + _HEADROOM, layout)
    apart = int(first_apart)
    grid = figure.add_gridspec(
        rows + apart,
        columns + apart,
        height_ratios=[1, *[0.06 / aspect] * apart, *[1] * (rows - 1)],
        width_ratios=[1, *[0.06] * apart, *[1] * (columns - 1)],
    )
    axes = np.empty((rows, columns), dtype=object)
    for row, column in np.ndindex(rows, columns):
        place = grid[row + apart * (row > 0), column + apart * (column > 0)]
        axes[row, column] = figure.add_subplot(place, xticks=[], yticks=[], box_aspect=aspect)
        axes[row, column].spines[:].set_visible(False)
    return figure, axes


def show_image(
    axes: Axes, view: np.ndarray, window: tuple[float, float] = (0.0, 1.0), colours: str = ANATOMY_COLOURS
) -> None:
    """Draw ``view`` (``[rows, columns]``) so that it fills ``axes``."""
    axes.imshow(view, cmap=colours, vmin=window[0], vmax=window[1], origin="upper", aspect="auto")


def show_overlay(axes: Axes, anatomy: np.ndarray, values: np.ndarray) -> None:
    """Draw ``values`` in colour over ``anatomy`` (both ``[rows, columns]``, 0 to 1), the more opaque the larger."""
    show_image(axes, ANATOMY_BRIGHTNESS * np.clip(anatomy, 0, 1))
    axes.imshow(values, cmap=MAP_COLOURS, vmin=0, vmax=1, alpha=np.clip(values, 0, 1), origin="upper", aspect="auto")


def show_absent(axes: Axes, text: str) -> None:
    """Fill ``axes`` with hatched grey and say why there is no image."""
    axes.patch.set(facecolor=ABSENT_COLOUR, edgecolor="white", hatch="////", linewidth=0)
    box = {"facecolor": ABSENT_COLOUR, "edgecolor": "none", "pad": 1.5}
    text = text.replace(" ", "\n", 1)
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=7, bbox=box)


def add_corner_text(axes: Axes, text: str, corner: tuple[int, int] = (0, 0), fontsize: float = 6) -> None:
    """Write outlined white ``text`` into a corner of an image, by default the lower left one."""
    axes.annotate(
        text,
        corner,
        xycoords="axes fraction",
        xytext=(2 - 4 * corner[0], 2 - 4 * corner[1]),
        textcoords="offset points",
        ha="right" if corner[0] else "left",
        va="top" if corner[1] else "bottom",
        color="white",
        fontsize=fontsize,
        path_effects=list(OUTLINE),
    )


def add_side_letters(axes: Axes) -> None:
    """Mark the patient's right (R) and left (L) in the upper corners of an axial view, where a head leaves room."""
    add_corner_text(axes, "R", (0, 1), 7)
    add_corner_text(axes, "L", (1, 1), 7)


def write_row_label(axes: Axes, label: str) -> None:
    """Write ``label`` left of a panel."""
    axes.set_ylabel(label, rotation=0, ha="right", va="center", labelpad=4)


def add_colour_bar(axes: np.ndarray, label: str, window: tuple[float, float], colours: str) -> None:
    """Put a vertical colour bar from ``window[0]`` to ``window[1]`` right of a grid's axes, left of earlier bars."""
    figure = axes[0, 0].figure
    height = figure.get_figheight() - _HEADROOM
    length = min(height, 2.6)  # a bar much longer than its label looks empty and is no easier to read
    bar = figure.colorbar(
        ScalarMappable(Normalize(*window), cmap=colours),
        ax=axes,
        shrink=length / height,
        aspect=length / 0.09,
        pad=0.02,
        ticks=MaxNLocator(nbins=5, steps=[1, 2, 5, 10]),
    )
    bar.outline.set_linewidth(0.4)
    bar.ax.tick_params(length=2, width=0.4, labelsize=6.5, pad=1.5)
    bar.formatter.set_powerlimits((-3, 4))
    bar.formatter.set_useMathText(True)
    bar.ax.yaxis.get_offset_text().set(fontsize=6.5, ha="left")
    bar.set_label(label, fontsize=7, labelpad=3)


def slice_title(subject: str, slice_index: int, depth: int) -> str:
    """Return ``"<subject>, axial slice 78 of 155"``, slices counted from 1 at the inferior end."""
    position = f"axial slice {slice_index + 1} of {depth}"
    return f"{subject}, {position}" if subject else position.capitalize()
