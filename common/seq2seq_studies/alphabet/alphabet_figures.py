# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Figures of the alphabet experiment: subjects with their maps M_d (Fig. 3 of the paper), learning curves (Fig. 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from seq2seq_mri.plots.panels import (
    DIFFERENTIATION_LABEL,
    INTENSITY_LABEL,
    add_colour_bar,
    add_corner_text,
    image_grid,
    show_image,
    write_row_label,
)
from seq2seq_mri.plots.slices import as_array, axial_view
from seq2seq_mri.plots.style import (
    ANATOMY_COLOURS,
    MAP_COLOURS,
    SERIES_COLOURS,
    SERIES_MARKERS,
    TEXT_COLOUR,
    display_name,
    new_figure,
    publication_style,
)
from seq2seq_studies.alphabet.glyphs import LETTERS
from seq2seq_studies.alphabet.learning_curve import (
    PAPER_PEAK_GAINS,
    PAPER_PEAK_SIZE,
    accuracy_gains,
    summarise_learning_curve,
)

__all__ = ["alphabet_examples", "learning_curve_figure"]

_HEADINGS = ("$x_1$", "$x_2$", "$M_d(x_1)$", "$M_d(x_2)$")
_PANEL_WIDTH = 1.2
_CHARACTER = 0.062  # inches that a character of a 7-point label takes


@publication_style()
def alphabet_examples(samples: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw a row per sample of :class:`DifferentiationDataset`: x1, x2, M_d(x1) and M_d(x2), the images with labels."""
    maximum = float(np.percentile(np.stack([as_array(sample["differentiation"]) for sample in samples]), 99.5)) or 1.0
    names = [str(sample["subject"]) for sample in samples]
    view = axial_view(samples[0]["image"][0], 0)
    figure, axes = image_grid(len(samples), len(_HEADINGS), view, width=_PANEL_WIDTH)
    for axis, heading in zip(axes[0], _HEADINGS, strict=True):
        axis.set_title(heading, pad=3)
    for row, name, sample in zip(axes, names, samples, strict=True):
        write_row_label(row[0], name)
        for axis, image, label in zip(row[:2], sample["image"], sample["label"], strict=True):
            show_image(axis, axial_view(image, 0))
            add_corner_text(axis, f"label {LETTERS[int(label)]}")
        for axis, values in zip(row[2:], sample["differentiation"], strict=True):
            show_image(axis, axial_view(values, 0), (0.0, maximum), MAP_COLOURS)
    add_colour_bar(axes, DIFFERENTIATION_LABEL, (0.0, maximum), MAP_COLOURS)
    add_colour_bar(axes, INTENSITY_LABEL, (0.0, 1.0), ANATOMY_COLOURS)
    figure.suptitle("Alphabet task")
    figure.supxlabel("Label: the letter that the other image does not show.")
    return figure


@publication_style()
def learning_curve_figure(
    table: pd.DataFrame, pairs: Mapping[str, Sequence[str]], chance: float, labels: Mapping[str, str] | None = None
) -> Figure:
    """Draw accuracy against the number of training subjects, one panel per label and one curve per inputs.

    A curve is the mean over seeds, its band ± 1 standard deviation, and the small points are the seeds. The largest
    gain by M_d is marked and written beside the paper's.

    Args:
        table: the table of ``learning_curve.csv``.
        pairs: label → (inputs without M_d, inputs with M_d).
        chance: accuracy of guessing, drawn as a line.
        labels: how to write names of inputs.
    """
    # Curves have one colour each within a panel. The inputs' names may differ between panels: x1, x1 + M_d; x2, …
    legends = {name: list(dict.fromkeys(table.loc[table["label"] == name, "inputs"])) for name in pairs}
    longest = max(len(display_name(name, labels)) for names in legends.values() for name in names)
    panel, body, left, below, above = max(2.7, longest * _CHARACTER + 0.6), 2.1, 0.58, 0.46, 0.66
    legend = 0.15 * (max(map(len, legends.values())) + 1) + 0.12
    width, height = len(legends) * (left + panel) + 0.15, above + body + below + legend
    figure = new_figure(width, height)
    summary = summarise_learning_curve(table)
    sizes = sorted(table["size"].unique())
    shared: Axes | None = None
    for place, (name, curves) in enumerate(legends.items()):
        x = left + place * (left + panel)
        bounds = (x / width, (below + legend) / height, panel / width, body / height)
        axes = figure.add_axes(bounds, sharey=shared, label=name)
        shared = shared or axes
        for order, inputs in enumerate(curves):
            curve, points = (part[(part["label"] == name) & (part["inputs"] == inputs)] for part in (summary, table))
            _draw_curve(axes, curve, points, order, display_name(inputs, labels))
        axes.axhline(chance, color="#999999", linewidth=0.7, linestyle=(0, (2, 2)), zorder=0, label="chance")
        axes.set_title(f"{name}\n{_mark_gain(axes, table, name, pairs[name])}", loc="left", pad=5, linespacing=1.35)
        axes.set_xlabel("training subjects $N$", labelpad=2)
        axes.set_ylabel("accuracy" if place == 0 else "", labelpad=2)
        if len(sizes) <= 8:
            axes.set_xticks(sizes)
        else:
            axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.grid(color="#EBEBEB", linewidth=0.5)
        axes.set_axisbelow(True)
        corner = (0.0, -below / body)
        axes.legend(loc="upper left", bbox_to_anchor=corner, borderaxespad=0.0, handlelength=2.0, labelspacing=0.35)
    return figure


def _draw_curve(axes: Axes, curve: pd.DataFrame, points: pd.DataFrame, order: int, name: str) -> None:
    mean, deviation = curve["accuracy_mean"].to_numpy(), curve["accuracy_sd"].to_numpy()
    colour, marker = SERIES_COLOURS[order % len(SERIES_COLOURS)], SERIES_MARKERS[order % len(SERIES_MARKERS)]
    if np.isfinite(deviation).any():
        spread = np.nan_to_num(deviation)
        axes.fill_between(curve["size"], mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0)
        axes.plot(points["size"], points["accuracy"], marker, color=colour, markersize=2, alpha=0.5, markeredgewidth=0)
    line = axes.plot(curve["size"], mean, color=colour, marker=marker, markersize=4, linewidth=1.3, label=name)
    line[0].set(markeredgewidth=0.4, markeredgecolor="white")


def _mark_gain(axes: Axes, table: pd.DataFrame, label: str, pair: Sequence[str]) -> str:
    """Mark the largest mean gain by a bracket, and return what to write of it."""
    gains = accuracy_gains(table, {label: pair})
    best = gains.iloc[int(gains["gain_mean"].argmax())]
    size, gain = int(best["size"]), float(best["gain_mean"])
    axes.annotate(
        "",
        xy=(size, best["with_mean"]),
        xytext=(size, best["without_mean"]),
        arrowprops={"arrowstyle": "<->", "color": TEXT_COLOUR, "linewidth": 0.8, "shrinkA": 3, "shrinkB": 3},
    )
    text = f"largest gain {gain:+.3f} at $N$ = {size:,}".replace("-", "\N{MINUS SIGN}")
    return f"{text}\n(paper: {PAPER_PEAK_GAINS[label]:+.3f} at $N$ = {PAPER_PEAK_SIZE:,})"
