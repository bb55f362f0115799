# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The image-quality table ``metrics.csv``, and what to print of it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from seq2seq_mri.evaluation.image_quality.image_quality import QUALITY_COLUMNS
from seq2seq_mri.evaluation.records import build_records, read_records, write_records

__all__ = [
    "METRIC_COLUMNS",
    "format_summary",
    "metrics_table",
    "read_metrics",
    "summarise_pairs",
    "summarise_targets",
    "write_metrics",
]

_MEASURES = (*QUALITY_COLUMNS["whole"], "lpips", *QUALITY_COLUMNS["foreground"], *QUALITY_COLUMNS["central_crop"])
_TEXT_COLUMNS = ("subject", "source", "target")
_NUMBER_COLUMNS = (*_MEASURES, "data_range")

METRIC_COLUMNS = (*_TEXT_COLUMNS, *_NUMBER_COLUMNS)
"""The columns of ``metrics.csv``: one row per subject, source and target sequence."""


def metrics_table(rows: Iterable[Mapping[str, Any]], sequences: Iterable[str]) -> pd.DataFrame:
    """Build the table of ``metrics.csv``.

    Args:
        rows: mappings with exactly the keys ``METRIC_COLUMNS``; ``lpips`` is NaN or None where it was not measured.
        sequences: names of the sequences (or the sequence table), which give the order of sources and targets.

    Returns:
        Table sorted by subject, source, target, whatever the order of ``rows``.

    Raises:
        ValueError: when a row lacks a column, has an unknown sequence, or occurs twice.
    """
    return build_records(rows, _TEXT_COLUMNS, _NUMBER_COLUMNS, sequences)


def write_metrics(path: str | os.PathLike, table: pd.DataFrame, overwrite: bool = False) -> None:
    """Write ``metrics.csv``: at once or not at all, and over an existing file only with ``overwrite``."""
    write_records(path, table[list(METRIC_COLUMNS)], overwrite=overwrite)


def read_metrics(path: str | os.PathLike) -> pd.DataFrame:
    """Read ``metrics.csv``.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it has other columns, or text where numbers belong.
    """
    return read_records(path, _TEXT_COLUMNS, _NUMBER_COLUMNS)


def summarise_pairs(table: pd.DataFrame) -> pd.DataFrame:
    """Summarise each pair over subjects.

    Returns:
        Table with ``source``, ``target``, ``subjects`` (their number), and for each measure ``<measure>_mean`` and
        ``<measure>_sd`` (sample standard deviation; NaN for one subject), pairs in the order of ``table``.
    """
    return _mean_and_deviation(table, ["source", "target"])


def summarise_targets(table: pd.DataFrame) -> pd.DataFrame:
    """Summarise each target over subjects, after averaging each subject over the sources other than the target.

    Returns:
        Table with ``target``, ``subjects``, and mean and standard deviation as in ``summarise_pairs``.
    """
    synthesised = table[table["source"] != table["target"]]
    per_subject = synthesised.groupby(["subject", "target"], sort=False)[list(_MEASURES)].mean().reset_index()
    return _mean_and_deviation(per_subject, ["target"])


def format_summary(table: pd.DataFrame) -> str:
    """Return the summaries per pair and per target as text to print, with the data range that they hold for.

    Measures that no row has (LPIPS turned off) are left out.
    """
    if table.empty:
        return "No pair was measured."
    data_ranges = ", ".join(f"{value:g}" for value in sorted(table["data_range"].dropna().unique()))
    lines = [f"Mean ± standard deviation over subjects; PSNR in dB; data range {data_ranges}."]
    for summary in (summarise_pairs(table), summarise_targets(table)):
        shown = summary.drop(columns=[column for column in summary if str(column).endswith(("_mean", "_sd"))])
        for measure in _MEASURES:
            if table[measure].notna().any():
                digits = 2 if measure.startswith("psnr") else 4
                pairs = zip(summary[f"{measure}_mean"], summary[f"{measure}_sd"], strict=True)
                shown[measure] = [f"{mean:.{digits}f} ± {deviation:.{digits}f}" for mean, deviation in pairs]
        lines += ["", shown.to_string(index=False)]
    return "\n".join(lines)


def _mean_and_deviation(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    groups = table.groupby(keys, sort=False)
    summary = groups["subject"].nunique().rename("subjects").to_frame()
    for measure in _MEASURES:
        summary[f"{measure}_mean"] = groups[measure].mean()
        summary[f"{measure}_sd"] = groups[measure].std()
    return summary.reset_index()
