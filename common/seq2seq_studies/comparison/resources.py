# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Counting multiply-adds, measuring peak memory, and calling a function in a new process."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["PeakMemory", "count_gmacs", "in_fresh_process"]

Result = TypeVar("Result")


def count_gmacs(run: Callable[[], object]) -> float:
    """Return the 10⁹ multiply-adds of all convolutions and matrix products of ``run``, backward passes included."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 2e9


def in_fresh_process(function: Callable[..., Result], *arguments: object) -> Result:
    """Call a function of a module in a new Python process, so that nothing is left of earlier measurements."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        return executor.submit(function, *arguments).result()


class PeakMemory:
    """The most memory that a block takes beyond what the process held before it, as a context manager.

    On a CPU it is the resident memory of the whole process, as Linux counts it: Python objects, results and the
    workspaces of libraries included. On a GPU it is what torch's allocator handed out.

    Attributes:
        peak: most bytes held within the block; None on a CPU where the system is not Linux.
        over: bytes by which that exceeds what was held when the block began; None likewise.
    """

    peak: int | None = None
    over: int | None = None

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._before = 0

    def __enter__(self) -> PeakMemory:
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
            self._before = torch.cuda.memory_allocated(self.device)
        elif sys.platform == "linux":
            # What was freed but not given back would else be taken again without being seen.
            getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)(0)
            # proc(5): writing 5 sets the peak to what is resident now.
            Path("/proc/self/clear_refs").write_text("5")
            self._before = _resident("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        if self.device.type == "cuda":
            self.peak = torch.cuda.max_memory_allocated(self.device)
        elif sys.platform == "linux":
            self.peak = _resident("VmHWM")
        if self.peak is not None:
            self.over = self.peak - self._before


def _resident(entry: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{entry}:")).split()[1]) * 1024
