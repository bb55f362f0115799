# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Image quality of synthesised sequences, one group per target, from the table ``metrics.csv``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from seq2seq_mri.plots.style import (
    SERIES_COLOURS,
    SERIES_MARKERS,
    TEXT_COLOUR,
    display_name,
    new_figure,
    publication_style,
)

__all__ = ["metrics_boxplot", "metrics_strip"]

_CHARACTER = 0.066  # inches that a character of an 8-point label takes

#: Column of the table → title, axis label, which direction is good.
_METRICS = {
    "psnr": ("PSNR, whole volume", "PSNR (dB)", "higher is better"),
    "ssim": ("SSIM, whole volume", "SSIM", "higher is better"),
    "psnr_central_crop": ("PSNR, central crop", "PSNR (dB)", "higher is better"),
    "ssim_central_crop": ("SSIM, central crop", "SSIM", "higher is better"),
    "lpips": ("LPIPS", "LPIPS", "lower is better"),
    "psnr_foreground": ("PSNR, foreground", "PSNR (dB)", "higher is better"),
    "ssim_foreground": ("SSIM, foreground", "SSIM", "higher is better"),
}


@publication_style()
def metrics_boxplot(
    metrics: pd.DataFrame,
    *,
    columns: Sequence[str] = ("psnr_foreground", "ssim_foreground", "lpips"),
    targets: Sequence[str] | None = None,
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """Draw for each metric one box per target over all subjects and sources.

    A box spans the quartiles with the median as a line; whiskers reach to the last value within 1.5 times its length,
    and values beyond are drawn as circles.

    Args:
        metrics: the evaluation's table with ``subject``, ``source``, ``target``, the metrics, and ``data_range``; rows
            whose source is the target are left out.
        columns: metrics to draw; one without any value (LPIPS that was not computed) is left out.
        targets: targets in the order of the figure; default: as the sequences first occur in the table.
        labels: how to write a sequence's name.

    Returns:
        The figure; :func:`save_figure` writes it.

    Raises:
        ValueError: when the table lacks a column or has no value to draw, or a target is not in it.
    """

    def draw(axes: Axes, table: pd.DataFrame, column: str, names: list[str]) -> None:
        groups = [table.loc[table["target"] == name, column].to_numpy() for name in names]
        line = {"color": TEXT_COLOUR, "linewidth": 0.7}
        axes.boxplot(
            groups,
            positions=range(len(names)),
            widths=0.55,
            patch_artist=True,
            boxprops={"facecolor": "#9EC9E2", "edgecolor": TEXT_COLOUR, "linewidth": 0.7},
            medianprops={"color": SERIES_COLOURS[1], "linewidth": 1.4},
            whiskerprops=line,
            capprops=line,
            flierprops={"marker": "o", "markersize": 2.5, "markeredgewidth": 0.5, "markeredgecolor": TEXT_COLOUR},
            manage_ticks=False,
        )
        for position, group in enumerate(groups):
            axes.annotate(
                f"n={len(group)}",
                xy=(position, 0),
                xycoords=("data", "axes fraction"),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                fontsize=6,
                color="#666666",
            )

    return _draw_metrics(metrics, columns, targets, labels, draw, legend=0)


@publication_style()
def metrics_strip(
    metrics: pd.DataFrame,
    *,
    columns: Sequence[str] = ("psnr_foreground", "ssim_foreground", "lpips"),
    targets: Sequence[str] | None = None,
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """Draw for each metric every subject as a point, grouped by target, its source told by colour and marker.

    The bar of each target is the mean of its points. For few subjects this says more than boxes.

    Args:
        metrics: the evaluation's table, as in :func:`metrics_boxplot`.
        columns: metrics to draw; one without any value is left out.
        targets: targets in the order of the figure; default: as the sequences first occur in the table.
        labels: how to write a sequence's name.

    Returns:
        The figure; :func:`save_figure` writes it.

    Raises:
        ValueError: when the table lacks a column or has no value to draw, or a target is not in it.
    """
    sources = list(dict.fromkeys(metrics["source"])) if "source" in metrics else []
    if targets is not None:  # the same order, and so the same colours, in every figure of a project
        sources.sort(key=lambda name: list(targets).index(name) if name in targets else len(targets))

    def draw(axes: Axes, table: pd.DataFrame, column: str, names: list[str]) -> None:
        for order, source in enumerate(sources):
            rows = table[(table["source"] == source) & table[column].notna()]
            # Each source has its own lane in a group, so that points of different sources never hide one another.
            lane = (order - (len(sources) - 1) / 2) * 0.7 / max(len(sources), 2)
            axes.plot(
                [names.index(name) + lane for name in rows["target"]],
                rows[column],
                linestyle="none",
                marker=SERIES_MARKERS[order % len(SERIES_MARKERS)],
                color=SERIES_COLOURS[order % len(SERIES_COLOURS)],
                markersize=3.5,
                markeredgewidth=0.3,
                markeredgecolor="white",
                alpha=0.85,
                label=display_name(source, labels),
                clip_on=False,
            )
        for position, name in enumerate(names):
            mean = table.loc[table["target"] == name, column].mean()
            axes.hlines(mean, position - 0.4, position + 0.4, color=TEXT_COLOUR, linewidth=0.9)

    return _draw_metrics(metrics, columns, targets, labels, draw, legend=len(sources))


def _draw_metrics(
    metrics: pd.DataFrame,
    columns: Sequence[str],
    targets: Sequence[str] | None,
    labels: Mapping[str, str] | None,
    draw: Callable[[Axes, pd.DataFrame, str, list[str]], None],
    legend: int,
) -> Figure:
    """Lay out one panel per metric and let ``draw`` fill it; ``legend`` is the number of its entries."""
    absent = [name for name in ("source", "target", "data_range", *columns) if name not in metrics.columns]
    if absent:
        raise ValueError(f"The metrics table lacks the columns {', '.join(absent)}.")
    table = metrics[metrics["source"] != metrics["target"]].copy()
    # Identical images have an infinite PSNR, which has no place on an axis.
    table[list(columns)] = table[list(columns)].astype(float).replace([np.inf, -np.inf], np.nan)
    shown = [column for column in columns if table[column].notna().any()]
    if not shown:
        raise ValueError(f"The metrics table has no value of {', '.join(columns)} for a source other than the target.")
    names = list(targets) if targets is not None else _order(table)
    unknown = sorted(set(names) ^ set(table["target"]), key=str) if targets is not None else []
    if unknown:
        raise ValueError(
            f"The targets to draw and those of the metrics table differ in {', '.join(map(str, unknown))}."
        )

    longest = max(len(display_name(name, labels)) for name in names) * _CHARACTER
    slot = 0.44
    # Side by side while that fits a page's width, else one below the other.
    stacked = len(names) * slot * len(shown) > 6.0
    panel, body = (6.2, 1.4) if stacked else (max(1.75, slot * len(names)), 1.9)
    slanted = longest > panel / len(names)
    left, below, above = 0.6, 0.24 + (0.6 * longest if slanted else 0.0), 0.3
    legend_room = 0.3 if legend else 0.0
    rows, across = (len(shown), 1) if stacked else (1, len(shown))
    width = across * (left + panel) + 0.15
    height = legend_room + rows * (above + body + below)
    figure = new_figure(width, height)
    for order, column in enumerate(shown):
        row, place = (order, 0) if stacked else (0, order)
        x, y = left + place * (left + panel), height - legend_room - (row + 1) * (above + body + below) + below
        axes = figure.add_axes((x / width, y / height, panel / width, body / height))
        draw(axes, table[table[column].notna()], column, names)
        _finish_panel(axes, column, names, labels, slanted, table["data_range"])
    if legend:
        handles, sources = figure.axes[0].get_legend_handles_labels()
        figure.legend(
            [Line2D([], [], linestyle="none"), *handles],
            ["source:", *sources],
            loc="upper center",
            ncols=legend + 1,
            handletextpad=0.1,
            columnspacing=1.0,
            borderpad=0.3,
        )
    return figure


def _order(table: pd.DataFrame) -> list[str]:
    """Return the targets in the order of the sources: the first rows of a table lack their own source as target."""
    targets = set(table["target"])
    return [name for name in dict.fromkeys([*table["source"], *table["target"]]) if name in targets]


def _finish_panel(
    axes: Axes,
    column: str,
    names: list[str],
    labels: Mapping[str, str] | None,
    slanted: bool,
    data_range: pd.Series,
) -> None:
    title, axis_label, direction = _METRICS.get(column, (column, column, ""))
    if column.startswith("psnr"):  # a PSNR means nothing without the range that it refers to
        low, high = data_range.min(), data_range.max()
        axis_label += f", data range {low:.3g}" + (f" to {high:.3g}" if high > low else "")
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_xticks(range(len(names)), [display_name(name, labels) for name in names], fontsize=8)
    if slanted:
        for tick in axes.get_xticklabels():
            tick.set(rotation=35, ha="right", rotation_mode="anchor")
    axes.tick_params(axis="x", length=0)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.grid(axis="y", color="#E5E5E5", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.margins(y=0.12)
    axes.set_title(f"{title}: {direction}" if direction else title, loc="left", pad=5)
    axes.set_ylabel(axis_label, labelpad=2)
