# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Table 1's statistics, compared with direct computation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from seq2seq_studies.comparison.quality_comparison import (
    COMPARED,
    COMPARISON_NUMBERS,
    COMPARISON_TEXT,
    holm,
    paired_tests,
    quality_table,
)

PLAN = [("none", "copy", 0), ("9 steps", "mm_gan", 0), ("9 steps", "mm_gan", 1), ("9 steps", "resvit", 0), ("9 steps", "resvit", 1)]  # fmt: skip  # noqa: E501


@pytest.fixture
def scores() -> pd.DataFrame:
    random = np.random.default_rng(0)
    rows = []
    for (budget, method, seed), subject, target in itertools.product(PLAN, ["p1", "p2", "p3"], ["t1", "t2"]):
        measures = {measure: float(random.normal(20 + len(method))) for measure in COMPARED}
        text = {"setting": "one_missing", "subject": subject, "sources": "flair", "target": target}
        rows.append({"budget": budget, "method": method, "seed": seed, **text, **measures, "data_range": 1.0})
    return pd.DataFrame(rows)[[*COMPARISON_TEXT, *COMPARISON_NUMBERS]]


def values(scores: pd.DataFrame, method: str, measure: str = "psnr") -> np.ndarray:
    return np.array(
        [
            scores.loc[(scores["method"] == method) & (scores["subject"] == subject), measure].mean()
            for subject in ("p1", "p2", "p3")
        ]
    )


def test_table(scores) -> None:
    row = quality_table(scores).set_index("method").loc["mm_gan"]
    expected = values(scores, "mm_gan")
    assert (row["n"], row["budget"]) == (3, "9 steps")
    assert row["psnr_mean"] == pytest.approx(expected.mean())
    assert row["psnr_sd"] == pytest.approx(expected.std(ddof=1))


def test_paired_tests_are_corrected_for_all_pairs(scores) -> None:
    tests = paired_tests(scores).query("measure == 'psnr'")
    pairs = list(itertools.combinations(["copy", "mm_gan", "resvit"], 2))
    assert list(zip(tests["first"], tests["second"], strict=True)) == pairs
    p = [stats.ttest_rel(values(scores, first), values(scores, second)).pvalue for first, second in pairs]
    np.testing.assert_allclose(tests["p"], p)
    np.testing.assert_allclose(tests["p_holm"], holm(p))
    difference = (values(scores, "copy") - values(scores, "mm_gan")).mean()
    assert tests["difference"].iloc[0] == pytest.approx(difference)
    assert set(tests["budget"]) == {"9 steps"}


def test_every_budget_is_compared_with_what_is_not_trained(scores) -> None:
    other = scores[scores["budget"] != "none"].assign(budget="2 seconds")
    tests = paired_tests(pd.concat([scores, other])).query("measure == 'psnr'")
    assert tests.groupby("budget").size().to_dict() == {"9 steps": 3, "2 seconds": 3}


def test_tests_that_cannot_be_made(scores) -> None:
    one = scores[scores["subject"] == "p1"]
    assert paired_tests(one)["p_holm"].isna().all()
    assert paired_tests(scores.assign(lpips=math.nan)).query("measure == 'lpips'")["p"].isna().all()
    fewer = scores[(scores["method"] != "resvit") | (scores["subject"] != "p2")]
    with pytest.raises(ValueError, match="tested on different subjects"):
        paired_tests(fewer)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
        ([0.5, 0.9], [1.0, 1.0]),
        ([0.02, math.nan, 0.01], [0.02, math.nan, 0.02]),
        ([], []),
    ],
)
def test_holm(values, expected) -> None:
    np.testing.assert_allclose(holm(values), expected)
