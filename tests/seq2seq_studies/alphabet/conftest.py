# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""A learning curve to summarise and to draw."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from seq2seq_mri.evaluation.classification.classification_metrics import table_of
from seq2seq_studies.alphabet.learning_curve import CURVE_NUMBERS, CURVE_TEXT


@pytest.fixture
def curve() -> pd.DataFrame:
    """Two labels of three seeds and three sizes, to whose accuracy M_d adds about 0.1."""
    generator = np.random.default_rng(0)
    rows = [
        {"label": label, "inputs": inputs, "size": size, "seed": seed, "top2_accuracy": 0.9, "n": 10000}
        | {"accuracy": 0.3 + size / 20000 + 0.1 * inputs.endswith("M_d") + generator.uniform(0, 0.02)}
        for label in ("x1", "x2")
        for seed in range(3)
        for size in (9000, 5000, 3000)
        for inputs in (label, f"{label} + M_d")
    ]
    return table_of(rows, CURVE_TEXT, CURVE_NUMBERS)
