# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Counted arithmetic."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from seq2seq_studies.comparison.arithmetic import count_gmacs


def test_multiply_adds_of_a_convolution() -> None:
    layer = nn.Conv2d(3, 5, 3, padding=1)
    assert count_gmacs(lambda: layer(torch.rand(2, 3, 8, 8))) == pytest.approx(2 * 64 * 3 * 5 * 9 / 1e9)
