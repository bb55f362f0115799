# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The table of how well M_d finds regions that only one sequence shows: ``subject,sequence,auc``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from seq2seq_mri.evaluation.records import build_records, read_records, write_records

__all__ = [
    "DIFFERENTIATION_COLUMNS",
    "differentiation_table",
    "read_differentiation_table",
    "write_differentiation_table",
]

_TEXT_COLUMNS = ("subject", "sequence")

DIFFERENTIATION_COLUMNS = (*_TEXT_COLUMNS, "auc")
"""The columns of the table: one row per subject and sequence with a known region."""


def differentiation_table(rows: Iterable[Mapping[str, Any]], sequences: Iterable[str]) -> pd.DataFrame:
    """Build the table, sorted by subject and sequence whatever the order of ``rows``.

    Args:
        rows: mappings with exactly the keys ``subject``, ``sequence``, ``auc`` (see ``voxel_auc``).
        sequences: names of the sequences (or the sequence table).

    Raises:
        ValueError: when a row lacks a column, has an unknown sequence, or occurs twice.
    """
    return build_records(rows, _TEXT_COLUMNS, ["auc"], sequences)


def write_differentiation_table(path: str | os.PathLike, table: pd.DataFrame, overwrite: bool = False) -> None:
    """Write the table as CSV: at once or not at all, and over an existing file only with ``overwrite``."""
    write_records(path, table[list(DIFFERENTIATION_COLUMNS)], overwrite=overwrite)


def read_differentiation_table(path: str | os.PathLike) -> pd.DataFrame:
    """Read the table.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it has other columns, or text where numbers belong.
    """
    return read_records(path, _TEXT_COLUMNS, ["auc"])
