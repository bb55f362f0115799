# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The tests of non-inferiority against scipy and closed forms, and the table of a comparison of combinations."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from scipy import stats

from seq2seq_mri.evaluation.records import read_records
from seq2seq_studies.segmentation.segmentation_table import (
    SCORE_NUMBERS,
    SCORE_TEXT,
    format_comparison,
    non_inferiority,
    segmentation_table,
)

MARGINS = {"dsc": 0.05, "assd": 1.0}


def test_subjects_are_counted_and_not_trainings(scores) -> None:
    table = segmentation_table(scores(), "t1+t2", MARGINS)
    assert list(table["combination"]) == ["t1+t2"] * 3 + ["t2"] * 3
    assert list(table["region"]) == ["ET", "TC", "WT"] * 2
    assert set(table["n"]) == {6}
    assert list(table["empty"]) == [0, 0, 0, 2, 0, 0]
    assert table.loc[:2, "dsc_p_worse"].isna().all()
    assert table.loc[3:, "dsc_p_worse"].notna().all()
    row = table.iloc[4]
    data = scores()
    means = data[data["region"] == "TC"].pivot_table(index="subject", columns="combination", values=["dsc", "assd"])
    assert row["dsc_mean"] == pytest.approx(means["dsc"]["t2"].mean())
    assert row["dsc_sd"] == pytest.approx(means["dsc"]["t2"].std(ddof=1))
    expected = stats.ttest_rel(means["assd"]["t2"], means["assd"]["t1+t2"], alternative="greater").pvalue
    assert row["assd_p_worse"] == pytest.approx(expected)
    assert row["assd_loss"] == pytest.approx((means["assd"]["t2"] - means["assd"]["t1+t2"]).mean())


def test_markdown(scores) -> None:
    table = segmentation_table(scores(), "t1+t2", MARGINS)
    text = format_comparison(table, MARGINS)
    lines = [line for line in text.splitlines() if line.startswith("| t")]
    assert len(lines) == 12
    assert all(line.count("|") == 9 for line in text.splitlines() if line)
    for part in ("| t1+t2 | ET | 6 |", "p, loss below 0.05", "p, loss below 1"):
        assert part in text
    assert "reference" in lines[0]
    assert {"< 0.001", "not shown"} <= {cell.strip() for cell in lines[4].split("|")}


def test_one_subject(scores) -> None:
    text = format_comparison(segmentation_table(scores(subjects=1), "t1+t2", MARGINS), MARGINS)
    assert "n/a" in text
    assert "nan" not in text


def test_the_page_in_docs_is_made_of_its_scores(repository) -> None:
    page = repository / "docs" / "results" / "segmentation.md"
    text = page.read_text(encoding="utf-8")
    scores = read_records(page.with_suffix(".csv"), SCORE_TEXT, SCORE_NUMBERS)
    margins = {
        measure: float(re.findall(rf"{title}.*?p, loss below ([\d.]+)", text)[0])
        for measure, title in (("dsc", r"\| DSC,"), ("assd", r"\| ASSD"))
    }
    table = segmentation_table(scores, scores["combination"].iloc[0], margins)
    assert format_comparison(table, margins) in text
    assert {"t1+t1gd+t2+flair", "t1gd+flair"} <= set(table["combination"])


def test_refuses_other_subjects(scores) -> None:
    data = scores()
    with pytest.raises(ValueError, match="t2 was tested on other subjects"):
        segmentation_table(data[(data["combination"] == "t1+t2") | (data["subject"] != "p1")], "t1+t2", MARGINS)


@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_non_inferiority_against_scipy(confidence) -> None:
    random = np.random.default_rng(0)
    reference = random.uniform(0.6, 0.95, 11)
    candidate = reference - random.normal(0.02, 0.04, 11)
    result = non_inferiority(reference - candidate, 0.05, confidence)
    assert result["loss"] == pytest.approx(np.mean(reference) - np.mean(candidate))
    assert result["p_worse"] == pytest.approx(stats.ttest_rel(reference, candidate, alternative="greater").pvalue)
    shifted = stats.ttest_rel(candidate + 0.05, reference, alternative="greater")
    assert result["p_non_inferior"] == pytest.approx(shifted.pvalue)
    # The one-sided limit is an end of the two-sided interval at twice the level.
    interval = stats.ttest_rel(reference, candidate).confidence_interval(2 * confidence - 1)
    assert result["upper"] == pytest.approx(interval.high)
    assert result["non_inferior"] == (result["p_non_inferior"] < 1 - confidence)


@pytest.mark.parametrize(
    ("loss", "p_worse", "p_non_inferior", "non_inferior"),
    [(-0.25, 1.0, 0.0, 1), (0.0, math.nan, 0.0, 1), (0.25, 0.0, 0.0, 1), (0.5, 0.0, math.nan, 0), (1.0, 0.0, 1.0, 0)],
)
def test_equal_losses(loss, p_worse, p_non_inferior, non_inferior) -> None:
    result = non_inferiority(np.full(4, loss), 0.5)
    assert list(result.values()) == pytest.approx([loss, loss, p_worse, p_non_inferior, non_inferior], nan_ok=True)
