# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import pandas as pd
import pytest

from seq2seq_mri.evaluation.differentiation.differentiation_table import (
    differentiation_table,
    read_differentiation_table,
    write_differentiation_table,
)

ROWS = [
    {"subject": "b", "sequence": "t1gd", "auc": 0.9123456789012345},
    {"subject": "a", "sequence": "flair", "auc": 0.5},
    {"subject": "a", "sequence": "t1gd", "auc": None},
]


def test_sorted_written_and_read_back(tmp_path):
    table = differentiation_table(ROWS, ["t1gd", "flair"])
    write_differentiation_table(tmp_path / "auc.csv", table)
    assert (tmp_path / "auc.csv").read_text() == (
        "subject,sequence,auc\na,t1gd,\na,flair,0.5\nb,t1gd,0.9123456789012345\n"
    )
    pd.testing.assert_frame_equal(read_differentiation_table(tmp_path / "auc.csv"), table, check_exact=True)


def test_refuses_wrong_rows():
    with pytest.raises(ValueError, match="unknown sequence 'flair'"):
        differentiation_table(ROWS, ["t1gd"])
    with pytest.raises(ValueError, match="measured twice"):
        differentiation_table([ROWS[0], ROWS[0]], ["t1gd"])
