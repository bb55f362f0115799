# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Tables of measurements: fixed columns, one order whoever measured, written whole, read back exactly.

The rows of several processes, in any order, give the same table and the same bytes on disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from seq2seq_mri.files import atomic_path

__all__ = ["build_records", "read_records", "write_records"]


def build_records(
    rows: Iterable[Mapping[str, Any]],
    text_columns: Sequence[str],
    number_columns: Sequence[str],
    sequences: Iterable[str],
) -> pd.DataFrame:
    """Return a table of text and float64 columns, one row for each measurement.

    Args:
        rows: the measurements; None stands for "not measured" (NaN).
        text_columns: columns that identify a row: ``subject`` first, the others hold sequence names.
        number_columns: the measured columns.
        sequences: names of the sequences; rows are sorted by subject, then in this order.
    """
    position = {name: index for index, name in enumerate(sequences)}
    table = pd.DataFrame([dict(row) for row in rows], columns=[*text_columns, *number_columns])
    table = table.astype(dict.fromkeys(text_columns, str) | dict.fromkeys(number_columns, "float64"))
    return table.sort_values(
        list(text_columns),
        key=lambda column: column if column.name == "subject" else column.map(position),
        ignore_index=True,
        kind="stable",
    )


def write_records(path: str | os.PathLike, table: pd.DataFrame, overwrite: bool = False) -> None:
    """Write a table as CSV, numbers in full precision, NaN as an empty field; see ``files.atomic_path``."""
    with atomic_path(path, overwrite=overwrite) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def read_records(
    path: str | os.PathLike, text_columns: Sequence[str], number_columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """Read a table that ``write_records`` wrote; subjects such as ``001`` or ``NA`` keep their names.

    Args:
        path: the CSV file.
        text_columns: columns to keep as text.
        number_columns: the remaining columns; None takes whatever the file has.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the file is not such a table; the message names it.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        # As text first: pandas would take the subject "NA" for a missing value.
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except ValueError as error:  # pandas' parser and decoding errors are ValueErrors
        raise ValueError(f"{path} is not a CSV table: {error}") from error
    if number_columns is None:
        number_columns = [column for column in table.columns if column not in text_columns]
    columns = [*text_columns, *number_columns]
    if list(table.columns) != columns:
        raise ValueError(f"{path} has the columns {', '.join(table.columns)}; expected {', '.join(columns)}.")
    for column in number_columns:
        try:
            table[column] = table[column].replace("", "nan").map(float).astype("float64")
        except ValueError as error:
            raise ValueError(f"{path}, column '{column}': {error}") from error
    return table
