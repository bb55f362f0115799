# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The course of a region's signal along a 4D sequence: measured, and as synthesised from each source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator
from numpy.typing import ArrayLike

from seq2seq_mri.plots.frames import FrameAxis, frame_axis
from seq2seq_mri.plots.slices import check_names
from seq2seq_mri.plots.style import (
    SERIES_COLOURS,
    SERIES_MARKERS,
    TEXT_COLOUR,
    display_name,
    new_figure,
    publication_style,
)

__all__ = ["enhancement_curves"]

# Black is the measured curve's; grey and brown take its place, so that eight sequences have a colour each.
_SOURCE_COLOURS = (*SERIES_COLOURS[:6], "#8C8C8C", "#8B5A2B")
_CHARACTER = 0.062  # inches that a character of a 7-point label takes, with the space around it


@publication_style()
def enhancement_curves(
    real: ArrayLike,
    synthesised: Mapping[str, ArrayLike],
    target: str,
    *,
    axis: FrameAxis | None = None,
    sequences: Sequence[str] | None = None,
    region: str = "lesion",
    subject: str = "",
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """Draw the relative enhancement of a region over time, b-value or timepoint.

    The measured curve is a thick black line, each source a thin one with its own colour and marker; a band spans the
    range of the sources.

    Args:
        real: relative enhancement of the measured image at each of T timepoints, see
            :func:`relative_enhancement`.
        synthesised: source → that of the image synthesised from it; one that is NaN is not drawn, and named.
        target: name of the sequence.
        axis: of its timepoints; default: their number.
        sequences: all sequences in one order, by which a source has the same colour in every figure; default: the
            order of ``synthesised``.
        region: what the curve is measured in, for the title.
        subject: name for the title.
        labels: how to write a sequence's name.

    Returns:
        The figure; :func:`save_figure` writes it.

    Raises:
        ValueError: when there is no source, one is not in ``sequences``, or the curves and the axis differ in length.
    """
    measured = np.asarray(real, dtype=float)
    curves = {source: np.asarray(curve, dtype=float) for source, curve in synthesised.items()}
    if not curves:
        raise ValueError(f"There is no synthesised {target} to draw a curve of.")
    order = list(sequences if sequences is not None else curves)
    check_names(curves, order, "the synthesised curves")
    axis = axis or frame_axis(len(measured))
    for name, curve in {"measured": measured, **curves}.items():
        if curve.shape != (len(axis.values),):
            raise ValueError(f"The curve '{name}' has shape {curve.shape}; there are {len(axis.values)} timepoints.")
    drawn = {source: curve for source, curve in curves.items() if np.isfinite(curve).all()}

    names = {
        source: f"from {display_name(source, labels)}" + ("" if source in drawn else ", no signal") for source in curves
    }
    legend = max(map(len, [*names.values(), "measured"])) * _CHARACTER + 0.5
    left, panel, below, body = 0.62, 3.6, 0.48, max(2.2, 0.17 * (len(curves) + 2))
    title = f"{f'{subject}, ' if subject else ''}{region}\n{display_name(target, labels)}"
    width, height = left + panel + legend, below + body + 0.5
    figure = new_figure(width, height)
    axes = figure.add_axes((left / width, below / height, panel / width, body / height))
    axes.axhline(0.0, color="#BBBBBB", linewidth=0.6, zorder=0)
    if len(drawn) > 1:
        values = np.stack(list(drawn.values()))
        axes.fill_between(axis.values, values.min(axis=0), values.max(axis=0), color="#E9E9E9", linewidth=0, zorder=0.5)
    for source, curve in curves.items():
        place = order.index(source)
        axes.plot(
            axis.values if source in drawn else [],
            curve if source in drawn else [],
            color=_SOURCE_COLOURS[place % len(_SOURCE_COLOURS)],
            marker=SERIES_MARKERS[place % len(SERIES_MARKERS)],
            markersize=4,
            markeredgewidth=0.4,
            markeredgecolor="white",
            linewidth=1.0,
            label=names[source],
        )
    axes.plot(axis.values, measured, color=TEXT_COLOUR, linewidth=2.2, marker="o", markersize=4.5, label="measured")
    axes.set_title(title, loc="left", pad=5, linespacing=1.3)
    axes.set_xlabel(axis.label, labelpad=2)
    axes.set_ylabel(
        "relative signal change $(S_b - S_0)/S_0$"
        if axis.kind == "b_value"
        else "relative enhancement $(S_t - S_0)/S_0$",
        labelpad=3,
    )
    axes.xaxis.set_major_locator(FixedLocator(list(axis.values)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    axes.margins(x=0.03, y=0.08)
    handles, texts = axes.get_legend_handles_labels()
    axes.legend(
        [handles[-1], *handles[:-1]],
        [texts[-1], *texts[:-1]],
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        borderaxespad=0.0,
        handlelength=1.8,
        labelspacing=0.5,
    )
    return figure
