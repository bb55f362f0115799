# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The image-quality table ``metrics.csv``, and its summary over subjects as text."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from seq2seq_mri.evaluation.image_quality.image_quality import QUALITY_COLUMNS
from seq2seq_mri.evaluation.records import build_records, read_records

__all__ = ["METRIC_COLUMNS", "format_summary", "metrics_table", "read_metrics"]

_MEASURES = (*QUALITY_COLUMNS["whole"], "lpips", *QUALITY_COLUMNS["foreground"], *QUALITY_COLUMNS["central_crop"])
_TEXT_COLUMNS = ("subject", "source", "target")
_NUMBER_COLUMNS = (*_MEASURES, "data_range")

METRIC_COLUMNS = (*_TEXT_COLUMNS, *_NUMBER_COLUMNS)
"""The columns of ``metrics.csv``: one row per subject, source and target sequence."""


def metrics_table(rows: Iterable[Mapping[str, Any]], sequences: Iterable[str]) -> pd.DataFrame:
    """Return the table of ``metrics.csv``, sorted by subject, source and target.

    Args:
        rows: mappings with the keys ``METRIC_COLUMNS``; ``lpips`` is NaN or None where it was not measured.
        sequences: names of the sequences (or the sequence table), which give the order of sources and targets.
    """
    return build_records(rows, _TEXT_COLUMNS, _NUMBER_COLUMNS, sequences)


def read_metrics(path: str | os.PathLike) -> pd.DataFrame:
    """Read ``metrics.csv``.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it has other columns, or text where numbers belong.
    """
    return read_records(path, _TEXT_COLUMNS, _NUMBER_COLUMNS)


def format_summary(table: pd.DataFrame) -> str:
    """Return mean and standard deviation over subjects, per pair and per target, as text to print.

    A target's value of a subject is the mean over the sources other than the target; the standard deviation is that of
    a sample. Measures that no row has (LPIPS turned off) are left out.
    """
    if table.empty:
        return "No pair was measured."
    data_ranges = ", ".join(f"{value:g}" for value in sorted(table["data_range"].dropna().unique()))
    lines = [f"Mean ± standard deviation over subjects; PSNR in dB; data range {data_ranges}."]
    measures = [measure for measure in _MEASURES if table[measure].notna().any()]
    synthesised = table[table["source"] != table["target"]]
    per_subject = synthesised.groupby(["subject", "target"], sort=False)[measures].mean().reset_index()
    for rows, keys in ((table, ["source", "target"]), (per_subject, ["target"])):
        groups = rows.groupby(keys, sort=False)
        shown = groups["subject"].nunique().rename("subjects").to_frame()
        for measure in measures:
            digits = 2 if measure.startswith("psnr") else 4
            pairs = zip(groups[measure].mean(), groups[measure].std(), strict=True)
            shown[measure] = [f"{mean:.{digits}f} ± {deviation:.{digits}f}" for mean, deviation in pairs]
        lines += ["", shown.reset_index().to_string(index=False)]
    return "\n".join(lines)
