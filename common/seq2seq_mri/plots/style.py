# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Colours, fonts and files of all figures, which are drawn without a display, pyplot or the user's own settings."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import matplotlib.style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import LayoutEngine
from matplotlib.patheffects import withStroke

from seq2seq_mri.files import atomic_path

__all__ = [
    "ABSENT_COLOUR",
    "ANATOMY_COLOURS",
    "DIVERGING_COLOURS",
    "MAP_COLOURS",
    "OUTLINE",
    "SERIES_COLOURS",
    "SERIES_MARKERS",
    "TEXT_COLOUR",
    "display_name",
    "new_figure",
    "publication_style",
    "save_figure",
]

#: Colour map of measured and synthesised images.
ANATOMY_COLOURS = "gray"
#: Colour map of non-negative maps (error, deviation, M_d): brightness alone carries the order.
MAP_COLOURS = "inferno"
#: Colour map of signed values; blue and red stay apart in all common colour-vision deficiencies.
DIVERGING_COLOURS = "RdBu"
#: Okabe and Ito's palette without its yellow, which is hard to see on white.
SERIES_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
#: A second code beside the colour, for more series than colours and for grey prints.
SERIES_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
TEXT_COLOUR = "#222222"
ABSENT_COLOUR = "#D9D9D9"
#: Keeps white text legible on any image.
OUTLINE = (withStroke(linewidth=1.5, foreground="black"),)

_SETTINGS: dict[str, object] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so a figure looks the same everywhere
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "figure.titlesize": 9,
    "figure.labelsize": 6.5,  # notes below the panels
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": TEXT_COLOUR,
    "axes.labelcolor": TEXT_COLOUR,
    "text.color": TEXT_COLOUR,
    "xtick.color": TEXT_COLOUR,
    "ytick.color": TEXT_COLOUR,
    "hatch.linewidth": 0.5,
    "legend.frameon": False,
    "savefig.dpi": 200,
    "savefig.bbox": "tight",
    "savefig.pad_inches": 0.08,
    "pdf.fonttype": 42,  # journals ask for embedded TrueType fonts
    "svg.hashsalt": "seq2seq_mri",  # without a salt, every SVG gets random element names
}

# Without these, a file of the format carries the time of writing, and two equal figures differ.
_METADATA: dict[str, dict[str, None]] = {".png": {}, ".pdf": {"CreationDate": None}, ".svg": {"Date": None}}


@contextmanager
def publication_style() -> Iterator[None]:
    """Draw in the project's style; the settings before are restored afterwards. Also usable as a decorator."""
    with matplotlib.style.context(["default", _SETTINGS]):
        yield


def new_figure(width: float, height: float, layout: LayoutEngine | Literal["constrained"] | None = None) -> Figure:
    """Return an empty white figure of ``width`` × ``height`` inches on an Agg canvas, with a layout of matplotlib's."""
    figure = Figure(figsize=(width, height), facecolor="white", layout=layout)
    FigureCanvasAgg(figure)
    return figure


def display_name(name: str, labels: Mapping[str, str] | None = None) -> str:
    """Return how ``name`` is written in a figure: its entry in ``labels``, else the name itself."""
    return (labels or {}).get(name, name)


@publication_style()
def save_figure(figure: Figure, path: str | os.PathLike, *, overwrite: bool = False) -> Path:
    """Write ``figure``, cut to what is drawn in it, and return the path; equal figures give equal bytes.

    Args:
        figure: a figure of this package.
        path: the file to write, a ``.png``, ``.pdf`` or ``.svg``. Missing folders are made.
        overwrite: whether an existing file may be replaced.

    Raises:
        ValueError: when the ending is none of these formats.
        FileExistsError: when the file exists and ``overwrite`` is false.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in _METADATA:
        raise ValueError(f"Figures cannot be written as '{path.suffix}' ({path}); use {', '.join(_METADATA)}.")
    with atomic_path(path, overwrite=overwrite) as temporary:
        figure.savefig(temporary, format=suffix[1:], metadata=_METADATA[suffix])
    return path
