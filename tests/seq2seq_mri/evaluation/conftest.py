# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Random image quality, which several features are measured on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import numpy as np
import pytest

Rows = list[dict[str, Any]]


@pytest.fixture
def quality_rows() -> Callable[..., Rows]:
    """Return a function that gives the rows of ``metrics.csv``, all measures independent but the whole volume's.

    In the whole volume everything is the reverse of the foreground, where a sequence is the better as source and the
    harder as target, the later it stands among the sequences.
    """

    def rows(
        subjects: Iterable[str] = ("001", "002", "003", "004", "005"),
        sequences: Iterable[str] = ("t1", "t1gd", "t2", "flair"),
        lacks: Mapping[str, Collection[str]] | None = None,
        seed: int = 0,
    ) -> Rows:
        generator = np.random.default_rng(seed)
        result = []
        for subject in subjects:
            present = [name for name in sequences if name not in (lacks or {}).get(subject, ())]
            for (i, source), (j, target) in itertools.permutations(enumerate(present), 2):
                psnr, ssim = 25 + i - 2 * j + 2 * generator.normal(), generator.uniform(0.4, 0.9)
                result.append(
                    {"subject": subject, "source": source, "target": target, "psnr": -psnr, "ssim": -ssim}
                    | {"lpips": generator.uniform(0.1, 0.4), "psnr_foreground": psnr, "ssim_foreground": ssim}
                    | {"psnr_central_crop": generator.normal(24, 3), "ssim_central_crop": generator.uniform(0.4, 0.9)}
                    | {"data_range": 1.0}
                )
        return result

    return rows
