# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Figures of the adjacency matrix A, of the ranking by C_t and C_d, and of their intervals and rank frequencies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from seq2seq_mri.evaluation.contribution.contribution_bootstrap import SCORES
from seq2seq_mri.evaluation.contribution.contribution_table import CohortContribution
from seq2seq_mri.plots.style import (
    ABSENT_COLOUR,
    DIVERGING_COLOURS,
    SERIES_COLOURS,
    TEXT_COLOUR,
    new_figure,
    publication_style,
)

__all__ = ["adjacency_heatmap", "contribution_stability", "ranking_bars"]


class _Measure(NamedTuple):
    symbol: str
    title: str
    meaning: str
    colour: str


_MEASURES = {
    "c_t": _Measure("$C_t$", "Totipotency $C_t$", "how well it generates the others", SERIES_COLOURS[0]),
    "c_d": _Measure("$C_d$", "Imaging differentiation $C_d$", "how hard it is to generate", SERIES_COLOURS[1]),
}
_FREQUENCY_COLOURS = "Blues"
_FRAME = SERIES_COLOURS[1]  # stands out from both ends of the blues


@publication_style()
def adjacency_heatmap(adjacency: pd.DataFrame) -> Figure:
    """Draw the adjacency matrix A: how well each target (column) is generated from each source (row).

    Args:
        adjacency: S × S table A of summed standard scores (Eq. 4 of the paper), sources as index and targets as
            columns, in the same order; NaN where a pair was never measured.
    """
    names, values = list(adjacency.index), adjacency.to_numpy(dtype=float)
    norm = CenteredNorm(0.0, float(np.abs(values[np.isfinite(values)]).max(initial=0.0)) or 1.0)
    side = max(0.55 * len(names), 1.65)  # fewer cells would leave no room for the colour bar's label
    figure = new_figure(side + 1.8, side + 0.8, ConstrainedLayoutEngine(compress=True))
    axes = figure.add_subplot(facecolor=ABSENT_COLOUR)
    image = axes.imshow(np.ma.masked_invalid(values), cmap=DIVERGING_COLOURS, norm=norm)
    for (row, column), value in np.ndenumerate(values):
        known = np.isfinite(value)
        colour = _text_colour(DIVERGING_COLOURS, norm(value)) if known else TEXT_COLOUR
        axes.text(column, row, _number(value) if known else "n/a", ha="center", va="center", fontsize=7, color=colour)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xticks(range(len(names)), names, fontsize=8)
    if max(map(len, names)) > 8:  # longer than a cell is wide
        axes.tick_params(axis="x", labelrotation=35)
        for label in axes.get_xticklabels():
            label.set(ha="left", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel("target", labelpad=3)
    axes.set_ylabel("source", labelpad=3)
    _separate_cells(axes, values.shape)
    figure.suptitle("Adjacency matrix $A$")
    bar = figure.colorbar(image, ax=axes, shrink=min(1.0, 2.6 / side), aspect=min(side, 2.6) / 0.09)
    bar.locator = MaxNLocator(nbins=6, steps=[1, 2, 5, 10])
    bar.set_label("A, sum of standard scores\n(high: easy to generate)", fontsize=7, labelpad=2)
    bar.ax.tick_params(length=2, width=0.4, labelsize=6.5, pad=1.5)
    bar.outline.set_linewidth(0.4)  # type: ignore[operator]
    return figure


@publication_style()
def ranking_bars(contribution: pd.DataFrame) -> Figure:
    """Draw C_t and C_d of every sequence, each sorted by its rank.

    Args:
        contribution: the table that :func:`contribution` gives; NaN where a sequence was never measured.
    """
    figure = new_figure(6.6, 0.9 + 0.26 * len(contribution), ConstrainedLayoutEngine(wspace=0.06))
    for axes, (score, measure) in zip(figure.subplots(1, 2), _MEASURES.items(), strict=True):
        rank = score.replace("c_", "rank_")
        table = contribution.sort_values(rank, kind="stable", na_position="last").reset_index(drop=True)
        values = table[score].to_numpy(dtype=float)
        axes.barh(range(len(table)), np.nan_to_num(values), height=0.66, color=measure.colour)
        for row, (value, place) in enumerate(zip(values, table[rank], strict=True)):
            known = np.isfinite(value)
            # Beside the bar's end, or, for a negative bar, on the free side of zero.
            axes.annotate(
                f"{_number(value)} (rank {place:g})" if known else "not measured",
                xy=(max(value, 0.0) if known else 0.0, row),
                xytext=(3, -0.5),
                textcoords="offset points",
                va="center",
                fontsize=7,
            )
        axes.set_yticks(range(len(table)), table["sequence"], fontsize=8)
        axes.axvline(0.0, color=TEXT_COLOUR, linewidth=0.6)
        axes.set_title(f"{measure.title}\n{measure.meaning}", loc="left", pad=4, linespacing=1.3)
        axes.set_xlabel("mean of A (sum of standard scores)", labelpad=2)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
        finite = values[np.isfinite(values)]
        low, high = finite.min(initial=0.0), finite.max(initial=0.0)
        axes.set_xlim(low * 1.05, high + 0.55 * ((high - low) or 1.0))  # room for the longest annotation
        _one_row_each(axes, len(table))
    return figure


@publication_style()
def contribution_stability(cohorts: Sequence[CohortContribution]) -> Figure:
    """Draw scores and rank frequencies of cohorts, one below the other.

    On the left, a point is C_t or C_d of all subjects, the line its confidence interval. On the right, a cell is the
    percentage of bootstrap samples in which the sequence (row) has the rank (column); the framed cell is its rank in
    the cohort. A column "none" appears where a sequence has no score in some sample.

    Args:
        cohorts: what :func:`cohort_contribution` returned, one or more, all of one confidence.
    """
    heights = [0.21 * len(cohort.table) + 1.0 for cohort in cohorts]
    figure = new_figure(7.2, sum(heights), ConstrainedLayoutEngine(w_pad=0.04, h_pad=0.05, hspace=0))
    # One scale for all panels, because all scores are in the same unit.
    columns = [f"{score}{part}" for score in SCORES for part in ("", "_low", "_high")]
    values = np.concatenate([cohort.table[columns].to_numpy(dtype=float).ravel() for cohort in cohorts])
    low, high = np.nanmin(values, initial=0.0), np.nanmax(values, initial=0.0)
    margin = 0.06 * ((high - low) or 1.0)
    limits = low - margin, high + margin
    parts = figure.subfigures(len(cohorts), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, cohort in zip(parts, cohorts, strict=True):
        part.suptitle(cohort.name, x=0.01, ha="left", fontsize=9, weight="bold")
        axes = part.subplots(1, 4, width_ratios=[1.35, 1.35, 1.55, 1.55])
        for place, score in enumerate(SCORES):
            _draw_scores(axes[place], cohort, score, limits)
            axes[place].set_yticks(range(len(cohort.table)), cohort.table["sequence"] if place == 0 else [], fontsize=8)
            _draw_ranks(axes[place + 2], cohort, score)
    return figure


def _draw_scores(axes: Axes, cohort: CohortContribution, score: str, limits: tuple[float, float]) -> None:
    table, measure = cohort.table, _MEASURES[score]
    for row, (value, low, high) in enumerate(table[[score, f"{score}_low", f"{score}_high"]].to_numpy(dtype=float)):
        if np.isfinite(value):
            axes.plot([low, high], [row, row], color=measure.colour, linewidth=1.2, solid_capstyle="butt")
            axes.plot([value], [row], color=measure.colour, marker="o", markersize=4, linestyle="", markeredgewidth=0)
        else:
            axes.text(0.0, row, "not measured", ha="center", va="center", fontsize=6.5, color="#666666")
    axes.axvline(0.0, color=TEXT_COLOUR, linewidth=0.6, zorder=0)
    axes.set_xlim(*limits)
    first, last = measure.meaning.split(" it ")
    axes.set_title(f"{measure.symbol}: {first} it\n{last}", loc="left", pad=4, linespacing=1.2, fontsize=7.5)
    axes.set_xlabel("mean of A", labelpad=2, fontsize=7)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10]))
    axes.grid(axis="x", color="#EBEBEB", linewidth=0.5)
    axes.set_axisbelow(True)
    _one_row_each(axes, len(table))


def _draw_ranks(axes: Axes, cohort: CohortContribution, score: str) -> None:
    ranks = cohort.ranks(score)
    values = ranks.to_numpy(dtype=float)
    axes.imshow(values, cmap=_FREQUENCY_COLOURS, vmin=0.0, vmax=1.0, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if value > 0:
            text = "<1" if value < 0.01 else ">99" if 0.99 < value < 1 else f"{100 * value:.0f}"
            colour = _text_colour(_FREQUENCY_COLOURS, value)
            axes.text(column, row, text, ha="center", va="center", fontsize=6, color=colour)
    for row, rank in enumerate(cohort.table[f"{score}_rank"]):
        if not pd.isna(rank):
            frame = Rectangle((int(rank) - 1.5, row - 0.5), 1, 1, fill=False, edgecolor=_FRAME, linewidth=1.3)
            frame.set(zorder=4, clip_on=False)  # whole, above the white grid and beyond the panel's edge
            axes.add_patch(frame)
    axes.set_xticks(range(len(ranks.columns)), ["none" if rank == 0 else str(rank) for rank in ranks], fontsize=6)
    axes.set_yticks([])
    _separate_cells(axes, values.shape)
    title = f"rank by {_MEASURES[score].symbol},\n% of bootstrap samples"
    axes.set_title(title, loc="left", pad=4, linespacing=1.2, fontsize=7.5)
    axes.set_xlabel("rank", labelpad=2, fontsize=7)


def _one_row_each(axes: Axes, number: int) -> None:
    """Give each of ``number`` sequences a row, the first on top."""
    axes.set_ylim(number - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _separate_cells(axes: Axes, shape: tuple[int, ...]) -> None:
    """Draw white lines between the cells of a matrix, and nothing around it."""
    axes.set_yticks(np.arange(shape[0] - 1) + 0.5, minor=True)
    axes.set_xticks(np.arange(shape[1] - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)


def _text_colour(colours: str, value: float) -> str:
    """Return white where a colour map is dark, else the colour of other text."""
    luminance = np.dot(matplotlib.colormaps[colours](float(value))[:3], (0.2126, 0.7152, 0.0722))
    return "white" if luminance < 0.4 else TEXT_COLOUR


def _number(value: float) -> str:
    """Write two decimals, with the minus sign that matplotlib uses on its axes."""
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")
