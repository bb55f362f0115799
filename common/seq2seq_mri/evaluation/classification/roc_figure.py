# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""ROC curves of a classifier with different inputs, from the table ``predictions.csv``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from seq2seq_mri.evaluation.classification.classification_metrics import roc_auc
from seq2seq_mri.evaluation.classification.input_comparison import pooled_predictions
from seq2seq_mri.evaluation.classification.roc_comparison import delong_interval
from seq2seq_mri.plots.style import SERIES_COLOURS, display_name, new_figure, publication_style

__all__ = ["mean_roc_curves", "roc_curves"]

_LINES = ("-", "--", "-.", ":")
_CHARACTER = 0.058  # inches that a character of a 7-point label takes
_MOST_BANDS = 3  # more bands than this hide one another
_GRID = np.linspace(0.0, 1.0, 201)


@publication_style()
def roc_curves(
    predictions: pd.DataFrame,
    *,
    inputs: Sequence[str] | None = None,
    confidence: float = 0.95,
    title: str = "",
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """Draw one ROC curve per input combination over all tested subjects, with the AUC and DeLong's interval.

    Args:
        predictions: the table of ``predictions.csv``; its testing section is drawn, folds pooled.
        inputs: combinations to draw, in this order; default: those of the table.
        confidence: coverage of the intervals.
        title: of the figure.
        labels: how to write a combination's name.

    Returns:
        The figure; :func:`save_figure` writes it.

    Raises:
        ValueError: when a combination has no testing prediction, or fewer than two cases of a label.
    """
    names = _names(predictions, inputs)
    cases = {name: pooled_predictions(predictions, name) for name in names}
    texts = []
    for name, table in cases.items():
        area = delong_interval(table["label"], table["probability"], confidence)
        interval = f"{100 * confidence:g}% CI {area.low:.3f} to {area.high:.3f}"
        texts.append(f"{display_name(name, labels)}\nAUC {area.auc:.3f} ({interval})")
    first = cases[names[0]]
    positives = int(first["label"].sum())
    figure, axes = _square(texts, title, f"{positives} positive, {len(first) - positives} negative")
    for place, (table, text) in enumerate(zip(cases.values(), texts, strict=True)):
        false_positive, true_positive, _ = roc_curve(table["label"], table["probability"], drop_intermediate=False)
        axes.plot(false_positive, true_positive, label=text, **_line(place))
    _finish(axes)
    return figure


@publication_style()
def mean_roc_curves(
    predictions: pd.DataFrame,
    *,
    inputs: Sequence[str] | None = None,
    title: str = "",
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """Draw for each input combination the mean ROC curve over folds, and a band of ± 1 standard deviation.

    Bands are drawn for up to three combinations; more would hide one another. Sensitivities are averaged at equal
    specificity. The AUC in the legend is the mean over folds of each fold's AUC;
    folds whose testing section has one label only are left out.

    Args:
        predictions: the table of ``predictions.csv``; its testing section is drawn.
        inputs: combinations to draw, in this order; default: those of the table.
        title: of the figure.
        labels: how to write a combination's name.

    Returns:
        The figure; :func:`save_figure` writes it.

    Raises:
        ValueError: when a combination has no fold with both labels.
    """
    names = _names(predictions, inputs)
    testing = predictions[predictions["section"] == "testing"]
    curves, texts, folds = [], [], []
    for name in names:
        rows, areas = [], []
        for _, fold in testing[testing["inputs"] == name].groupby(["repeat", "fold"]):
            if fold["label"].nunique() < 2:
                continue
            false_positive, true_positive, _ = roc_curve(fold["label"], fold["probability"])
            curve = np.interp(_GRID, false_positive, true_positive)
            curve[0] = 0.0
            rows.append(curve)
            areas.append(roc_auc(fold["label"], fold["probability"]))
        if not rows:
            raise ValueError(f"There is no fold of '{name}' whose testing section has both labels.")
        curves.append(np.array(rows))
        folds.append(len(rows))
        deviation = f" ± {np.std(areas, ddof=1):.3f}" if len(areas) > 1 else ""
        texts.append(f"{display_name(name, labels)}\nAUC {np.mean(areas):.3f}{deviation}")
    number = f"{folds[0]}" if len(set(folds)) == 1 else f"{min(folds)} to {max(folds)}"
    banded = len(names) <= _MOST_BANDS
    what = "mean ± SD" if banded else "mean curves, AUC ± SD"
    figure, axes = _square(texts, title, f"{what} over {number} folds")
    for place, (rows_, text) in enumerate(zip(curves, texts, strict=True)):
        mean = rows_.mean(axis=0)
        line = _line(place)
        if banded and len(rows_) > 1:
            deviation_ = rows_.std(axis=0, ddof=1)
            low, high = np.clip(mean - deviation_, 0, 1), np.clip(mean + deviation_, 0, 1)
            axes.fill_between(_GRID, low, high, color=line["color"], alpha=0.13, linewidth=0)
        axes.plot(_GRID, mean, label=text, **line)
    _finish(axes)
    return figure


def _names(predictions: pd.DataFrame, inputs: Sequence[str] | None) -> list[str]:
    names = list(dict.fromkeys(predictions["inputs"])) if inputs is None else list(inputs)
    if not names:
        raise ValueError("The table of predictions is empty; there is no ROC curve to draw.")
    return names


def _line(place: int) -> dict:
    return {
        "color": SERIES_COLOURS[place % len(SERIES_COLOURS)],
        "linestyle": _LINES[place % len(_LINES)],
        "linewidth": 1.4,
    }


def _square(texts: Sequence[str], title: str, subtitle: str) -> tuple[Figure, Axes]:
    """Return a square panel with room for the legend at its right."""
    legend = max(len(line) for text in texts for line in text.splitlines()) * _CHARACTER + 0.5
    left, below, side, above = 0.5, 0.45, 2.8, 0.5 if title else 0.34
    width, height = left + side + 0.1 + legend, below + side + above
    figure = new_figure(width, height)
    axes = figure.add_axes((left / width, below / height, side / width, side / height))
    axes.set_title(f"{title}\n{subtitle}" if title else subtitle, loc="left", pad=5, linespacing=1.3)
    return figure, axes


def _finish(axes: Axes) -> None:
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.7, linestyle=(0, (2, 2)), zorder=0)
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    ticks = np.linspace(0.0, 1.0, 6)
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    axes.grid(color="#EBEBEB", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.set_xlabel("1 \N{MINUS SIGN} specificity", labelpad=2)
    axes.set_ylabel("sensitivity", labelpad=2)
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0.0, handlelength=2.2, labelspacing=0.9)
