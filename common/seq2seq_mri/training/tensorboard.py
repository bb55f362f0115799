# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""TensorBoard events of a training that may run in several processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from seq2seq_mri.training.distributed import rank

__all__ = ["SilentSummaryWriter", "summary_writer"]


class SilentSummaryWriter:
    """Has the methods of a ``SummaryWriter`` and writes nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("_") or not callable(getattr(SummaryWriter, name, None)):
            raise AttributeError(f"a SummaryWriter has no method '{name}'")
        return _ignore


def summary_writer(log_dir: str | Path) -> Any:
    """Return a ``SummaryWriter`` into ``log_dir`` in process 0, and one that writes nothing in the others.

    As in ``history.csv``, the losses are those of process 0, and the validation's metrics are averages over all.
    """
    return SummaryWriter(log_dir=str(log_dir)) if rank() == 0 else SilentSummaryWriter()


def _ignore(*arguments: Any, **options: Any) -> None:
    return None
