# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Segmentation with fewer sequences: the scores of all subjects, and what each combination loses (Table 3)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from seq2seq_mri.plots.style import (
    SERIES_COLOURS,
    SERIES_MARKERS,
    TEXT_COLOUR,
    new_figure,
    publication_style,
)
from seq2seq_studies.segmentation.segmentation_table import MEASURES, scores_by_subject, segmentation_table

__all__ = ["segmentation_comparison"]

_TITLES = {"dsc": "DSC", "assd": "ASSD (mm)"}
# An empty prediction has the image's diagonal as ASSD, hundreds of mm, beside which all others would look equal.
_LINEAR_MM = 10.0
_GUIDE: dict = {"color": "#999999", "linewidth": 0.7}


@publication_style()
def segmentation_comparison(
    scores: pd.DataFrame, reference: str, margins: Mapping[str, float], confidence: float = 0.95
) -> Figure:
    """Draw the scores of each combination by region, and below what it loses against the reference.

    Above, a point is a subject, the mean over its trainings, and a line the mean. Below, a point is the mean loss; the
    line reaches to its one-sided upper confidence limit, and a combination whose line ends before the dashed margin is
    non-inferior there. Where ASSD goes beyond 20 mm, as it does for empty predictions, its scale is logarithmic from 10
    mm on. The arguments are those of :func:`segmentation_table`.
    """
    table = segmentation_table(scores, reference, margins, confidence)
    by_subject = scores_by_subject(scores)
    names, regions = list(dict.fromkeys(table["combination"])), list(dict.fromkeys(table["region"]))
    markers: dict[str, dict] = {
        name: {"color": colour, "marker": marker, "markeredgewidth": 0}
        for name, colour, marker in zip(names, cycle(SERIES_COLOURS), cycle(SERIES_MARKERS), strict=False)
    }
    # In inches, from below: the legend, the losses with their labels, a gap, the scores, their title.
    legend, losses = 0.16 * len(names) + 0.1, 0.16 * (len(names) - 1) * len(regions) + 0.15
    height = legend + 0.42 + losses + 0.5 + 2.2 + 0.25
    figure = new_figure(7.2, height)
    for column, measure in enumerate(MEASURES):
        left, width = (0.6 + 3.55 * column) / 7.2, 2.95 / 7.2
        above = figure.add_axes((left, (height - 2.45) / height, width, 2.2 / height))
        below = figure.add_axes((left, (legend + 0.42) / height, width, losses / height))
        _draw_scores(above, by_subject, measure, markers, regions)
        _draw_losses(below, table[table["combination"] != reference], measure, markers, margins[measure])
        below.set_xlabel(f"loss of {_TITLES[measure]}, mean and upper {100 * confidence:g} % limit", labelpad=2)
    handles = [Line2D([], [], linestyle="", markersize=4.5, **marker) for marker in markers.values()]
    texts = [name + (" (reference)" if name == reference else "") for name in names]
    figure.legend(handles, texts, loc="lower left", bbox_to_anchor=(0.3 / 7.2, 0.0), labelspacing=0.35)
    return figure


def _draw_scores(
    axes: Axes, by_subject: pd.DataFrame, measure: str, markers: Mapping[str, dict], regions: list[str]
) -> None:
    step = 0.8 / len(markers)
    for place, (name, marker) in enumerate(markers.items()):
        for position, region in enumerate(regions):
            of_both = (by_subject["combination"] == name) & (by_subject["region"] == region)
            values = np.sort(by_subject.loc[of_both, measure].to_numpy())
            centre = position - 0.4 + (place + 0.5) * step
            # Spread out evenly in the order of the values: nothing hides, and nothing is random.
            spread = np.linspace(-0.25, 0.25, len(values)) * step if len(values) > 1 else np.zeros(1)
            axes.plot(centre + spread, values, linestyle="", markersize=3, alpha=0.6, **marker)
            axes.hlines(values.mean(), centre - 0.42 * step, centre + 0.42 * step, color=TEXT_COLOUR, linewidth=1.2)
    axes.set_xticks(range(len(regions)), regions)
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.5, len(regions) - 0.5)
    if measure == "dsc":
        axes.set_ylim(-0.02, 1.02)
    elif by_subject[measure].max() > 2 * _LINEAR_MM:
        axes.set_yscale("symlog", linthresh=_LINEAR_MM, linscale=2)
        axes.set_ylim(0, 1.3 * by_subject[measure].max())
        _tick_plainly(axes.yaxis, by_subject[measure].max())
    else:
        axes.set_ylim(bottom=0)
    axes.grid(axis="y", color="#EBEBEB", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.set_ylabel(_TITLES[measure], labelpad=3)
    axes.set_title("higher is better" if MEASURES[measure] else "lower is better", loc="left", color="#666666", pad=4)


def _draw_losses(axes: Axes, table: pd.DataFrame, measure: str, markers: Mapping[str, dict], margin: float) -> None:
    """Draw region by region what each row of the table loses."""
    centres, height = {}, 0.0
    for region, rows in table.groupby("region", sort=False):
        centres[str(region)] = height + (len(rows) - 1) / 2
        for name, loss, upper in rows[["combination", f"{measure}_loss", f"{measure}_upper"]].itertuples(index=False):
            if np.isfinite(upper):
                axes.plot([loss, upper], [height, height], color=markers[name]["color"], linewidth=1.1)
                axes.plot([upper], [height], color=markers[name]["color"], marker="|", markersize=5)
            axes.plot([loss], [height], linestyle="", markersize=4, **markers[name])
            height += 1
        height += 0.6
    limits = table[[f"{measure}_loss", f"{measure}_upper"]].to_numpy(float)
    if measure == "assd" and np.nanmax(np.abs(limits)) > 2 * _LINEAR_MM:
        axes.set_xscale("symlog", linthresh=_LINEAR_MM, linscale=2)
        _tick_plainly(axes.xaxis, np.nanmax(limits))
    axes.axvline(0, zorder=0, **_GUIDE)
    axes.axvline(margin, zorder=0, linestyle=(0, (3, 2)), **_GUIDE)
    axes.annotate(
        f"margin {margin:g}",
        xy=(margin, 1),
        xycoords=("data", "axes fraction"),
        xytext=(2, 1),
        textcoords="offset points",
        fontsize=6,
        color="#666666",
    )
    axes.set_yticks(list(centres.values()), list(centres))
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()


def _tick_plainly(axis: Axis, highest: float) -> None:
    """Mark a scale that is linear up to 10 mm and logarithmic above with numbers that can be read."""
    ticks = [tick for tick in (0, 2, 4, 6, 8, 10, 30, 100, 300, 1000) if tick <= max(highest, 10)]
    axis.set_ticks(ticks, [str(tick) for tick in ticks])
    axis.set_minor_locator(NullLocator())
