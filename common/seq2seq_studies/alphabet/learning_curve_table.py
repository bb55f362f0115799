# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""How the accuracy of a classifier grows with the number of training subjects, with and without M_d.

Source: Han et al., Synthesis-based imaging-differentiation representation learning for multi-sequence 3D/4D MRI,
Medical Image Analysis 2024, section 4.1 and Fig. 4.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from seq2seq_mri.evaluation.classification.classification_tables import mean_and_deviation, with_columns
from seq2seq_mri.evaluation.page import markdown_table
from seq2seq_mri.evaluation.records import read_records, write_records

__all__ = [
    "LEARNING_CURVE_COLUMNS",
    "PAPER_PEAK_GAINS",
    "PAPER_PEAK_SIZE",
    "accuracy_gains",
    "format_accuracy_gains",
    "learning_curve_table",
    "read_learning_curve",
    "summarise_learning_curve",
    "write_learning_curve",
]

_TEXT_COLUMNS = ("label", "inputs")
_MEASURES = ("accuracy", "top2_accuracy")
_NUMBER_COLUMNS = ("size", "seed", *_MEASURES, "n")

LEARNING_CURVE_COLUMNS = (*_TEXT_COLUMNS, *_NUMBER_COLUMNS)
"""The columns of ``learning_curve.csv``: one row per label, inputs, number of training subjects and seed; ``n`` is the
number of cases that the accuracy was measured on."""

#: Accuracy with M_d minus accuracy without, at its largest in the paper, for the differing letter of each image.
PAPER_PEAK_GAINS = {"x1": 0.262, "x2": 0.369}
#: The number of training subjects at which the paper's gains are largest.
PAPER_PEAK_SIZE = 5000


def learning_curve_table(rows: Iterable[Mapping]) -> pd.DataFrame:
    """Build the table of ``learning_curve.csv``, in the order of ``rows``.

    Args:
        rows: mappings with exactly the keys ``LEARNING_CURVE_COLUMNS``.

    Raises:
        ValueError: when a row lacks a column or has another one, or a cell of the curve stands twice.
    """
    table = with_columns(rows, _TEXT_COLUMNS, _NUMBER_COLUMNS)
    twice = table.duplicated(["label", "inputs", "size", "seed"])
    if twice.any():
        row = table[twice].iloc[0]
        raise ValueError(f"Inputs '{row['inputs']}', size {row['size']}, seed {row['seed']} was measured twice.")
    return table


def write_learning_curve(path: str | os.PathLike, table: pd.DataFrame, overwrite: bool = False) -> None:
    """Write ``learning_curve.csv``: at once or not at all, and over an existing file only with ``overwrite``."""
    write_records(path, table[list(LEARNING_CURVE_COLUMNS)], overwrite=overwrite)


def read_learning_curve(path: str | os.PathLike) -> pd.DataFrame:
    """Read ``learning_curve.csv``.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it has other columns, or text where numbers belong.
    """
    table = read_records(path, _TEXT_COLUMNS, _NUMBER_COLUMNS)
    return learning_curve_table(table.to_dict("records"))


def summarise_learning_curve(table: pd.DataFrame) -> pd.DataFrame:
    """Summarise the learning curve over seeds.

    Returns:
        Table with ``label``, ``inputs``, ``size``, ``seeds`` (their number), and ``accuracy_mean``, ``accuracy_sd``
        (sample standard deviation; NaN for one seed), ``top2_accuracy_mean`` and ``top2_accuracy_sd``; sizes ascend.
    """
    ordered = table.sort_values("size", kind="stable")
    return mean_and_deviation(ordered, ["label", "inputs", "size"], _MEASURES, counted="seeds")


def accuracy_gains(table: pd.DataFrame, pairs: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Return what M_d adds to the accuracy, paired: the two classifiers of a seed saw the same training subjects.

    Args:
        table: the table of ``learning_curve.csv``.
        pairs: label → (inputs without M_d, inputs with M_d).

    Returns:
        Table with ``label``, ``size``, ``seeds``, and mean and standard deviation over seeds of ``without`` and
        ``with`` (accuracies) and of ``gain``, their difference; only seeds that have both, sizes ascending.

    Raises:
        ValueError: when no size and seed of a label has both inputs.
    """
    parts = []
    for label, (without, with_map) in pairs.items():
        rows = table[table["label"] == label].pivot(index=["size", "seed"], columns="inputs", values="accuracy")
        both = rows.reindex(columns=[without, with_map]).dropna().reset_index()
        if both.empty:
            raise ValueError(
                f"Label '{label}' has no size and seed with both '{without}' and '{with_map}'; "
                f"the learning curve has {', '.join(rows.columns) or 'nothing'} for it."
            )
        both = both.set_axis(["size", "seed", "without", "with"], axis="columns")
        parts.append(both.assign(label=label, gain=both["with"] - both["without"]))
    return mean_and_deviation(pd.concat(parts), ["label", "size"], ["without", "with", "gain"], counted="seeds")


def format_accuracy_gains(gains: pd.DataFrame, paper: Mapping[str, float] | None = None) -> str:
    """Return the gains as a Markdown table, mean ± standard deviation over seeds.

    Args:
        gains: from :func:`accuracy_gains`.
        paper: label → the paper's peak gain, written at ``PAPER_PEAK_SIZE`` training subjects, such as
            ``PAPER_PEAK_GAINS``; None leaves out the column.
    """
    header = ["Label", "N", "Seeds", "Accuracy without M_d", "Accuracy with M_d", "Gain"]
    header += [] if paper is None else ["Gain in the paper"]
    rows = []
    for row in gains.to_dict("records"):
        cells = [str(row["label"]), f"{row['size']:,}", str(row["seeds"])]
        for measure, sign in (("without", ""), ("with", ""), ("gain", "+")):
            mean, deviation = row[f"{measure}_mean"], row[f"{measure}_sd"]
            cells.append(f"{mean:{sign}.3f}" + ("" if pd.isna(deviation) else f" ± {deviation:.3f}"))
        if paper is not None:
            known = row["size"] == PAPER_PEAK_SIZE and row["label"] in paper
            cells.append(f"{paper[row['label']]:+.3f}" if known else "")
        rows.append(cells)
    return markdown_table(header, rows)
