# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The tables of a classification: ``predictions.csv``, ``metrics.csv`` with a row per fold, and their summary."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from seq2seq_mri.evaluation.classification.classification_metrics import BINARY_METRICS, binary_metrics
from seq2seq_mri.evaluation.page import markdown_table
from seq2seq_mri.evaluation.records import read_records, write_records

__all__ = [
    "FOLD_METRIC_COLUMNS",
    "PREDICTION_COLUMNS",
    "fold_metrics",
    "format_fold_summary",
    "mean_and_deviation",
    "predictions_table",
    "read_fold_metrics",
    "read_predictions",
    "summarise_folds",
    "with_columns",
    "write_fold_metrics",
    "write_predictions",
]

_PREDICTION_TEXT = ("inputs", "patient", "subject", "section")
_PREDICTION_NUMBERS = ("repeat", "fold", "label", "probability", "threshold")
_WHOLE_NUMBERS = ("repeat", "fold", "label", "n", "positives", "size", "seed")

PREDICTION_COLUMNS = (*_PREDICTION_TEXT, *_PREDICTION_NUMBERS)
"""The columns of ``predictions.csv``: one row per inputs, repeat, fold and examination.

``inputs`` names the input combination, ``section`` is ``testing``, or ``validation`` for the predictions from which the
fold's ``threshold`` was chosen; ``probability`` is that of label 1."""

_FOLD_METRIC_NUMBERS = ("repeat", "fold", *BINARY_METRICS, "threshold", "n", "positives")

FOLD_METRIC_COLUMNS = ("inputs", *_FOLD_METRIC_NUMBERS)
"""The columns of ``metrics.csv``: one row per inputs, repeat and fold, measured on the fold's testing section."""


def predictions_table(rows: Iterable[Mapping]) -> pd.DataFrame:
    """Build the table of ``predictions.csv``, in the order of ``rows``.

    Args:
        rows: mappings with exactly the keys ``PREDICTION_COLUMNS``.

    Raises:
        ValueError: when a row lacks a column or has another one, or an examination has two predictions in a fold.
    """
    table = with_columns(rows, _PREDICTION_TEXT, _PREDICTION_NUMBERS)
    twice = table.duplicated(["inputs", "repeat", "fold", "subject"])
    if twice.any():
        row = table[twice].iloc[0]
        raise ValueError(
            f"Subject '{row['subject']}' has two predictions with the inputs '{row['inputs']}' in repeat "
            f"{row['repeat']}, fold {row['fold']}."
        )
    return table


def with_columns(rows: Iterable[Mapping], text_columns: Sequence[str], number_columns: Sequence[str]) -> pd.DataFrame:
    """Build a table with these columns of text and of numbers; numbers of folds, cases and labels are whole.

    Raises:
        ValueError: when a row lacks a column or has another one.
    """
    columns, listed = [*text_columns, *number_columns], list(rows)
    for row in listed:
        if set(row) != set(columns):
            raise ValueError(f"A row has the columns {', '.join(map(str, row))}; expected {', '.join(columns)}.")
    table = pd.DataFrame(listed, columns=columns)
    whole = [name for name in number_columns if name in _WHOLE_NUMBERS]
    types = {**dict.fromkeys(text_columns, str), **dict.fromkeys(number_columns, "float64")}
    return table.astype({**types, **dict.fromkeys(whole, "int64")})


def write_predictions(path: str | os.PathLike, table: pd.DataFrame, overwrite: bool = False) -> None:
    """Write ``predictions.csv``: at once or not at all, and over an existing file only with ``overwrite``."""
    write_records(path, table[list(PREDICTION_COLUMNS)], overwrite=overwrite)


def read_predictions(path: str | os.PathLike) -> pd.DataFrame:
    """Read ``predictions.csv``.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it has other columns, or text where numbers belong.
    """
    table = read_records(path, _PREDICTION_TEXT, _PREDICTION_NUMBERS)
    return predictions_table(table.to_dict("records"))


def fold_metrics(predictions: pd.DataFrame) -> pd.DataFrame:
    """Measure every fold on its testing section, at the threshold that was chosen on its validation section.

    Args:
        predictions: the table of ``predictions.csv``.

    Returns:
        Table with ``FOLD_METRIC_COLUMNS``; measures that are not defined are NaN, see
        :func:`binary_metrics`.

    Raises:
        ValueError: when the testing section of a fold has more than one threshold.
    """
    rows = []
    testing = predictions[predictions["section"] == "testing"]
    for (inputs, repeat, fold), cases in testing.groupby(["inputs", "repeat", "fold"], sort=False):
        thresholds = cases["threshold"].unique()
        if len(thresholds) != 1:
            raise ValueError(f"Inputs '{inputs}', repeat {repeat}, fold {fold}: the testing rows have two thresholds.")
        threshold = float(thresholds[0])
        measured = binary_metrics(cases["label"], cases["probability"], threshold)
        rows.append({"inputs": inputs, "repeat": repeat, "fold": fold, "threshold": threshold, **measured})
    return with_columns(rows, ["inputs"], _FOLD_METRIC_NUMBERS)


def write_fold_metrics(path: str | os.PathLike, table: pd.DataFrame, overwrite: bool = False) -> None:
    """Write ``metrics.csv``: at once or not at all, and over an existing file only with ``overwrite``."""
    write_records(path, table[list(FOLD_METRIC_COLUMNS)], overwrite=overwrite)


def read_fold_metrics(path: str | os.PathLike) -> pd.DataFrame:
    """Read ``metrics.csv``.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it has other columns, or text where numbers belong.
    """
    table = read_records(path, ["inputs"], _FOLD_METRIC_NUMBERS)
    return with_columns(table.to_dict("records"), ["inputs"], _FOLD_METRIC_NUMBERS)


def summarise_folds(metrics: pd.DataFrame) -> pd.DataFrame:
    """Summarise each input combination over its folds (and repeats), as in Table 4 of the paper.

    Args:
        metrics: the table of ``metrics.csv``.

    Returns:
        Table with ``inputs``, ``folds`` (their number), and ``<measure>_mean`` and ``<measure>_sd`` (sample standard
        deviation over folds; NaN for one fold) of each of ``BINARY_METRICS``; folds in which a measure is not defined
        do not count for it.
    """
    return mean_and_deviation(metrics, ["inputs"], BINARY_METRICS, counted="folds")


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


def format_fold_summary(metrics: pd.DataFrame) -> str:
    """Return the summary of ``metrics.csv`` as a Markdown table, mean ± standard deviation over folds."""
    if metrics.empty:
        return "No fold was measured."
    names = {"auc": "AUC", "ppv": "PPV", "npv": "NPV"}
    header = ["Inputs", "Folds", *(names.get(measure, measure.capitalize()) for measure in BINARY_METRICS)]
    rows = []
    for row in summarise_folds(metrics).to_dict("records"):
        cells = [_mean_with_deviation(row[f"{measure}_mean"], row[f"{measure}_sd"]) for measure in BINARY_METRICS]
        rows.append([row["inputs"], str(row["folds"]), *cells])
    return markdown_table(header, rows)


def _mean_with_deviation(mean: float, deviation: float) -> str:
    if pd.isna(mean):
        return "n/a"
    return f"{mean:.3f}" if pd.isna(deviation) else f"{mean:.3f} ± {deviation:.3f}"
