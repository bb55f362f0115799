# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Eq. 4, slowly, and folders as evaluations leave them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seq2seq_mri.evaluation.contribution.contribution import adjacency_matrix, contribution
from seq2seq_mri.evaluation.image_quality.quality_table import metrics_table
from seq2seq_mri.evaluation.records import write_records


@pytest.fixture
def slow_scores() -> Callable[..., tuple[np.ndarray, list[float], list[float]]]:
    """Return a function that gives A, C_t and C_d of rows, pair by pair; one that occurs twice counts twice."""

    def known(rows, measure):
        return [row[measure] for row in rows if row[measure] is not None and not math.isnan(row[measure])]

    def scores(rows, sequences, measures=("psnr_foreground", "ssim_foreground")):
        names = list(sequences)
        number = len(names)
        adjacency = np.zeros((number, number))
        for i, j in np.ndindex(number, number):
            pair = [row for row in rows if (row["source"], row["target"]) == (names[i], names[j])]
            z = []
            for measure, sign in (*((measure, 1) for measure in measures), ("lpips", -1)):
                if known(pair, measure):
                    everything = known(rows, measure)
                    z.append(sign * (np.mean(known(pair, measure)) - np.mean(everything)) / np.std(everything))
            adjacency[i, j] = 0 if i == j else sum(z) if z else math.nan
        others = ~np.eye(number, dtype=bool)
        sums = []
        for matrix, sign in ((adjacency, 1), (adjacency.T, -1)):
            measured = [
                [value for value in row[kept] if not math.isnan(value)]
                for row, kept in zip(matrix, others, strict=True)
            ]
            sums.append([sign * sum(row) / number if row else math.nan for row in measured])
        return adjacency, *sums

    return scores


@pytest.fixture
def evaluation(tmp_path, quality_rows) -> Callable[..., Path]:
    """Return a function that writes an evaluation without LPIPS, and gives its folder."""

    def write(folder: str = "brain", subjects: int = 6, **options: Any) -> Path:
        names = options.setdefault("sequences", ("t1", "t1gd", "t2", "flair"))
        rows = quality_rows([f"{number:03d}" for number in range(subjects)], **options)
        table = metrics_table([row | {"lpips": None} for row in rows], names)
        adjacency = adjacency_matrix(table, names)
        path = tmp_path / folder
        write_records(path / "metrics.csv", table)
        write_records(path / "adjacency.csv", adjacency.reset_index())
        write_records(path / "contribution.csv", contribution(adjacency))
        return path

    return write
