# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Folders as evaluations leave them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest

from seq2seq_mri.evaluation.contribution.contribution import adjacency_matrix, contribution
from seq2seq_mri.evaluation.image_quality.quality_table import metrics_table
from seq2seq_mri.evaluation.records import write_records

SEQUENCES = ("t1", "t1gd", "t2", "flair")


@pytest.fixture
def evaluation(tmp_path) -> Callable[..., Path]:
    """Return a function that writes an evaluation of random image quality, and gives its folder."""

    def write(
        folder: str = "brain",
        subjects: int = 6,
        sequences: Iterable[str] = SEQUENCES,
        lacks: Mapping[str, Iterable[str]] | None = None,
        seed: int = 0,
    ) -> Path:
        generator = np.random.default_rng(seed)
        names = list(sequences)
        rows = []
        for subject in (f"{number:03d}" for number in range(subjects)):
            present = [name for name in names if name not in (lacks or {}).get(subject, ())]
            for source in present:
                for target in present:
                    if source != target:
                        # The later in the table, the better as source and the harder as target.
                        psnr = 25 + names.index(source) - 2 * names.index(target) + generator.normal()
                        rows.append(
                            {"subject": subject, "source": source, "target": target, "psnr": -psnr, "ssim": -psnr}
                            | {"lpips": None, "psnr_foreground": psnr, "ssim_foreground": psnr / 40, "data_range": 1.0}
                            | {"psnr_central_crop": psnr, "ssim_central_crop": psnr / 40}
                        )
        table = metrics_table(rows, names)
        adjacency = adjacency_matrix(table, names)
        path = tmp_path / folder
        write_records(path / "metrics.csv", table)
        write_records(path / "adjacency.csv", adjacency.reset_index())
        write_records(path / "contribution.csv", contribution(adjacency))
        return path

    return write
