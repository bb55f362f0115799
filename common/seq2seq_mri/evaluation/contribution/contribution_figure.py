# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""How well sequences predict one another: the adjacency matrix A, totipotency C_t and imaging differentiation C_d."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seq2seq_mri.plots.style import (
    ABSENT_COLOUR,
    DIVERGING_COLOURS,
    SERIES_COLOURS,
    TEXT_COLOUR,
    display_name,
    new_figure,
    publication_style,
)

__all__ = ["adjacency_heatmap", "ranking_bars"]

_CHARACTER = 0.066  # inches that a character of an 8-point label takes


class _Measure(NamedTuple):
    value: str
    rank: str
    title: str
    colour: str


_MEASURES = (
    _Measure("c_t", "rank_t", "Totipotency $C_t$\nhow well it generates the others", SERIES_COLOURS[0]),
    _Measure("c_d", "rank_d", "Imaging differentiation $C_d$\nhow hard it is to generate", SERIES_COLOURS[1]),
)


@publication_style()
def adjacency_heatmap(
    adjacency: pd.DataFrame, *, limit: float | None = None, labels: Mapping[str, str] | None = None
) -> Figure:
    """Draw the adjacency matrix A: how well each target (column) is generated from each source (row).

    Args:
        adjacency: S × S table A of summed standard scores (Eq. 4 of the paper), sources as index and targets as
            columns, in the same order; NaN where a pair was never measured.
        limit: score at both ends of the colours; default: the largest magnitude in the table.
        labels: how to write a sequence's name.

    Returns:
        The figure; :func:`save_figure` writes it.

    Raises:
        ValueError: when rows and columns are not the same sequences in the same order.
    """
    names = [str(name) for name in adjacency.index]
    if not names or names != [str(name) for name in adjacency.columns]:
        raise ValueError(
            f"The adjacency table has rows {names} and columns {[str(name) for name in adjacency.columns]}; "
            "both must be the sequences, in the same order."
        )
    values = adjacency.to_numpy(dtype=float)
    if limit is None:
        limit = float(np.abs(values[np.isfinite(values)]).max(initial=0.0)) or 1.0

    shown = [display_name(name, labels) for name in names]
    longest = max(map(len, shown)) * _CHARACTER
    cell = max(0.55, 1.65 / len(names))  # few cells would leave no room for the colour bar's label
    slanted = longest > cell
    left, top, side = 0.42 + longest, 0.64 + (0.6 * longest if slanted else 0.0), cell * len(names)
    width, height = left + side + 0.85, top + side + 0.12
    figure = new_figure(width, height)
    axes = figure.add_axes((left / width, 0.12 / height, side / width, side / height))
    axes.set_facecolor(ABSENT_COLOUR)
    norm = CenteredNorm(0.0, limit)
    image = axes.imshow(np.ma.masked_invalid(values), cmap=DIVERGING_COLOURS, norm=norm, aspect="auto")
    colours = matplotlib.colormaps[DIVERGING_COLOURS]
    for (row, column), value in np.ndenumerate(values):
        known = np.isfinite(value)
        luminance = np.dot(colours(float(norm(value)))[:3], (0.2126, 0.7152, 0.0722)) if known else 1.0
        colour = "white" if luminance < 0.4 else TEXT_COLOUR
        axes.text(column, row, _number(value) if known else "n/a", ha="center", va="center", fontsize=7, color=colour)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xticks(range(len(names)), shown, fontsize=8)
    if slanted:
        for label in axes.get_xticklabels():
            label.set(rotation=35, ha="left", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), shown, fontsize=8)
    axes.set_xlabel("target", labelpad=3)
    axes.set_ylabel("source", labelpad=3)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(len(names) - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(len(names) - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="both", length=0)
    figure.text((left + side / 2) / width, 1 - 0.1 / height, "Adjacency matrix $A$", ha="center", va="top", fontsize=9)
    length = min(side, 2.6)
    bar_axes = figure.add_axes(
        ((left + side + 0.1) / width, (0.12 + (side - length) / 2) / height, 0.09 / width, length / height)
    )
    bar = figure.colorbar(image, cax=bar_axes)
    bar.locator = MaxNLocator(nbins=6, steps=[1, 2, 5, 10])
    bar.update_ticks()
    bar.set_label("A, sum of standard scores\n(high: easy to generate)", fontsize=7, labelpad=2)
    bar.ax.tick_params(length=2, width=0.4, labelsize=6.5, pad=1.5)
    bar.outline.set_linewidth(0.4)  # type: ignore[operator]
    return figure


@publication_style()
def ranking_bars(contribution: pd.DataFrame, *, labels: Mapping[str, str] | None = None) -> Figure:
    """Draw C_t and C_d of every sequence, each sorted by its rank.

    Args:
        contribution: one row per sequence with the columns ``sequence``, ``c_t``, ``rank_t``, ``c_d``, ``rank_d``; NaN
            where a sequence was never measured.
        labels: how to write a sequence's name.

    Returns:
        The figure; :func:`save_figure` writes it.

    Raises:
        ValueError: when a column is absent, or there is no row.
    """
    needed = ["sequence", *(column for measure in _MEASURES for column in measure[:2])]
    absent = [column for column in needed if column not in contribution.columns]
    if absent or contribution.empty:
        raise ValueError(
            f"The contribution table lacks {', '.join(absent) or 'rows'}; it needs one row per sequence with the "
            f"columns {', '.join(needed)}."
        )
    longest = max(len(display_name(str(name), labels)) for name in contribution["sequence"]) * _CHARACTER
    bars, panel, left = 0.26 * len(contribution), 2.5, 0.2 + longest
    width, height = 2 * (left + panel) + 0.3, 0.48 + bars + 0.45
    figure = new_figure(width, height)
    for order, measure in enumerate(_MEASURES):
        x = left + order * (left + panel + 0.2)
        axes = figure.add_axes((x / width, 0.45 / height, panel / width, bars / height))
        _draw_ranking(axes, contribution, measure, labels)
    return figure


def _draw_ranking(axes: Axes, contribution: pd.DataFrame, measure: _Measure, labels: Mapping[str, str] | None) -> None:
    table = contribution.sort_values(measure.rank, kind="stable", na_position="last").reset_index(drop=True)
    values = table[measure.value].to_numpy(dtype=float)
    axes.barh(range(len(table)), np.nan_to_num(values), height=0.66, color=measure.colour)
    for row, (value, rank) in enumerate(zip(values, table[measure.rank], strict=True)):
        known = np.isfinite(value)
        # Beside the bar's end, or, for a negative bar, on the free side of zero.
        axes.annotate(
            f"{_number(value)} (rank {rank:g})" if known else "not measured",
            xy=(max(value, 0.0) if known else 0.0, row),
            xytext=(3, -0.5),
            textcoords="offset points",
            ha="left",
            va="center",
            fontsize=7,
        )
    axes.set_yticks(range(len(table)), [display_name(str(name), labels) for name in table["sequence"]], fontsize=8)
    axes.set_ylim(len(table) - 0.5, -0.5)
    axes.axvline(0.0, color=TEXT_COLOUR, linewidth=0.6)
    axes.set_title(measure.title, loc="left", pad=4, linespacing=1.3)
    axes.set_xlabel("mean of A (sum of standard scores)", labelpad=2)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    finite = values[np.isfinite(values)]
    low, high = finite.min(initial=0.0), finite.max(initial=0.0)
    # The longest annotation takes about 0.85 of the panel's 2.5 inches.
    axes.set_xlim(low * 1.05, high + 0.55 * ((high - low) or 1.0))


def _number(value: float) -> str:
    """Write two decimals, with the minus sign that matplotlib uses on its axes."""
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")
