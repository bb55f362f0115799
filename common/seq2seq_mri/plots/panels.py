# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Image panels: a grid of equal axes measured in inches, and what is drawn into one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from seq2seq_mri.plots.style import ABSENT_COLOUR, ANATOMY_COLOURS, OUTLINE, TEXT_COLOUR, new_figure

__all__ = [
    "INTENSITY_LABEL",
    "Margins",
    "add_colour_bar",
    "add_corner_text",
    "add_side_letters",
    "check_window",
    "panel_grid",
    "panel_height",
    "row_label_room",
    "show_absent",
    "show_image",
    "slice_title",
    "write_note",
    "write_row_label",
    "write_title",
]

#: Images are normalised to [0, 1]: the unit of intensities, errors and M_d is the fraction of that range.
INTENSITY_LABEL = "Intensity\n(fraction of range)"

_CHARACTER_WIDTH = 0.58  # of the font size, on average


class Margins(NamedTuple):
    """Room around a grid of panels, in inches."""

    left: float
    right: float
    top: float
    bottom: float


def panel_grid(
    rows: int,
    columns: int,
    size: tuple[float, float],
    margins: Margins,
    *,
    row_gaps: Sequence[float],
    column_gaps: Sequence[float],
) -> tuple[Figure, np.ndarray]:
    """Return a figure with ``rows`` × ``columns`` axes of the same size, without ticks or frames.

    Args:
        rows: number of rows.
        columns: number of columns.
        size: width and height of a panel in inches.
        margins: room around the grid in inches.
        row_gaps: room below each row but the last, in inches.
        column_gaps: room right of each column but the last, in inches.

    Returns:
        The figure and its axes as an object array of shape ``(rows, columns)``.
    """
    width = margins.left + columns * size[0] + sum(column_gaps) + margins.right
    height = margins.top + rows * size[1] + sum(row_gaps) + margins.bottom
    figure = new_figure(width, height)
    axes = np.empty((rows, columns), dtype=object)
    for row in range(rows):
        top = margins.top + row * size[1] + sum(row_gaps[:row])
        for column in range(columns):
            left = margins.left + column * size[0] + sum(column_gaps[:column])
            panel = figure.add_axes(
                (left / width, 1 - (top + size[1]) / height, size[0] / width, size[1] / height), xticks=[], yticks=[]
            )
            panel.spines[:].set_visible(False)
            axes[row, column] = panel
    return figure, axes


def panel_height(view: np.ndarray, width: float, spacing: Sequence[float]) -> float:
    """Return the height in inches of a panel of ``width`` inches that shows ``view`` undistorted.

    Args:
        view: ``[rows, columns]``, an axial view.
        width: panel width in inches.
        spacing: voxel sizes along X, Y, Z in millimetres.

    Raises:
        ValueError: when the voxel sizes are not three positive numbers.
    """
    if len(spacing) != 3 or not all(np.isfinite(size) and size > 0 for size in spacing):
        raise ValueError(f"The voxel spacing is {tuple(spacing)}; give three positive sizes in millimetres.")
    return width * (view.shape[0] * spacing[1]) / (view.shape[1] * spacing[0])


def row_label_room(labels: Sequence[str], height: float) -> tuple[bool, float]:
    """Return how to write the labels left of rows of panels, and how much room they take.

    Args:
        labels: the labels, of one line or more each.
        height: of a panel, in inches.

    Returns:
        Whether to write them horizontally, which is where a panel is lower than a label is long, and their width in
        inches.
    """
    longest = max((_text_width(line, 8.0) for label in labels for line in label.split("\n")), default=0.0)
    lines = max((label.count("\n") + 1 for label in labels), default=1)
    return (True, longest + 0.12) if longest > height else (False, 0.16 + 0.14 * lines)


def write_row_label(axes: Axes, label: str, horizontal: bool) -> None:
    """Write ``label`` left of a panel, as :func:`row_label_room` says."""
    if horizontal:
        axes.set_ylabel(label, labelpad=4, rotation=0, ha="right", va="center")
    else:
        axes.set_ylabel(label, labelpad=3)


def show_image(
    axes: Axes, view: np.ndarray, window: tuple[float, float] = (0.0, 1.0), colours: str = ANATOMY_COLOURS
) -> AxesImage:
    """Draw ``view`` (``[rows, columns]``, or ``[rows, columns, 3]`` in colour) so that it fills ``axes``."""
    return axes.imshow(view, cmap=colours, vmin=window[0], vmax=window[1], origin="upper", aspect="auto")


def show_absent(axes: Axes, text: str) -> None:
    """Fill ``axes`` with hatched grey and say why there is no image."""
    axes.patch.set(facecolor=ABSENT_COLOUR, edgecolor="white", hatch="////", linewidth=0)
    axes.text(
        0.5,
        0.5,
        text.replace(" ", "\n", 1),
        transform=axes.transAxes,
        ha="center",
        va="center",
        fontsize=7,
        color=TEXT_COLOUR,
        bbox={"facecolor": ABSENT_COLOUR, "edgecolor": "none", "pad": 1.5},
    )


def add_corner_text(axes: Axes, text: str, fontsize: float = 7) -> None:
    """Write outlined white ``text`` into the lower left corner of an image."""
    axes.annotate(
        text,
        xy=(0, 0),
        xycoords="axes fraction",
        xytext=(2, 2.5),
        textcoords="offset points",
        ha="left",
        va="bottom",
        color="white",
        fontsize=fontsize,
        path_effects=list(OUTLINE),
    )


def add_side_letters(axes: Axes) -> None:
    """Mark the patient's right (R) and left (L) at the sides of an axial view."""
    # In the upper corners, where a head leaves room.
    for letter, position, offset, align in (("R", 0, 2, "left"), ("L", 1, -2, "right")):
        axes.annotate(
            letter,
            xy=(position, 1),
            xycoords="axes fraction",
            xytext=(offset, -2),
            textcoords="offset points",
            ha=align,
            va="top",
            color="white",
            fontsize=7,
            path_effects=list(OUTLINE),
        )


def add_colour_bar(
    figure: Figure, top: Axes, bottom: Axes, label: str, window: tuple[float, float], colours: str, gap: float = 0.1
) -> Colorbar:
    """Put a vertical colour bar right of the axes ``top`` and ``bottom``, reaching from the one to the other.

    Args:
        figure: figure of the axes.
        top: upper end of the bar.
        bottom: lower end of the bar.
        label: quantity and unit.
        window: values at the ends of the bar.
        colours: name of the colour map.
        gap: distance from the axes in inches.
    """
    width, height = figure.get_size_inches()
    upper, lower = top.get_position(), bottom.get_position()
    # A bar much longer than its label looks empty and is no easier to read.
    length = min(upper.y1 - lower.y0, 2.6 / height)
    centre = (upper.y1 + lower.y0) / 2
    axes = figure.add_axes((upper.x1 + gap / width, centre - length / 2, 0.09 / width, length))
    bar = figure.colorbar(ScalarMappable(Normalize(*window), cmap=colours), cax=axes)
    bar.outline.set_linewidth(0.4)  # type: ignore[operator]
    bar.ax.tick_params(length=2, width=0.4, labelsize=6.5, pad=1.5)
    bar.locator = MaxNLocator(nbins=5, steps=[1, 2, 5, 10])
    bar.formatter.set_powerlimits((-3, 4))  # type: ignore[attr-defined]
    bar.formatter.set_useMathText(True)  # type: ignore[attr-defined]
    bar.update_ticks()
    bar.ax.yaxis.get_offset_text().set(fontsize=6.5, ha="left")
    # Beside a low panel, the label would reach that of the next bar.
    needed = max(_text_width(line, 7.0) for line in label.split("\n"))
    bar.set_label(label, fontsize=7.0 * min(1.0, max(0.7, 1.3 * length * height / needed)), labelpad=3)
    return bar


def slice_title(subject: str, slice_index: int, depth: int) -> str:
    """Return ``"<subject>, axial slice 78 of 155"``, slices counted from 1 at the inferior end."""
    position = f"axial slice {slice_index + 1} of {depth}"
    return f"{subject}, {position}" if subject else position.capitalize()


def write_title(figure: Figure, title: str, axes: np.ndarray) -> None:
    """Write ``title`` at the top of the figure, centred over the panels ``axes`` where it fits there."""
    width, height = figure.get_size_inches()
    centre = (axes[0, 0].get_position().x0 + axes[0, -1].get_position().x1) / 2
    needed = _text_width(title, 9.0)
    if needed > 2 * min(centre, 1 - centre) * width:
        centre = 0.5
    fontsize = 9.0 * min(1.0, (width - 0.1) / needed)
    figure.text(centre, 1 - 0.1 / height, title, ha="center", va="top", fontsize=fontsize)


def write_note(figure: Figure, note: str, axes: np.ndarray) -> None:
    """Write ``note`` in small type at the bottom of the figure, from the left edge of the panels ``axes``."""
    width, height = figure.get_size_inches()
    left = axes[0, 0].get_position().x0
    fontsize = min(6.5, ((1 - left) * width - 0.05) * 72 / (_CHARACTER_WIDTH * len(note)))
    figure.text(left, 0.1 / height, note, ha="left", va="bottom", fontsize=fontsize)


def check_window(window: tuple[float, float]) -> tuple[float, float]:
    """Return the intensity window after checking that its lower end is below its upper end.

    Raises:
        ValueError: when it is not.
    """
    low, high = window
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ValueError(f"The intensity window is {window}; give two finite numbers, the lower first.")
    return float(low), float(high)


def _text_width(text: str, fontsize: float) -> float:
    """Return about how many inches ``text`` takes."""
    return fontsize / 72 * _CHARACTER_WIDTH * len(text)
