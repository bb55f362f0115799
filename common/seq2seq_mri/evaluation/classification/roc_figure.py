# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The figure of ROC curves of classifiers with different inputs, drawn from the table ``predictions.csv``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from seq2seq_mri.evaluation.classification.delong import delong_interval
from seq2seq_mri.plots.style import SERIES_COLOURS, new_figure, publication_style

__all__ = ["curve_style", "roc_curves", "roc_panel"]

_LINES = ("-", "--", "-.", ":")
_CHARACTER = 0.058  # inches that a character of a 7-point label takes


@publication_style()
def roc_curves(predictions: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw one ROC curve per input combination over all tested subjects, with the AUC and DeLong's 95 % interval.

    Args:
        predictions: the table of ``predictions.csv``; its testing section, which has at least two cases of each label,
            is drawn.
        title: of the figure.
    """
    testing = predictions[predictions["section"] == "testing"]
    cases = dict(iter(testing.groupby("inputs", sort=False)))
    texts = []
    for name, rows in cases.items():
        area = delong_interval(rows["label"], rows["probability"])
        texts.append(f"{name}\nAUC {area.auc:.3f} (95% CI {area.low:.3f} to {area.high:.3f})")
    first = next(iter(cases.values()))["label"]
    figure, axes = roc_panel(texts, title, f"{first.sum()} positive, {(first == 0).sum()} negative")
    for place, (rows, text) in enumerate(zip(cases.values(), texts, strict=True)):
        false_positive, true_positive, _ = roc_curve(rows["label"], rows["probability"], drop_intermediate=False)
        axes.plot(false_positive, true_positive, label=text, **curve_style(place))
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0.0, handlelength=2.2, labelspacing=0.9)
    return figure


def curve_style(place: int) -> dict[str, Any]:
    """Return colour and line of the curve at this place of the legend."""
    line = {"color": SERIES_COLOURS[place % len(SERIES_COLOURS)], "linestyle": _LINES[place % len(_LINES)]}
    return {**line, "linewidth": 1.4}


def roc_panel(texts: Sequence[str], title: str, subtitle: str) -> tuple[Figure, Axes]:
    """Return a square panel with the diagonal of chance, and with room at its right for a legend of these texts."""
    legend = max(len(line) for text in texts for line in text.splitlines()) * _CHARACTER + 0.5
    left, below, side, above = 0.5, 0.45, 2.8, 0.5 if title else 0.34
    width, height = left + side + 0.1 + legend, below + side + above
    figure = new_figure(width, height)
    axes = figure.add_axes((left / width, below / height, side / width, side / height))
    axes.set_title(f"{title}\n{subtitle}" if title else subtitle, loc="left", pad=5, linespacing=1.3)
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.7, linestyle=(0, (2, 2)), zorder=0)
    ticks = np.linspace(0.0, 1.0, 6)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xticks=ticks, yticks=ticks)
    axes.grid(color="#EBEBEB", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.set_xlabel("1 \N{MINUS SIGN} specificity", labelpad=2)
    axes.set_ylabel("sensitivity", labelpad=2)
    return figure, axes
