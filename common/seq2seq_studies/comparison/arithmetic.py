# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Counting the arithmetic of a computation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.utils.flop_counter import FlopCounterMode

__all__ = ["count_gmacs"]


def count_gmacs(run: Callable[[], Any]) -> float:
    """Return the 10⁹ multiply-adds of all convolutions and matrix products of ``run``, backward passes included."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 2e9
