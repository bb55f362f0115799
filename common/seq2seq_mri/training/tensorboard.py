# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The TensorBoard writer of a training's first process, and the pictures of translations that are added to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import torch
from ignite.engine import Events
from torch.utils.tensorboard import SummaryWriter

from seq2seq_mri.plots.slices import as_array
from seq2seq_mri.plots.style import MAP_COLOURS
from seq2seq_mri.training.distributed import rank
from seq2seq_mri.training.trainer import Seq2SeqTrainer

__all__ = ["SilentSummaryWriter", "TranslationImageHandler", "summary_writer", "training_grid"]

# The absolute error at the end of the colours, in units of intensity.
_LARGEST_ERROR = 0.25


class SilentSummaryWriter:
    """Takes the calls of a ``SummaryWriter`` and writes nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *arguments, **options: None


def summary_writer(log_dir: str | Path) -> SummaryWriter | SilentSummaryWriter:
    """Return a ``SummaryWriter`` into ``log_dir`` in process 0, and one that writes nothing in the others.

    As in ``history.csv``, the losses are those of process 0, and the validation's metrics are averages over all.
    """
    return SummaryWriter(log_dir=str(log_dir)) if rank() == 0 else SilentSummaryWriter()


class TranslationImageHandler:
    """Adds a grid of at most four translations to TensorBoard at the end of an epoch, see :func:`training_grid`.

    Args:
        summary_writer: where to add it.
        interval: epochs between two grids.
    """

    def __init__(self, summary_writer: SummaryWriter | SilentSummaryWriter, interval: int = 1) -> None:
        self.summary_writer = summary_writer
        self.interval = interval

    def attach(self, engine: Seq2SeqTrainer) -> None:
        """Draw the last iteration of every ``interval``-th epoch."""
        engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), self)

    def __call__(self, engine: Seq2SeqTrainer) -> None:
        output, image = engine.state.output["translation"], engine.state.output["image"]
        if not output.translations:
            return
        group, shown = output.translations[0], slice(0, 4)
        subject, source = group.subject[shown], group.source[shown]
        # A sequence of two timepoints may stand beside one of six: the middle one of as many as all have is shown.
        sources = [engine.step.view(image, subject[k : k + 1], source[k : k + 1]) for k in range(len(subject))]
        timepoints = min(view.shape[1] for view in sources)
        grid = training_grid(
            torch.cat([view[:, :timepoints] for view in sources]),
            engine.step.view(image, subject, group.target[shown]),
            group.prediction[shown],
        )
        self.summary_writer.add_image("source | target | synthesised | error", grid, engine.state.epoch)


def training_grid(source: torch.Tensor, target: torch.Tensor, prediction: torch.Tensor) -> np.ndarray:
    """Tile source | target | synthesised | absolute error in colour, one row per sample, for ``add_image``.

    The middle timepoint, channel (slice of the 2.5D stack) and, in 3D, axial slice are shown in radiological
    orientation, from 0, black, to 1, white.

    Args:
        source: ``[B, T, C, *spatial]``, intensities as the network sees them.
        target: measured target; its T may differ from the source's.
        prediction: synthesised target.

    Returns:
        float32 ``[3, H, W]`` in [0, 1].
    """
    views = [_middle_views(batch) for batch in (source, target, prediction)]
    errors = matplotlib.colormaps[MAP_COLOURS](np.clip(abs(views[2] - views[1]) / _LARGEST_ERROR, 0, 1))[..., :3]
    columns = [np.repeat(np.clip(view, 0, 1)[..., None], 3, axis=-1) for view in views]
    line = max(1, views[0].shape[-1] // 64)
    border = ((0, 0), (0, 0), (0, line), (0, line), (0, 0))
    tiles = np.pad(np.stack([*columns, errors], axis=1), border, constant_values=0.5)
    rows, count, height, width, _ = tiles.shape
    image = tiles.transpose(4, 0, 2, 1, 3).reshape(3, rows * height, count * width)
    return np.ascontiguousarray(image[:, :-line, :-line], dtype=np.float32)


def _middle_views(batch: torch.Tensor) -> np.ndarray:
    """Return the middle axial view of each sample, float32 ``[B, Y, X]``."""
    batch = batch[:, batch.shape[1] // 2]
    batch = batch[:, batch.shape[1] // 2]
    if batch.ndim == 4:
        batch = batch[..., batch.shape[-1] // 2]
    return as_array(batch)[:, ::-1, ::-1].transpose(0, 2, 1)
