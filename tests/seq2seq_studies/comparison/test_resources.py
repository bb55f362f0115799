# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Counted arithmetic, memory of a block, and processes of their own."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from seq2seq_studies.comparison.resources import PeakMemory, count_gmacs, in_fresh_process


def test_multiply_adds_of_a_convolution() -> None:
    layer = nn.Conv2d(3, 5, 3, padding=1)
    assert count_gmacs(lambda: layer(torch.rand(2, 3, 8, 8))) == pytest.approx(2 * 64 * 3 * 5 * 9 / 1e9)


def test_peak_memory_sees_what_was_freed() -> None:
    with PeakMemory(torch.device("cpu")) as memory:
        torch.ones(2**24).sum()  # 64 MiB
    if memory.over is None:
        pytest.skip("peak memory is read on Linux")
    assert 60 * 2**20 < memory.over < 100 * 2**20


def test_a_fresh_process_returns_the_result_and_raises_the_error() -> None:
    assert in_fresh_process(math.sqrt, 4.0) == 2.0
    with pytest.raises(ValueError, match=r"math domain error|nonnegative"):
        in_fresh_process(math.sqrt, -1.0)
