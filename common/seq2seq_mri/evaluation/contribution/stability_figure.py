# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""C_t and C_d with their intervals, and how often each sequence has each rank (Table 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from seq2seq_mri.evaluation.contribution.contribution_bootstrap import SCORES
from seq2seq_mri.evaluation.contribution.contribution_table import CohortContribution
from seq2seq_mri.plots.style import SERIES_COLOURS, TEXT_COLOUR, display_name, new_figure, publication_style

__all__ = ["contribution_stability"]

_CHARACTER = 0.066  # inches that a character of an 8-point label takes
_ROW = 0.21  # height of a sequence in inches
_POINTS, _RANKS, _GAP = 1.35, 1.55, 0.16  # widths of the panels and between them
_HEAD, _FOOT = 0.52, 0.42  # above and below the panels of a cohort, for titles and axes
_COLOURS = "Blues"
_FRAME = SERIES_COLOURS[1]  # stands out from both ends of the blues
_TITLES = {
    "c_t": "$C_t$: how well it\ngenerates the others",
    "c_d": "$C_d$: how hard it\nis to generate",
}


@publication_style()
def contribution_stability(cohorts: Sequence[CohortContribution], *, labels: Mapping[str, str] | None = None) -> Figure:
    """Draw scores and rank frequencies of cohorts, one below the other.

    On the left, a point is C_t or C_d of all subjects, the line its confidence interval. On the right, a cell is the
    percentage of bootstrap samples in which the sequence (row) has the rank (column); the framed cell is its rank in
    the cohort. A column "none" appears where a sequence has no score in some sample.

    Args:
        cohorts: what ``analysis.contribution_table.cohort_contribution`` returned, all of one confidence.
        labels: how to write a sequence's name.

    Returns:
        The figure; :func:`save_figure` writes it.

    Raises:
        ValueError: when there is no cohort.
    """
    if not cohorts:
        raise ValueError("There is no cohort to draw.")
    names = [display_name(str(name), labels) for cohort in cohorts for name in cohort.table["sequence"]]
    left = 0.2 + max(map(len, names)) * _CHARACTER
    width = left + 2 * (_POINTS + _RANKS) + 3 * _GAP + 0.1
    heights = [_ROW * len(cohort.table) for cohort in cohorts]
    height = sum(heights) + len(cohorts) * (_HEAD + _FOOT)
    figure = new_figure(width, height)
    limits = _limits(cohorts)
    top = height
    for cohort, panel in zip(cohorts, heights, strict=True):
        bottom = top - _HEAD - panel
        figure.text(0.08 / width, (top - 0.08) / height, cohort.name, ha="left", va="top", fontsize=9, weight="bold")
        shown = [display_name(str(name), labels) for name in cohort.table["sequence"]]
        for place, score in enumerate(SCORES):
            x = left + place * (_POINTS + _GAP)
            axes = figure.add_axes((x / width, bottom / height, _POINTS / width, panel / height))
            _draw_scores(axes, cohort, score, place, limits)
            axes.set_yticks(range(len(shown)), shown if place == 0 else [""] * len(shown), fontsize=8)
            x = left + 2 * (_POINTS + _GAP) + place * (_RANKS + _GAP)
            axes = figure.add_axes((x / width, bottom / height, _RANKS / width, panel / height))
            _draw_ranks(axes, cohort, score)
        top = bottom - _FOOT
    return figure


def _limits(cohorts: Sequence[CohortContribution]) -> tuple[float, float]:
    """Return one scale for all panels, because all scores are in the same unit."""
    columns = [f"{score}{part}" for score in SCORES for part in ("", "_low", "_high")]
    values = np.concatenate([cohort.table[columns].to_numpy(dtype=float).ravel() for cohort in cohorts])
    values = values[np.isfinite(values)]
    low, high = values.min(initial=0.0), values.max(initial=0.0)
    margin = 0.06 * ((high - low) or 1.0)
    return low - margin, high + margin


def _draw_scores(axes: Axes, cohort: CohortContribution, score: str, place: int, limits: tuple[float, float]) -> None:
    table, colour = cohort.table, SERIES_COLOURS[place]
    for row, (value, low, high) in enumerate(table[[score, f"{score}_low", f"{score}_high"]].to_numpy(dtype=float)):
        if np.isfinite(value):
            axes.plot([low, high], [row, row], color=colour, linewidth=1.2, solid_capstyle="butt")
            axes.plot([value], [row], color=colour, marker="o", markersize=4, linestyle="", markeredgewidth=0)
        else:
            axes.text(0.0, row, "not measured", ha="center", va="center", fontsize=6.5, color="#666666")
    axes.axvline(0.0, color=TEXT_COLOUR, linewidth=0.6, zorder=0)
    axes.set_xlim(*limits)
    axes.set_ylim(len(table) - 0.5, -0.5)
    axes.set_title(_TITLES[score], loc="left", pad=4, linespacing=1.2, fontsize=7.5)
    axes.set_xlabel("mean of A", labelpad=2, fontsize=7)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10]))
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color="#EBEBEB", linewidth=0.5)
    axes.set_axisbelow(True)


def _draw_ranks(axes: Axes, cohort: CohortContribution, score: str) -> None:
    ranks = cohort.ranks(score)
    values = ranks.to_numpy(dtype=float)
    axes.imshow(values, cmap=_COLOURS, vmin=0.0, vmax=1.0, aspect="auto")
    colours = matplotlib.colormaps[_COLOURS]
    for (row, column), value in np.ndenumerate(values):
        if value > 0:
            luminance = np.dot(colours(float(value))[:3], (0.2126, 0.7152, 0.0722))
            colour = "white" if luminance < 0.4 else TEXT_COLOUR
            text = "<1" if value < 0.01 else ">99" if 0.99 < value < 1 else f"{100 * value:.0f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=6, color=colour)
    for row, rank in enumerate(cohort.table[f"{score}_rank"]):
        if not pd.isna(rank):
            frame = Rectangle((int(rank) - 1.5, row - 0.5), 1, 1, fill=False, edgecolor=_FRAME, linewidth=1.3)
            frame.set(zorder=4, clip_on=False)  # whole, above the white grid and beyond the panel's edge
            axes.add_patch(frame)
    axes.set_xticks(range(len(ranks.columns)), ["none" if rank == 0 else str(rank) for rank in ranks], fontsize=6)
    axes.set_yticks([])
    axes.set_xticks(np.arange(len(ranks.columns) - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(len(values) - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    name = _TITLES[score].split(":")[0]
    axes.set_title(f"rank by {name},\n% of bootstrap samples", loc="left", pad=4, linespacing=1.2, fontsize=7.5)
    axes.set_xlabel("rank", labelpad=2, fontsize=7)
