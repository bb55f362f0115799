# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What an evaluation of a bundle left on disk, as Table 2 needs it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from seq2seq_mri.evaluation.contribution.contribution import read_adjacency
from seq2seq_mri.evaluation.image_quality.quality_table import read_metrics

__all__ = ["name_evaluations", "read_evaluation"]


def read_evaluation(directory: str | os.PathLike) -> tuple[pd.DataFrame, list[str]]:
    """Return the image-quality table of an evaluation, and the sequence names in the order of its sequence table.

    Raises:
        FileNotFoundError: when the folder has no ``metrics.csv`` or no ``adjacency.csv``.
        ValueError: when these are not such tables.
    """
    directory = Path(directory).expanduser()
    if not directory.is_dir():
        raise FileNotFoundError(f"There is no folder {directory}; give the --evaluation_dir of a bundle's evaluation.")
    # The matrix has all sequences, also those that no subject has.
    return read_metrics(directory / "metrics.csv"), list(read_adjacency(directory / "adjacency.csv").index)


def name_evaluations(directories: Sequence[str], names: Sequence[str] = ()) -> list[str]:
    """Return a name for each evaluation: those given, or those of the folders.

    A bundle writes to OUTPUT_DIR/evaluation by default, which is named after OUTPUT_DIR.

    Raises:
        ValueError: when there is no folder, names are not as many as folders, or two names are equal.
    """
    if not directories:
        raise ValueError("There is no evaluation; give one folder or several, with commas between them.")
    if names and len(names) != len(directories):
        raise ValueError(f"There are {len(directories)} evaluations but {len(names)} names; give a name for each.")
    paths = [Path(directory).expanduser().resolve() for directory in directories]
    found = list(names) or [path.parent.name if path.name == "evaluation" else path.name for path in paths]
    for name in found:
        if found.count(name) > 1:
            raise ValueError(f"Two evaluations are named {name}; tell them apart by --names, with commas between them.")
    return found
