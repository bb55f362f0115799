# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The figure of PSNR, SSIM and LPIPS: a box for each target, of all subjects and sources."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from seq2seq_mri.plots.style import SERIES_COLOURS, TEXT_COLOUR, new_figure, publication_style

__all__ = ["metrics_boxplot"]

#: Column of the table → title, axis label.
_TITLES = {
    "psnr": ("PSNR, whole volume: higher is better", "PSNR (dB)"),
    "ssim": ("SSIM, whole volume: higher is better", "SSIM"),
    "psnr_central_crop": ("PSNR, central crop: higher is better", "PSNR (dB)"),
    "ssim_central_crop": ("SSIM, central crop: higher is better", "SSIM"),
    "psnr_foreground": ("PSNR, foreground: higher is better", "PSNR (dB)"),
    "ssim_foreground": ("SSIM, foreground: higher is better", "SSIM"),
    "lpips": ("LPIPS: lower is better", "LPIPS"),
}


@publication_style()
def metrics_boxplot(
    metrics: pd.DataFrame, columns: Sequence[str] = ("psnr_foreground", "ssim_foreground", "lpips")
) -> Figure:
    """Draw for each metric one box per target over all subjects and sources.

    A box spans the quartiles with the median as a line; whiskers reach to the last value within 1.5 times its length,
    and values beyond are drawn as circles.

    Args:
        metrics: the evaluation's table with ``subject``, ``source``, ``target``, the metrics, and ``data_range``; rows
            whose source is the target are left out.
        columns: metrics to draw; one without any value (LPIPS that was not computed) is left out.
    """
    table = metrics[metrics["source"] != metrics["target"]].copy()
    # Identical images have an infinite PSNR, which has no place on an axis.
    table[list(columns)] = table[list(columns)].astype(float).replace([np.inf, -np.inf], np.nan)
    shown = [column for column in columns if table[column].notna().any()]
    # In the order of the sources: the first rows of a table lack their own source as target.
    targets = set(table["target"])
    names = [name for name in dict.fromkeys([*table["source"], *table["target"]]) if name in targets]

    # Side by side while that fits a page's width, else one below the other.
    slot = 0.44
    stacked = len(names) * slot * len(shown) > 6.0
    rows, across = (len(shown), 1) if stacked else (1, len(shown))
    panel = (6.8, 2.0) if stacked else (max(1.75, slot * len(names)) + 0.6, 2.45)
    figure = new_figure(across * panel[0], rows * panel[1], ConstrainedLayoutEngine(hspace=0.05))
    for axes, column in zip(figure.subplots(rows, across, squeeze=False).flat, shown, strict=True):
        known = table[table[column].notna()]
        groups = [known.loc[known["target"] == name, column].to_numpy() for name in names]
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
        for place, group in enumerate(groups):
            at_foot = axes.get_xaxis_transform()
            axes.text(place, 0.01, f"n={len(group)}", transform=at_foot, ha="center", fontsize=6, color="#666666")
        axes.set_xlim(-0.6, len(names) - 0.4)
        axes.set_xticks(range(len(names)), names, fontsize=8)
        axes.tick_params(axis="x", length=0)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
        axes.grid(axis="y", color="#E5E5E5", linewidth=0.5)
        axes.set_axisbelow(True)
        axes.margins(y=0.12)
        title, label = _TITLES[column]
        if column.startswith("psnr"):  # a PSNR means nothing without the range that it refers to
            low, high = table["data_range"].min(), table["data_range"].max()
            label += f", data range {low:.3g}" + (f" to {high:.3g}" if high > low else "")
        axes.set_title(title, loc="left", pad=5)
        axes.set_ylabel(label, labelpad=2)
    return figure
