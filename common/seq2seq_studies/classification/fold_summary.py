# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Mean and standard deviation over folds: a table of the metrics, their figure, and mean ROC curves (Table 4)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import roc_curve

from seq2seq_mri.evaluation.classification.classification_metrics import BINARY_METRICS, roc_auc
from seq2seq_mri.evaluation.classification.roc_figure import curve_style, roc_panel
from seq2seq_mri.evaluation.page import markdown_table
from seq2seq_mri.plots.style import SERIES_COLOURS, new_figure, publication_style
from seq2seq_studies.study_tables import mean_and_deviation, mean_cell

__all__ = ["fold_metrics_forest", "format_fold_summary", "mean_roc_curves", "summarise_folds"]

_CHARACTER = 0.066  # inches that a character of an 8-point label takes
_MOST_BANDS = 3  # more bands than this hide one another
_GRID = np.linspace(0.0, 1.0, 201)
_TITLES = {"auc": "AUC", "ppv": "PPV", "npv": "NPV"}


def summarise_folds(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return ``folds``, ``<measure>_mean`` and ``<measure>_sd`` of each input combination, as in Table 4 of the paper.

    Folds in which a measure is not defined do not count for it; the deviation of one fold is NaN.
    """
    return mean_and_deviation(metrics, ["inputs"], BINARY_METRICS, counted="folds")


def format_fold_summary(metrics: pd.DataFrame) -> str:
    """Return the summary of ``metrics.csv`` as a Markdown table, mean ± standard deviation over folds."""
    header = ["Inputs", "Folds", *(_TITLES.get(measure, measure.capitalize()) for measure in BINARY_METRICS)]
    rows = []
    for row in summarise_folds(metrics).to_dict("records"):
        cells = [mean_cell(row[f"{measure}_mean"], row[f"{measure}_sd"], ".3f") for measure in BINARY_METRICS]
        rows.append([row["inputs"], str(row["folds"]), *cells])
    return markdown_table(header, rows)


@publication_style()
def fold_metrics_forest(metrics: pd.DataFrame) -> Figure:
    """Draw for each metric one row per input combination: mean, ± 1 standard deviation over folds, and the folds."""
    summary = summarise_folds(metrics).set_index("inputs")
    names = list(summary.index)
    across, lines = 3, -(-len(BINARY_METRICS) // 3)
    left, panel, gap, above, below = 0.25 + max(map(len, names)) * _CHARACTER, 1.75, 0.22, 0.32, 0.34
    body = 0.3 * len(names) + 0.1
    note = 0.2
    width, height = left + across * (panel + gap), lines * (above + body + below) + note
    figure = new_figure(width, height)
    for order, column in enumerate(BINARY_METRICS):
        line, place = divmod(order, across)
        x, y = left + place * (panel + gap), height - (line + 1) * (above + body + below) + below
        axes = figure.add_axes((x / width, y / height, panel / width, body / height))
        _draw_metric(axes, metrics, summary, column)
        axes.set_yticks(range(len(names)), names if place == 0 else [""] * len(names), fontsize=8)
    figure.text(left / width, 0.06 / height, "mean ± SD over folds; small points: the folds", fontsize=7, va="bottom")
    return figure


def _draw_metric(axes: Axes, metrics: pd.DataFrame, summary: pd.DataFrame, column: str) -> None:
    for row, name in enumerate(summary.index):
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
    axes.set_ylim(len(summary) - 0.5, -0.65)
    axes.margins(x=0.08)
    axes.set_title(_TITLES.get(column, column.capitalize()), loc="left", pad=3)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    axes.grid(axis="x", color="#E5E5E5", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    if column == "auc" and axes.get_xlim()[0] < 0.5 < axes.get_xlim()[1]:
        axes.axvline(0.5, color="#999999", linewidth=0.7, linestyle=(0, (2, 2)), zorder=0)


@publication_style()
def mean_roc_curves(predictions: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw for each input combination the mean ROC curve over folds, and a band of ± 1 standard deviation.

    Bands are drawn for up to three combinations; more would hide one another. Sensitivities are averaged at equal
    specificity. The AUC in the legend is the mean over folds of each fold's AUC.

    Args:
        predictions: the table of ``predictions.csv``; its testing section is drawn, which has both labels in each fold.
        title: of the figure.
    """
    testing = predictions[predictions["section"] == "testing"]
    curves: list[np.ndarray] = []
    texts: list[str] = []
    for name, cases in testing.groupby("inputs", sort=False):
        rows, areas = [], []
        for _, fold in cases.groupby(["repeat", "fold"]):
            false_positive, true_positive, _ = roc_curve(fold["label"], fold["probability"])
            rows.append(np.interp(_GRID, false_positive, true_positive))
            rows[-1][0] = 0.0
            areas.append(roc_auc(fold["label"], fold["probability"]))
        curves.append(np.array(rows))
        texts.append(f"{name}\nAUC {np.mean(areas):.3f} ± {np.std(areas, ddof=1):.3f}")
    banded = len(curves) <= _MOST_BANDS
    what = "mean ± SD" if banded else "mean curves, AUC ± SD"
    figure, axes = roc_panel(texts, title, f"{what} over {len(curves[0])} folds")
    for place, (folds, text) in enumerate(zip(curves, texts, strict=True)):
        mean, deviation, style = folds.mean(axis=0), folds.std(axis=0, ddof=1), curve_style(place)
        if banded:
            low, high = np.clip(mean - deviation, 0, 1), np.clip(mean + deviation, 0, 1)
            axes.fill_between(_GRID, low, high, color=style["color"], alpha=0.13, linewidth=0)
        axes.plot(_GRID, mean, label=text, **style)
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0.0, handlelength=2.2, labelspacing=0.9)
    return figure
