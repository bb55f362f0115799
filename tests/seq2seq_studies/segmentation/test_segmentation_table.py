# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The table of a comparison of combinations."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from seq2seq_studies.segmentation.segmentation_table import format_comparison, segmentation_table

MARGINS = {"dsc": 0.05, "assd": 1.0}


def scores(seeds: int = 2, subjects: int = 6) -> pd.DataFrame:
    random = np.random.default_rng(3)
    rows = [
        {
            "combination": combination,
            "subject": f"p{subject}",
            "region": region,
            "empty": "prediction" if (combination, region, subject) == ("t2", "ET", 0) else "",
            "seed": seed,
            "fold": 0,
            "dsc": 0.9 - 0.1 * place + 0.05 * random.random(),
            "assd": 1.0 + place + random.random(),
        }
        for place, combination in enumerate(("t1+t2", "t2"))
        for seed in range(seeds)
        for subject in range(subjects)
        for region in ("ET", "TC", "WT")
    ]
    return pd.DataFrame(rows)


def test_subjects_are_counted_and_not_trainings() -> None:
    table = segmentation_table(scores(), "t1+t2", MARGINS)
    assert list(table["combination"]) == ["t1+t2"] * 3 + ["t2"] * 3
    assert list(table["region"]) == ["ET", "TC", "WT"] * 2
    assert set(table["n"]) == {6}
    row = table.iloc[4]
    data = scores()
    means = data[data["region"] == "TC"].pivot_table(index="subject", columns="combination", values=["dsc", "assd"])
    assert row["dsc_mean"] == pytest.approx(means["dsc"]["t2"].mean())
    assert row["dsc_sd"] == pytest.approx(means["dsc"]["t2"].std(ddof=1))
    expected = stats.ttest_rel(means["assd"]["t2"], means["assd"]["t1+t2"], alternative="greater").pvalue
    assert row["assd_p_worse"] == pytest.approx(expected)
    assert row["assd_loss"] == pytest.approx((means["assd"]["t2"] - means["assd"]["t1+t2"]).mean())


def test_cases_with_one_empty_mask_are_counted() -> None:
    assert list(segmentation_table(scores(), "t1+t2", MARGINS)["empty"]) == [0, 0, 0, 2, 0, 0]


def test_the_reference_is_compared_with_nothing() -> None:
    table = segmentation_table(scores(), "t1+t2", MARGINS)
    assert table.loc[:2, "dsc_p_worse"].isna().all()
    assert table.loc[3:, "dsc_p_worse"].notna().all()


def test_markdown() -> None:
    table = segmentation_table(scores(), "t1+t2", MARGINS)
    text = format_comparison(table, MARGINS)
    lines = [line for line in text.splitlines() if line.startswith("| t")]
    assert len(lines) == 12
    assert all(line.count("|") == 9 for line in text.splitlines() if line)
    assert "| t1+t2 | ET | 6 |" in text
    assert "reference" in lines[0]
    assert "< 0.001" in lines[4]
    assert "not shown" in lines[4]
    assert "p, loss below 0.05" in text
    assert "p, loss below 1" in text


def test_one_subject() -> None:
    text = format_comparison(segmentation_table(scores(subjects=1), "t1+t2", MARGINS), MARGINS)
    assert "n/a" in text
    assert "nan" not in text


def test_refuses_other_subjects_and_an_unknown_reference() -> None:
    data = scores()
    with pytest.raises(ValueError, match="t2 was tested on other subjects"):
        segmentation_table(data[(data["combination"] == "t1+t2") | (data["subject"] != "p1")], "t1+t2", MARGINS)
    with pytest.raises(ValueError, match="no scores of the reference, t1"):
        segmentation_table(data, "t1", MARGINS)
