# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Means with deviations, and p values, as they stand in a study's tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

__all__ = ["mean_and_deviation", "mean_cell", "p_cell"]


def mean_and_deviation(table: pd.DataFrame, keys: Sequence[str], measures: Sequence[str], counted: str) -> pd.DataFrame:
    """Return for each combination of ``keys`` the number of rows, and mean and sample standard deviation.

    Args:
        table: with the columns ``keys`` and ``measures``.
        keys: columns to group by, in the order of their first occurrence.
        measures: columns to summarise, to ``<measure>_mean`` and ``<measure>_sd``; NaN is left out.
        counted: name of the column with the number of rows.
    """
    groups = table.groupby(list(keys), sort=False)
    summary = groups.size().rename(counted).to_frame()
    for measure in measures:
        summary[f"{measure}_mean"] = groups[measure].mean()
        summary[f"{measure}_sd"] = groups[measure].std()
    return summary.reset_index()


def mean_cell(mean: float, deviation: float, form: str) -> str:
    """Return ``mean ± deviation`` without what is NaN; the mean in the format ``form``, such as ``+.3f``."""
    if math.isnan(mean):
        return "n/a"
    return f"{mean:{form}}" + ("" if math.isnan(deviation) else f" ± {deviation:{form.lstrip('+')}}")


def p_cell(value: float) -> str:
    """Return a p value with three digits."""
    if math.isnan(value):
        return "n/a"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
