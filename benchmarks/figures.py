# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The benchmarks' plots: bars with the ratios written on them, and curves over a quantity that grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from seq2seq_mri.plots.style import SERIES_COLOURS, SERIES_MARKERS, new_figure, publication_style

__all__ = ["Bar", "BarPanel", "CurvePanel", "bar_figure", "curve_figure"]

GRID_COLOUR = "#E5E5E5"


@dataclass
class Bar:
    """One bar.

    Attributes:
        label: its name.
        parts: lengths by name, laid end to end; a bar without parts has one of the name ``""``.
        note: written at its end.
    """

    label: str
    parts: Mapping[str, float]
    note: str = ""


@dataclass
class BarPanel:
    """Bars side by side.

    Attributes:
        title: what is compared.
        unit: the name of the horizontal axis, with its unit.
        bars: from above to below.
        line: a value to mark, such as a limit.
    """

    title: str
    unit: str
    bars: Sequence[Bar]
    line: float | None = None


@dataclass
class CurvePanel:
    """Curves over one quantity.

    Attributes:
        title: what grows.
        x_label: the horizontal axis, with its unit.
        curves: name → (x, seconds) of each point.
    """

    title: str
    x_label: str
    curves: Mapping[str, Sequence[tuple[float, float]]]


@publication_style()
def bar_figure(title: str, panels: Sequence[BarPanel]) -> Figure:
    """Draw panels of horizontal bars below each other.

    Args:
        title: of the figure: what ran on which machine.
        panels: from above to below.
    """
    bar, gap, head = 0.22, 0.8, 0.25
    height = head + sum(gap + bar * len(panel.bars) for panel in panels)
    width = 7.0
    figure = new_figure(width, height)
    figure.text(0.02, 1 - 0.06 / height, title, va="top", fontsize=9)
    top = height - head
    for panel in panels:
        size = bar * len(panel.bars)
        top -= 0.3
        axes = figure.add_axes((0.22, (top - size) / height, 0.54, size / height))
        top -= size + gap - 0.3
        _draw_bars(axes, panel)
    return figure


def _draw_bars(axes: Axes, panel: BarPanel) -> None:
    names = list(dict.fromkeys(name for bar in panel.bars for name in bar.parts))
    # More parts than colours: the second time round, a colour is hatched.
    looks: dict[str, dict[str, Any]] = {
        name: {
            "color": SERIES_COLOURS[index % len(SERIES_COLOURS)],
            "hatch": "" if index < len(SERIES_COLOURS) else "//////",
            "edgecolor": "white",
            "linewidth": 0,
        }
        for index, name in enumerate(names)
    }
    positions = range(len(panel.bars))
    longest = max(sum(bar.parts.values()) for bar in panel.bars)
    for position, bar in zip(positions, panel.bars, strict=True):
        start = 0.0
        for name, length in bar.parts.items():
            axes.barh(position, length, left=start, height=0.7, **looks[name])
            start += length
        if bar.note:
            axes.annotate(
                bar.note,
                (start, position),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=7,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
            )
    for name in names if len(names) > 1 else []:
        axes.barh(0, 0, **looks[name], label=name)
    if len(names) > 1:
        axes.legend(loc="center left", bbox_to_anchor=(1.12, 0.5), handlelength=1, handleheight=1, labelspacing=0.2)
    if panel.line is not None:
        axes.axvline(panel.line, color="black", linewidth=0.7, linestyle=":")
    axes.set_yticks(list(positions), [bar.label for bar in panel.bars])
    axes.set_ylim(len(panel.bars) - 0.4, -0.6)
    axes.set_xlim(0, 1.02 * max(longest, panel.line or 0))
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.set_title(panel.title, loc="left", pad=4)
    axes.set_xlabel(panel.unit, labelpad=2)
    axes.grid(axis="x", color=GRID_COLOUR, linewidth=0.5)
    axes.set_axisbelow(True)


@publication_style()
def curve_figure(title: str, panels: Sequence[CurvePanel]) -> Figure:
    """Draw panels of curves, two in a row, with a common legend; both axes are logarithmic.

    Args:
        title: of the figure: what ran on which machine.
        panels: row by row.
    """
    rows = -(-len(panels) // 2)
    panel, left, below, body, above, head = 2.4, 0.65, 0.5, 1.7, 0.3, 0.45
    width, height = 2 * (left + panel) + 0.15, head + rows * (above + body + below)
    figure = new_figure(width, height)
    figure.text(0.02, 1 - 0.06 / height, title, va="top", fontsize=9)
    for order, content in enumerate(panels):
        row, column = divmod(order, 2)
        x, y = left + column * (left + panel), height - head - (row + 1) * (above + body + below) + below
        axes = figure.add_axes((x / width, y / height, panel / width, body / height))
        for index, (name, points) in enumerate(content.curves.items()):
            axes.plot(
                *zip(*points, strict=True),
                color=SERIES_COLOURS[index % len(SERIES_COLOURS)],
                marker=SERIES_MARKERS[index % len(SERIES_MARKERS)],
                markersize=3,
                linewidth=1.1,
                label=name,
            )
        ticks = sorted({point[0] for points in content.curves.values() for point in points})
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.minorticks_off()
        axes.set_title(content.title, loc="left", pad=4)
        axes.set_xlabel(content.x_label, labelpad=2)
        axes.set_ylabel("seconds", labelpad=2)
        axes.grid(color=GRID_COLOUR, linewidth=0.5)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper left", ncols=len(labels), bbox_to_anchor=(0.01, 1 - 0.2 / height))
    return figure
