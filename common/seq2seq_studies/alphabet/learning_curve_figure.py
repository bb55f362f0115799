# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Accuracy against the number of training subjects, with and without M_d (Fig. 4 of the paper)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from seq2seq_mri.plots.style import (
    SERIES_COLOURS,
    SERIES_MARKERS,
    TEXT_COLOUR,
    display_name,
    new_figure,
    publication_style,
)
from seq2seq_studies.alphabet.learning_curve_table import PAPER_PEAK_SIZE, accuracy_gains, summarise_learning_curve

__all__ = ["learning_curve_figure"]

_CHARACTER = 0.062  # inches that a character of a 7-point label takes


@publication_style()
def learning_curve_figure(
    table: pd.DataFrame,
    *,
    pairs: Mapping[str, Sequence[str]] | None = None,
    paper_gains: Mapping[str, float] | None = None,
    chance: float | None = None,
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """Draw accuracy against the number of training subjects, one panel per label and one curve per inputs.

    A curve is the mean over seeds, its band ± 1 standard deviation, and the small points are the seeds.

    Args:
        table: the table of ``learning_curve.csv``.
        pairs: label → (inputs without M_d, inputs with M_d); their largest mean gain is marked and written.
        paper_gains: label → the paper's largest gain, at ``PAPER_PEAK_SIZE`` training subjects, written beside ours;
            such as ``PAPER_PEAK_GAINS``.
        chance: accuracy of guessing, drawn as a line: 1/26 for letters.
        labels: how to write names of labels and of inputs.

    Returns:
        The figure; :func:`save_figure` writes it.

    Raises:
        ValueError: when the table is empty, or has no size and seed with both inputs of a pair.
    """
    if table.empty:
        raise ValueError("The table of the learning curve is empty.")
    panels = list(dict.fromkeys(table["label"]))
    # Curves have one colour each within a panel. The inputs' names may differ between panels: x1, x1 + M_d; x2, …
    panel, body, left, below, above = 2.7, 2.1, 0.58, 0.46, 0.66
    legends = {name: list(dict.fromkeys(table.loc[table["label"] == name, "inputs"])) for name in panels}
    rows = max(map(len, legends.values()))
    longest = max(len(display_name(name, labels)) for names in legends.values() for name in names)
    panel = max(panel, longest * _CHARACTER + 0.6)
    legend = 0.15 * (rows + (chance is not None)) + 0.12
    width, height = len(panels) * (left + panel) + 0.15, above + body + below + legend
    figure = new_figure(width, height)
    summary = summarise_learning_curve(table)
    shared: Axes | None = None
    for place, name in enumerate(panels):
        x = left + place * (left + panel)
        axes = figure.add_axes(
            (x / width, (below + legend) / height, panel / width, body / height), sharey=shared, label=name
        )
        shared = shared or axes
        for order, inputs in enumerate(legends[name]):
            curve = summary[(summary["label"] == name) & (summary["inputs"] == inputs)]
            points = table[(table["label"] == name) & (table["inputs"] == inputs)]
            _draw_curve(axes, curve, points, order, display_name(inputs, labels))
        if chance is not None:
            axes.axhline(chance, color="#999999", linewidth=0.7, linestyle=(0, (2, 2)), zorder=0, label="chance")
        title = display_name(name, labels)
        if pairs and name in pairs:
            title += "\n" + _mark_gain(axes, table, name, pairs[name], (paper_gains or {}).get(name))
        axes.set_title(title, loc="left", pad=5, linespacing=1.35)
        axes.set_xlabel("training subjects $N$", labelpad=2)
        axes.set_ylabel("accuracy" if place == 0 else "", labelpad=2)
        sizes = sorted(table["size"].unique())
        if len(sizes) <= 8:
            axes.set_xticks(sizes)
        else:
            axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.grid(color="#EBEBEB", linewidth=0.5)
        axes.set_axisbelow(True)
        axes.legend(
            loc="upper left",
            bbox_to_anchor=(0.0, -below / body),
            borderaxespad=0.0,
            handlelength=2.0,
            labelspacing=0.35,
        )
    return figure


def _draw_curve(axes: Axes, curve: pd.DataFrame, points: pd.DataFrame, order: int, name: str) -> None:
    colour = SERIES_COLOURS[order % len(SERIES_COLOURS)]
    mean, deviation = curve["accuracy_mean"].to_numpy(), curve["accuracy_sd"].to_numpy()
    if np.isfinite(deviation).any():
        spread = np.nan_to_num(deviation)
        axes.fill_between(curve["size"], mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0)
        axes.plot(
            points["size"],
            points["accuracy"],
            linestyle="none",
            marker=SERIES_MARKERS[order % len(SERIES_MARKERS)],
            markersize=2,
            color=colour,
            alpha=0.5,
            markeredgewidth=0,
        )
    axes.plot(
        curve["size"],
        mean,
        color=colour,
        marker=SERIES_MARKERS[order % len(SERIES_MARKERS)],
        markersize=4,
        markeredgewidth=0.4,
        markeredgecolor="white",
        linewidth=1.3,
        label=name,
    )


def _mark_gain(axes: Axes, table: pd.DataFrame, label: str, pair: Sequence[str], paper: float | None) -> str:
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
    return text if paper is None else f"{text}\n(paper: {paper:+.3f} at $N$ = {PAPER_PEAK_SIZE:,})"
