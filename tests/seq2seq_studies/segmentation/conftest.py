# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""A small cohort with tumour labels, as files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

AFFINE = np.array([[-1.5, 0.1, 0, 30], [0, 2.0, 0.2, -20], [0.1, 0, 2.5, 7], [0, 0, 0, 1]])
SHAPE = (9, 10, 7)


@pytest.fixture
def cohort(tmp_path) -> Callable[..., Path]:
    """Writes a cohort ``{"t1": 1, "t1gd": 1, "dce": 2}`` and returns its datalist.

    Voxels of an image are 100 times the subject's number plus 10 times the sequence's plus the timepoint's, plus noise
    below 1, so that a file tells what it is.
    """

    def write(training: int = 5, testing: int = 2, enhancing: int = 3, without_lesion: bool = False) -> Path:
        folder = tmp_path / "cohort"
        random = np.random.default_rng(0)
        sections: dict[str, list] = {"training": [], "validation": [], "testing": []}
        for number in range(training + testing):
            name = f"p{number}"
            entry: dict = {"subject": name}
            for place, (sequence, timepoints) in enumerate({"t1": 1, "t1gd": 1, "dce": 2}.items()):
                frames = 100 * number + 10 * place + np.arange(timepoints) + random.random((*SHAPE, timepoints))
                entry[sequence] = f"{name}/{name}_{sequence}.nii.gz"
                save(folder / entry[sequence], frames.squeeze().astype(np.float32))
            labels = np.zeros(SHAPE, dtype=np.uint8)
            labels[2:7, 2:8, 1:6] = 2
            labels[3:6, 3:7, 2:5] = enhancing
            labels[4, 4:6, 3] = 1
            seg = f"{name}/{name}-seg.nii.gz"
            save(folder / seg, labels)
            if not without_lesion:
                entry["lesion"] = seg
            sections["training" if number < training else "testing"].append(entry)
        content = {"name": "small", "sequences": {"t1": 1, "t1gd": 1, "dce": 2}, **sections}
        path = folder / "datalist.json"
        path.write_text(json.dumps(content))
        return path

    return write


def save(path: Path, voxels: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)


@pytest.fixture(scope="session")
def scores() -> Callable[..., pd.DataFrame]:
    """Makes the scores of two combinations, of which the second is worse and has one empty prediction."""

    def make(seeds: int = 2, subjects: int = 6) -> pd.DataFrame:
        random = np.random.default_rng(3)
        rows = [
            {
                **{"combination": combination, "subject": f"p{subject}", "region": region, "seed": seed, "fold": 0},
                "empty": "prediction" if (combination, region, subject) == ("t2", "ET", 0) else "",
                "dsc": 0.9 - 0.1 * place + 0.05 * random.random(),
                "assd": 1.0 + place + random.random(),
            }
            for place, combination in enumerate(("t1+t2", "t2"))
            for seed in range(seeds)
            for subject in range(subjects)
            for region in ("ET", "TC", "WT")
        ]
        return pd.DataFrame(rows)

    return make
