# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Predictions of folds, to summarise and to compare."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from seq2seq_mri.evaluation.classification.classification_metrics import predictions_table


@pytest.fixture
def make_predictions() -> Callable[..., pd.DataFrame]:
    """Makes the predictions of two inputs, of which the second is better, in folds of twelve cases."""

    def make(cases: int = 36, repeats: int = 1, sections: tuple = ("validation", "testing")) -> pd.DataFrame:
        generator = np.random.default_rng(0)
        return predictions_table(
            {"inputs": name, "patient": f"00{case}", "subject": f"00{case}", "section": section, "repeat": repeat}
            | {"fold": case // 12, "label": case % 2, "threshold": 0.5}
            | {"probability": float(np.clip(generator.normal(0.4 + shift * (case % 2), 0.2), 0, 1))}
            for name, shift in (("t1gd", 0.1), ("t1gd + M_d", 0.3))
            for repeat in range(repeats)
            for case in range(cases)
            for section in sections
        )

    return make
