# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Means with deviations, and p values, as they stand in the cells of a study's tables."""

from __future__ import annotations

import math

__all__ = ["mean_cell", "p_cell"]


def mean_cell(mean: float, deviation: float, digits: int) -> str:
    """Return ``mean ± deviation``; without what is NaN."""
    if math.isnan(mean):
        return "n/a"
    return f"{mean:.{digits}f}" if math.isnan(deviation) else f"{mean:.{digits}f} ± {deviation:.{digits}f}"


def p_cell(value: float) -> str:
    """Return a p value with three digits."""
    if math.isnan(value):
        return "n/a"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
