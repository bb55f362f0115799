# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""How many processes load data."""

from __future__ import annotations

import os

__all__ = ["default_workers"]

#: Four give some 2,000 slices per second, more than any step takes.
MOST_WORKERS = 4


def default_workers() -> int:
    """Return the processor cores that this process may use, at most four, divided among the processes of the machine.

    ``torchrun`` says in ``LOCAL_WORLD_SIZE`` how many processes train on this machine.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(MOST_WORKERS, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
