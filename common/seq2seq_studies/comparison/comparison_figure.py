# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Generators side by side: their image quality by subject, and the same slice from each of them (Table 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seq2seq_mri.plots.panels import image_grid, show_absent, show_image, write_row_label
from seq2seq_mri.plots.slices import foreground_box
from seq2seq_mri.plots.style import (
    SERIES_COLOURS,
    SERIES_MARKERS,
    TEXT_COLOUR,
    new_figure,
    publication_style,
)
from seq2seq_studies.comparison.method_evaluation import SETTINGS
from seq2seq_studies.comparison.methods import title
from seq2seq_studies.comparison.quality_comparison import quality_by_subject

__all__ = ["quality_comparison", "slice_comparison"]

_TITLES = {"psnr": "PSNR (dB)", "ssim": "SSIM", "lpips": "LPIPS, lower is better"}


@publication_style()
def quality_comparison(scores: pd.DataFrame) -> Figure:
    """Draw PSNR, SSIM and LPIPS of the whole volume: a row for each method and budget, a point for each subject.

    Each setting has its own row of plots; measures that no row of ``scores.csv`` has are left out.
    """
    by_subject = quality_by_subject(scores)
    measures = [measure for measure in _TITLES if by_subject[measure].notna().any()]
    shown = [setting for setting in SETTINGS if (by_subject["setting"] == setting).any()]
    runs = list(dict.fromkeys(zip(by_subject["method"], by_subject["budget"], strict=True)))
    budgets = list(dict.fromkeys(budget for _, budget in runs))
    names = [
        title(method) + (f", {budget}" if len(budgets) > 2 and budget != budgets[0] else "") for method, budget in runs
    ]
    left, width, row = 2.15, 1.75, 0.19 * len(runs) + 0.1
    size = left + (width + 0.15) * len(measures), (row + 0.75) * len(shown)
    figure = new_figure(*size)
    for line, setting in enumerate(shown):
        for column, measure in enumerate(measures):
            bottom = size[1] - (row + 0.75) * (line + 1) + 0.45
            box = (left + column * (width + 0.15)) / size[0], bottom / size[1], width / size[0], row / size[1]
            axes = figure.add_axes(box)
            part = by_subject[by_subject["setting"] == setting]
            _draw_quality(axes, part, measure, runs)
            axes.set_yticks(range(len(runs)), names if column == 0 else [""] * len(runs))
            axes.set_xlabel(_TITLES[measure], labelpad=2)
            if column == 0:
                axes.set_title(SETTINGS[setting].capitalize(), loc="left", pad=4)
    return figure


def _draw_quality(axes: Axes, by_subject: pd.DataFrame, measure: str, runs: Sequence[tuple[str, str]]) -> None:
    methods = list(dict.fromkeys(method for method, _ in runs))
    for place, (method, budget) in enumerate(runs):
        chosen = (by_subject["method"] == method) & (by_subject["budget"] == budget)
        values = by_subject.loc[chosen, measure].to_numpy(dtype=np.float64)
        values = np.sort(values[np.isfinite(values)])
        if len(values) == 0:
            continue
        colour = SERIES_COLOURS[methods.index(method) % len(SERIES_COLOURS)]
        marker = SERIES_MARKERS[methods.index(method) % len(SERIES_MARKERS)]
        spread = np.linspace(-0.2, 0.2, len(values)) if len(values) > 1 else np.zeros(1)
        axes.plot(values, place + spread, linestyle="", marker=marker, markersize=3, color=colour, alpha=0.6)
        axes.vlines(values.mean(), place - 0.38, place + 0.38, color=TEXT_COLOUR, linewidth=1.2)
    axes.set_ylim(len(runs) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#EBEBEB", linewidth=0.5)
    axes.set_axisbelow(True)


@publication_style()
def slice_comparison(views: Mapping[str, Mapping[str, np.ndarray]], sequences: Sequence[str], heading: str) -> Figure:
    """Draw the same slice from each method: a row for each sequence, the measured image first.

    Args:
        views: method → ``"t1"``, the measured view ``[rows, columns]`` of a sequence, and ``"synthesised_t1"``.
        sequences: names of the rows; where a method has no image, the panel says so.
        heading: of the figure.
    """
    rows = [name for name in sequences if any(f"synthesised_{name}" in view for view in views.values())]
    images = [image for view in views.values() for image in view.values()]
    box = foreground_box(images, 0.02)
    figure, axes = image_grid(len(rows), len(views) + 1, images[0][box], width=0.95)
    for line, name in enumerate(rows):
        measured = next(view[name] for view in views.values() if name in view)
        show_image(axes[line, 0], measured[box])
        write_row_label(axes[line, 0], name)
        for column, view in enumerate(views.values(), start=1):
            if f"synthesised_{name}" in view:
                show_image(axes[line, column], view[f"synthesised_{name}"][box])
            else:
                show_absent(axes[line, column], "not synthesised")
    for panel, name in zip(axes[0], ["measured", *map(title, views)], strict=True):
        panel.set_title(name.replace(" ", "\n", 1), fontsize=7, pad=3)
    figure.suptitle(heading)
    return figure
