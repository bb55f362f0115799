# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The relative signal change of a region along a 4D sequence, and its table ``enhancement.csv``.

The relative enhancement at timepoint t is (S_t - S_0) / S_0, where S_t is the mean signal of the region, and S_0 that
of the first frame: before the contrast agent in a dynamic series, at the lowest b-value in a diffusion series, where
the enhancement is negative and lies above -1. It has no unit, and scaling all timepoints alike does not change it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from seq2seq_mri.evaluation.records import build_records

__all__ = ["ENHANCEMENT_COLUMNS", "enhancement_error", "enhancement_table", "relative_enhancement"]

ENHANCEMENT_COLUMNS = ("subject", "source", "target", "timepoint", "time", "b_value", "real", "synthesised")
"""The columns of ``enhancement.csv``: one row per subject, pair of sequences and timepoint (counted from 1). Time is in
seconds from the first frame and the b-value in s/mm², both empty where they are not known."""

# Below this fraction of the largest signal, the first frame is as good as empty.
_SMALLEST_FIRST_SIGNAL = 1e-3


def relative_enhancement(series: torch.Tensor, region: torch.Tensor) -> np.ndarray:
    """Return the relative enhancement of a region at every timepoint.

    Args:
        series: 4D image ``[T, X, Y, Z]``; 0 is no signal.
        region: mask ``[X, Y, Z]``; voxels other than 0 belong to it.

    Returns:
        float64 ``[T]``, 0 at the first timepoint; all NaN when the region has (nearly) no signal there.
    """
    signal = series[:, region != 0].mean(dim=1, dtype=torch.float64).numpy(force=True)
    if signal[0] <= _SMALLEST_FIRST_SIGNAL * np.abs(signal).max():
        return np.full(len(signal), np.nan)
    return signal / signal[0] - 1.0


def enhancement_table(
    curves: Iterable[Mapping[str, Any]],
    sequences: Iterable[str],
    times: Mapping[str, Sequence[float]] | None = None,
    b_values: Mapping[str, Sequence[float]] | None = None,
) -> pd.DataFrame:
    """Return the table of ``enhancement.csv``, sorted by subject, source, target and timepoint.

    Args:
        curves: mappings with the keys ``subject``, ``source``, ``target``, ``real`` and ``synthesised``, the last two
            the target's relative enhancement at each of its timepoints.
        sequences: the sequence table, which gives the order of sources and targets.
        times: for some sequences the time of each timepoint in seconds from the first.
        b_values: for some sequences the b-value of each timepoint in s/mm².
    """
    rows = []
    for curve in curves:
        unknown = [np.nan] * len(curve["real"])
        columns = {
            "timepoint": range(1, len(unknown) + 1),
            "time": (times or {}).get(curve["target"], unknown),
            "b_value": (b_values or {}).get(curve["target"], unknown),
            "real": curve["real"],
            "synthesised": curve["synthesised"],
        }
        names = {name: curve[name] for name in ENHANCEMENT_COLUMNS[:3]}
        rows += [names | dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    table = build_records(rows, ENHANCEMENT_COLUMNS[:3], ENHANCEMENT_COLUMNS[3:], sequences)
    return table.astype({"timepoint": "int64"})


def enhancement_error(table: pd.DataFrame) -> pd.Series:
    """Return for each target the mean absolute error of the relative enhancement (no unit).

    The mean is over subjects, sources, and timepoints after the first, at which every curve is 0; curves that are NaN
    do not count.
    """
    later = table[table["timepoint"] > 1]
    error = (later["synthesised"] - later["real"]).abs()
    return error.groupby(later["target"], sort=False).mean().rename("mean absolute error")
