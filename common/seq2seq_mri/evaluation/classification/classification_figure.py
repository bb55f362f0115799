# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The metrics of a classifier with different inputs, from the table ``metrics.csv`` (Table 4 of the paper)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seq2seq_mri.evaluation.classification.classification_metrics import BINARY_METRICS
from seq2seq_mri.evaluation.classification.classification_tables import summarise_folds
from seq2seq_mri.plots.style import SERIES_COLOURS, display_name, new_figure, publication_style

__all__ = ["fold_metrics_forest"]

_CHARACTER = 0.066  # inches that a character of an 8-point label takes

_TITLES = {
    "auc": "AUC",
    "accuracy": "Accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "ppv": "PPV",
    "npv": "NPV",
}


@publication_style()
def fold_metrics_forest(
    metrics: pd.DataFrame,
    *,
    columns: Sequence[str] = BINARY_METRICS,
    inputs: Sequence[str] | None = None,
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """Draw for each metric one row per input combination: mean, ± 1 standard deviation over folds, and the folds.

    Args:
        metrics: the table of ``metrics.csv``.
        columns: metrics to draw.
        inputs: combinations in the order of the figure, from the top; default: as in the table.
        labels: how to write a combination's name.

    Returns:
        The figure; :func:`save_figure` writes it.

    Raises:
        ValueError: when the table is empty or lacks a column, or a combination is not in it.
    """
    absent = [name for name in ("inputs", *columns) if name not in metrics.columns]
    if absent or metrics.empty or not columns:
        raise ValueError(f"The metrics table lacks {', '.join(absent) or 'rows or columns to draw'}.")
    names = list(dict.fromkeys(metrics["inputs"])) if inputs is None else list(inputs)
    unknown = [name for name in names if name not in set(metrics["inputs"])]
    if unknown:
        raise ValueError(f"The metrics table has no inputs '{unknown[0]}'; it has {', '.join(set(metrics['inputs']))}.")
    summary = summarise_folds(metrics).set_index("inputs")

    across = min(3, len(columns))
    lines = -(-len(columns) // across)
    longest = max(len(display_name(name, labels)) for name in names) * _CHARACTER
    left, panel, gap, above, below = 0.25 + longest, 1.75, 0.22, 0.32, 0.34
    body = 0.3 * len(names) + 0.1
    note = 0.2
    width, height = left + across * (panel + gap), lines * (above + body + below) + note
    figure = new_figure(width, height)
    for order, column in enumerate(columns):
        line, place = divmod(order, across)
        x, y = left + place * (panel + gap), height - (line + 1) * (above + body + below) + below
        axes = figure.add_axes((x / width, y / height, panel / width, body / height))
        _draw_metric(axes, metrics, summary, column, names)
        texts = [display_name(name, labels) for name in names] if place == 0 else [""] * len(names)
        axes.set_yticks(range(len(names)), texts, fontsize=8)
    figure.text(left / width, 0.06 / height, "mean ± SD over folds; small points: the folds", fontsize=7, va="bottom")
    return figure


def _draw_metric(axes: Axes, metrics: pd.DataFrame, summary: pd.DataFrame, column: str, names: Sequence[str]) -> None:
    for row, name in enumerate(names):
        colour = SERIES_COLOURS[row % len(SERIES_COLOURS)]
        folds = metrics.loc[metrics["inputs"] == name, column].dropna().to_numpy()
        mean, deviation = (float(summary[f"{column}_{what}"][name]) for what in ("mean", "sd"))
        if np.isnan(mean):
            axes.text(0.5, row, "n/a", ha="center", va="center", transform=axes.get_yaxis_transform())
            continue
        axes.plot(
            folds, np.full(len(folds), row + 0.22), "o", color=colour, markersize=2, alpha=0.55, markeredgewidth=0
        )
        axes.errorbar(
            mean, row, xerr=np.nan_to_num(deviation), fmt="s", color=colour, markersize=4, linewidth=1.2, capsize=2
        )
        axes.annotate(f"{mean:.3f}", (mean, row), xytext=(0, 4), textcoords="offset points", ha="center", fontsize=6.5)
    axes.set_ylim(len(names) - 0.5, -0.65)
    axes.margins(x=0.08)
    axes.set_title(_TITLES.get(column, column), loc="left", pad=3)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    axes.grid(axis="x", color="#E5E5E5", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    if column == "auc" and axes.get_xlim()[0] < 0.5 < axes.get_xlim()[1]:
        axes.axvline(0.5, color="#999999", linewidth=0.7, linestyle=(0, (2, 2)), zorder=0)
