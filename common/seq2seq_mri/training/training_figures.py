# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Watching a training: tiles for TensorBoard, and curves over epochs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from monai.config.type_definitions import NdarrayOrTensor

from seq2seq_mri.plots.slices import as_array
from seq2seq_mri.plots.style import MAP_COLOURS, SERIES_COLOURS, new_figure, publication_style

__all__ = ["training_curves", "training_grid"]


def training_grid(
    source: NdarrayOrTensor,
    target: NdarrayOrTensor,
    prediction: NdarrayOrTensor,
    *,
    spatial_dims: int = 2,
    max_rows: int = 4,
    window: tuple[float, float] = (0.0, 1.0),
    error_maximum: float = 0.25,
) -> np.ndarray:
    """Tile source | target | synthesised | absolute error, one row per sample, for ``SummaryWriter.add_image``.

    The middle timepoint, channel (slice of the 2.5D stack) and, in 3D, axial slice are shown in radiological
    orientation; the error is in colour.

    Args:
        source: ``[B, *spatial]``, ``[B, C, *spatial]`` or ``[B, T, C, *spatial]``, intensities as the network sees
            them.
        target: measured target of the same batch; its T may differ from the source's.
        prediction: synthesised target, of the target's size.
        spatial_dims: 2 or 3.
        max_rows: samples to show at most.
        window: intensities shown as black and white.
        error_maximum: absolute error at the end of the colours, in units of intensity.

    Returns:
        float32 ``[3, H, W]`` in [0, 1].

    Raises:
        ValueError: when the batches differ in number or size in space, or have another number of dimensions.
    """
    batches = {"source": source, "target": target, "prediction": prediction}
    views = {name: _middle_views(batch, name, spatial_dims)[:max_rows] for name, batch in batches.items()}
    for name, view in views.items():
        if view.shape != views["source"].shape or len(batches[name]) != len(source):
            raise ValueError(
                f"The {name} has shape {tuple(batches[name].shape)}, but the source {tuple(source.shape)}; batch and "
                "spatial size must agree."
            )
    low, high = window
    colours = matplotlib.colormaps[MAP_COLOURS]
    errors = colours(np.clip(abs(views["prediction"] - views["target"]) / error_maximum, 0, 1))[..., :3]
    columns = [np.repeat(np.clip((view - low) / (high - low), 0, 1)[..., None], 3, axis=-1) for view in views.values()]
    line = max(1, views["source"].shape[-1] // 64)
    tiles = np.pad(
        np.stack([*columns, errors], axis=1), ((0, 0), (0, 0), (0, line), (0, line), (0, 0)), constant_values=0.5
    )
    rows, count, height, width, _ = tiles.shape
    image = tiles.transpose(4, 0, 2, 1, 3).reshape(3, rows * height, count * width)
    return np.ascontiguousarray(image[:, :-line, :-line], dtype=np.float32)


def _middle_views(batch: NdarrayOrTensor, name: str, spatial_dims: int) -> np.ndarray:
    """Return the middle axial view of each sample, float32 ``[B, Y, X]``."""
    if spatial_dims not in (2, 3) or not 1 <= batch.ndim - spatial_dims <= 3:
        raise ValueError(
            f"The {name} has shape {tuple(batch.shape)}; with spatial_dims {spatial_dims} (2 or 3) it must be "
            "[B, *spatial], [B, C, *spatial] or [B, T, C, *spatial]."
        )
    while batch.ndim > spatial_dims + 1:  # first the timepoints, then the channels
        batch = batch[:, batch.shape[1] // 2]
    if spatial_dims == 3:
        batch = batch[..., batch.shape[-1] // 2]
    return as_array(batch)[:, ::-1, ::-1].transpose(0, 2, 1)


@publication_style()
def training_curves(
    history: pd.DataFrame | Mapping[str, Sequence[float]] | str | os.PathLike, *, step: str = "epoch"
) -> Figure:
    """Draw losses and metrics over epochs, one panel for the losses and one for each kind of metric.

    Columns go by their names: ``psnr``, ``ssim`` or ``lpips`` in it makes a metric, ``loss`` a loss, and each other
    column has its own panel. Empty values (a metric that is computed only now and then) are bridged.

    Args:
        history: a table, a dictionary of equally long lists, or a CSV file, with a column ``step``.
        step: the column of the horizontal axis.

    Returns:
        The figure; :func:`save_figure` writes it.

    Raises:
        FileNotFoundError: when the CSV file does not exist.
        ValueError: when the column ``step`` is absent, lists differ in length, or there is nothing to draw.
    """
    table = _read_history(history)
    if step not in table.columns:
        raise ValueError(f"The training history has no column '{step}'; its columns are {', '.join(table.columns)}.")
    panels: dict[str, list[str]] = {}
    for column in table.columns:
        if column != step and pd.to_numeric(table[column], errors="coerce").notna().any():
            panels.setdefault(_panel_of(str(column)), []).append(column)
    if not panels:
        raise ValueError(f"The training history has no values beside '{step}'.")

    panel, left, below, body, above = 1.8, 0.55, 0.42, 1.6, 0.4
    across = min(3, len(panels))
    rows = -(-len(panels) // across)
    width, height = across * (left + panel) + 0.12, rows * (above + body + below)
    figure = new_figure(width, height)
    for order, (title, columns) in enumerate(panels.items()):
        row, place = divmod(order, across)
        x, y = left + place * (left + panel), height - (row + 1) * (above + body + below) + below
        axes = figure.add_axes((x / width, y / height, panel / width, body / height))
        for colour, column in enumerate(columns):
            values = pd.to_numeric(table[column], errors="coerce")
            known = values.notna()
            axes.plot(
                table.loc[known, step],
                values[known],
                color=SERIES_COLOURS[colour % len(SERIES_COLOURS)],
                linestyle=("-", "--", ":", "-.")[colour % 4],
                linewidth=1.1,
                marker="o" if known.sum() <= 20 else "",
                markersize=2.5,
                label=str(column).replace("_", " "),
            )
        if title == "Loss" and (table[columns].min(skipna=True) > 0).all() and _spans_decades(table[columns]):
            axes.set_yscale("log")
        else:
            axes.ticklabel_format(axis="y", scilimits=(-3, 4), useMathText=True)
        axes.set_title(title, loc="left", pad=4)
        axes.set_xlabel(step, labelpad=2)
        axes.set_ylabel("PSNR (dB)" if title == "PSNR" else "", labelpad=2)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.grid(color="#E5E5E5", linewidth=0.5)
        axes.set_axisbelow(True)
        if len(columns) > 1:
            axes.legend(handlelength=1.8, borderpad=0.1, labelspacing=0.25)
    return figure


def _read_history(history: pd.DataFrame | Mapping[str, Sequence[float]] | str | os.PathLike) -> pd.DataFrame:
    if isinstance(history, pd.DataFrame):
        return history
    if isinstance(history, Mapping):
        lengths = {name: len(values) for name, values in history.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"The training history's lists differ in length: {lengths}; give one value per step.")
        return pd.DataFrame(dict(history))
    path = Path(history)
    if not path.is_file():
        raise FileNotFoundError(f"There is no training history {path}.")
    return pd.read_csv(path)


def _panel_of(column: str) -> str:
    for kind in ("psnr", "ssim", "lpips"):
        if kind in column.lower():
            return kind.upper()
    return "Loss" if "loss" in column.lower() else column.replace("_", " ")


def _spans_decades(table: pd.DataFrame) -> bool:
    values = table.to_numpy(dtype=float)
    return bool(np.nanmax(values) / np.nanmin(values) > 30)
