# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The table of a cohort, and how it is written."""

from __future__ import annotations

import numpy as np
import pytest

from seq2seq_mri.evaluation.contribution.contribution_bootstrap import ContributionBootstrap
from seq2seq_mri.evaluation.contribution.contribution_table import cohort_contribution, format_contribution


@pytest.fixture
def bootstrap() -> ContributionBootstrap:
    """Two hundred samples: c has no score in one of them, never has no score at all."""
    scores = np.tile([[0.5, 0.25, -0.004, np.nan], [-0.5, 0.25, 0.3, np.nan]], (200, 1, 1))
    scores[0, :, 2] = np.nan
    scores[1, 0] = [0.25, 0.5, 0.0, np.nan]
    estimates = scores[5].copy()
    return ContributionBootstrap(["a", "b", "c", "never"], estimates, scores, np.array([9, 8, 1, 0]), np.eye(200)[0])


def test_table(bootstrap) -> None:
    cohort = cohort_contribution("heads", bootstrap)
    table = cohort.table.set_index("sequence")
    assert table["c_t_rank"].tolist()[:3] == [1, 2, 3]
    assert table["c_d_rank"].tolist()[:3] == [3, 2, 1]
    assert table.loc["never", ["c_t", "c_t_low", "c_t_rank", "c_t_rank_frequency", "c_d_rank"]].isna().all()
    assert table.loc["a", "c_t_rank_frequency"] == 199 / 200
    assert table.loc["c", "c_d_rank_frequency"] == 199 / 200
    assert cohort.orders == {"c_t": 198 / 200, "c_d": 199 / 200}
    assert (cohort.samples, cohort.lacking) == (200, 1)
    ranks = cohort.ranks("c_t")
    assert list(ranks.columns) == [1, 2, 3, 4, 0]
    assert list(ranks.index) == ["a", "b", "c", "never"]
    np.testing.assert_allclose(ranks.sum(axis=1), 1.0)


def test_markdown(bootstrap) -> None:
    text = format_contribution(cohort_contribution("heads", bootstrap, confidence=0.9))
    assert text.startswith("## heads\n")
    assert "C_t (90 % interval)" in text
    assert "| a | 9 | 0.50 (0.50 to 0.50) | 1 | > 99 | -0.50 (-0.50 to -0.50) | 3 | > 99 |" in text
    assert "| c | 1 | 0.00 (0.00 to 0.00) | 3 |" in text  # no negative zero
    assert "| never | 0 | not measured |  |  | not measured |  |  |" in text
    assert "| % of samples, rank by C_t | 1 | 2 | 3 | 4 | none |" in text
    assert "| c | 0 | 0 | > 99 | 0 | < 1 |" in text
    assert "| never | 0 | 0 | 0 | 0 | 100 |" in text
    assert "those of the table in 99 % of the bootstrap samples, all ranks by C_d in > 99 %" in text
    assert "1 of 200 bootstrap samples lack a pair" in text
    assert "nan" not in text.lower()
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(blocks) == 3
    assert all(len({line.count("|") for line in block}) == 1 for block in blocks)
