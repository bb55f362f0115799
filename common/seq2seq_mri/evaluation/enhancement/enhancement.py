# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""How the signal of a region changes along a 4D sequence, measured against synthesised: ``enhancement.csv``.

The relative enhancement at timepoint t is (S_t - S_0) / S_0, where S_t is the mean signal of the region, and S_0 that
of the first frame: before the contrast agent in a dynamic series, at the lowest b-value in a diffusion series, where
it is negative and lies above -1. It has no unit, and a common scale of all timepoints leaves it as it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike

from seq2seq_mri.evaluation.image_quality.volume_pair import as_array
from seq2seq_mri.evaluation.records import read_records, write_records
from seq2seq_mri.sequences import sequence_index

__all__ = [
    "ENHANCEMENT_COLUMNS",
    "enhancement_error",
    "enhancement_table",
    "read_enhancement",
    "relative_enhancement",
    "write_enhancement",
]

_TEXT_COLUMNS = ("subject", "source", "target")

ENHANCEMENT_COLUMNS = (*_TEXT_COLUMNS, "timepoint", "time", "b_value", "real", "synthesised")
"""The columns of ``enhancement.csv``: one row per subject, pair of sequences and timepoint (counted from 1). Time is in
seconds from the first frame and the b-value in s/mm², both empty where they are not known."""

# Below this fraction of the largest signal, the first frame is as good as empty.
_SMALLEST_FIRST_SIGNAL = 1e-3


def relative_enhancement(series: ArrayLike | torch.Tensor, region: ArrayLike | torch.Tensor) -> np.ndarray:
    """Return the relative enhancement of a region at every timepoint.

    Args:
        series: 4D image ``[T, X, Y, Z]``; 0 is no signal.
        region: mask ``[X, Y, Z]``; voxels other than 0 belong to it.

    Returns:
        float64 ``[T]``, 0 at the first timepoint; all NaN when the region has (nearly) no signal there.

    Raises:
        ValueError: when the shapes do not fit, or the region is empty.
    """
    images, inside = as_array(series), as_array(region) != 0
    if images.ndim != 4 or images.shape[1:] != inside.shape:
        raise ValueError(
            f"The series has shape {images.shape} and the region {inside.shape}; give [T, X, Y, Z] and [X, Y, Z]."
        )
    if not inside.any():
        raise ValueError("The region is empty, so it has no signal to follow.")
    signal = images[:, inside].mean(axis=1, dtype=np.float64)
    if signal[0] <= _SMALLEST_FIRST_SIGNAL * np.abs(signal).max():
        return np.full(len(signal), np.nan)
    return signal / signal[0] - 1.0


def enhancement_table(
    curves: Iterable[Mapping[str, Any]],
    sequences: Mapping[str, int],
    times: Mapping[str, Sequence[float]] | None = None,
    b_values: Mapping[str, Sequence[float]] | None = None,
) -> pd.DataFrame:
    """Build the table of ``enhancement.csv``.

    Args:
        curves: mappings with the keys ``subject``, ``source``, ``target``, ``real`` and ``synthesised``, the last two
            the target's relative enhancement at each of its timepoints.
        sequences: the sequence table, which gives the order of sources and targets.
        times: for some sequences the time of each timepoint in seconds from the first.
        b_values: for some sequences the b-value of each timepoint in s/mm².

    Returns:
        Table with ``ENHANCEMENT_COLUMNS``, sorted by subject, source, target and timepoint.

    Raises:
        ValueError: when a sequence is unknown, a pair of a subject occurs twice, or a curve, or the times or b-values
            of its target, have another number of timepoints than the sequence table says.
    """
    keyed: dict[tuple, Mapping[str, Any]] = {}
    for curve in curves:
        subject, source, target = (str(curve[column]) for column in _TEXT_COLUMNS)
        key = (subject, sequence_index(sequences, source), sequence_index(sequences, target))
        if key in keyed:
            raise ValueError(f"Subject '{subject}': {source} to {target} was measured twice.")
        keyed[key] = curve
    rows = []
    for key in sorted(keyed):
        curve = keyed[key]
        target = str(curve["target"])
        unknown = [np.nan] * sequences[target]
        columns = {
            "time": (times or {}).get(target, unknown),
            "b_value": (b_values or {}).get(target, unknown),
            "real": curve["real"],
            "synthesised": curve["synthesised"],
        }
        for column, values in columns.items():
            if len(values) != sequences[target]:
                raise ValueError(
                    f"Subject '{key[0]}', {target}: '{column}' has {len(values)} values for {sequences[target]} "
                    "timepoints."
                )
        names = [str(curve[column]) for column in _TEXT_COLUMNS]
        rows += [
            (*names, timepoint, *values)
            for timepoint, values in enumerate(zip(*columns.values(), strict=True), start=1)
        ]
    numbers = dict.fromkeys(ENHANCEMENT_COLUMNS[4:], "float64")
    return pd.DataFrame(rows, columns=list(ENHANCEMENT_COLUMNS)).astype({"timepoint": "int64", **numbers})


def enhancement_error(table: pd.DataFrame) -> pd.Series:
    """Return for each target the mean absolute error of the relative enhancement (no unit).

    The mean is over subjects, sources, and timepoints after the first, at which every curve is 0; curves that are NaN
    do not count.
    """
    later = table[table["timepoint"] > 1]
    error = (later["synthesised"] - later["real"]).abs()
    return error.groupby(later["target"], sort=False).mean().rename("mean absolute error")


def write_enhancement(path: str | os.PathLike, table: pd.DataFrame, overwrite: bool = False) -> None:
    """Write ``enhancement.csv``: at once or not at all, and over an existing file only with ``overwrite``."""
    write_records(path, table[list(ENHANCEMENT_COLUMNS)], overwrite=overwrite)


def read_enhancement(path: str | os.PathLike) -> pd.DataFrame:
    """Read ``enhancement.csv``.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it has other columns, or text where numbers belong.
    """
    return read_records(path, _TEXT_COLUMNS, ENHANCEMENT_COLUMNS[3:]).astype({"timepoint": "int64"})
