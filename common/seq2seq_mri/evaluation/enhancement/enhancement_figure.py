# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The figure of a lesion's signal along a 4D sequence: measured, and as synthesised from each source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator
from numpy.typing import ArrayLike

from seq2seq_mri.plots.frames import FrameAxis, frame_axis
from seq2seq_mri.plots.style import SERIES_COLOURS, SERIES_MARKERS, TEXT_COLOUR, new_figure, publication_style

__all__ = ["enhancement_curves"]

# Black is the measured curve's; grey and brown take its place, so that eight sequences have a colour each.
_SOURCE_COLOURS = (*SERIES_COLOURS[:6], "#8C8C8C", "#8B5A2B")


@publication_style()
def enhancement_curves(
    real: ArrayLike,
    synthesised: Mapping[str, ArrayLike],
    target: str,
    *,
    axis: FrameAxis | None = None,
    sequences: Sequence[str] | None = None,
    subject: str = "",
) -> Figure:
    """Draw the relative enhancement of a lesion over time, b-value or timepoint.

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
        subject: name for the title.
    """
    measured = np.asarray(real, dtype=float)
    curves = {source: np.asarray(curve, dtype=float) for source, curve in synthesised.items()}
    drawn = {source: curve for source, curve in curves.items() if np.isfinite(curve).all()}
    order = list(sequences if sequences is not None else curves)
    axis = axis or frame_axis(len(measured))

    figure = new_figure(5.6, 1.0 + max(2.2, 0.17 * (len(curves) + 2)), layout="constrained")
    axes = figure.add_subplot()
    axes.axhline(0.0, color="#BBBBBB", linewidth=0.6, zorder=0)
    if len(drawn) > 1:
        values = np.stack([*drawn.values()])
        axes.fill_between(axis.values, values.min(axis=0), values.max(axis=0), color="#E9E9E9", linewidth=0, zorder=0.5)
    axes.plot(
        axis.values, measured, color=TEXT_COLOUR, linewidth=2.2, marker="o", markersize=4.5, zorder=3, label="measured"
    )
    for source in curves:
        place = order.index(source)
        axes.plot(
            axis.values if source in drawn else [],
            drawn.get(source, []),
            color=_SOURCE_COLOURS[place % len(_SOURCE_COLOURS)],
            marker=SERIES_MARKERS[place % len(SERIES_MARKERS)],
            markersize=4,
            markeredgewidth=0.4,
            markeredgecolor="white",
            linewidth=1.0,
            label=f"from {source}" + ("" if source in drawn else ", no signal"),
        )
    axes.set_title(f"{f'{subject}, ' if subject else ''}lesion\n{target}", loc="left", pad=5, linespacing=1.3)
    axes.set_xlabel(axis.label, labelpad=2)
    signal = "signal change $(S_b" if axis.kind == "b_value" else "enhancement $(S_t"
    axes.set_ylabel(f"relative {signal} - S_0)/S_0$", labelpad=3)
    axes.xaxis.set_major_locator(FixedLocator(list(axis.values)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    axes.margins(x=0.03, y=0.08)
    figure.legend(loc="outside right upper", handlelength=1.8, labelspacing=0.5)
    return figure
