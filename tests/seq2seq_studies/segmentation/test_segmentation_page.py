# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The page of results in docs is made of the scores beside it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from seq2seq_mri.evaluation.records import read_records
from seq2seq_studies.segmentation.segmentation_table import (
    SCORE_NUMBERS,
    SCORE_TEXT,
    format_comparison,
    segmentation_table,
)


@pytest.fixture(scope="module")
def page(repository) -> Path:
    path = repository / "docs" / "results" / "segmentation.md"
    if not path.is_file():
        pytest.skip("docs/results/segmentation.md is not in this checkout")
    return path


def test_the_page_in_docs_is_made_of_its_scores(page) -> None:
    text = page.read_text(encoding="utf-8")
    scores = read_records(page.with_suffix(".csv"), SCORE_TEXT, SCORE_NUMBERS)
    margins = {
        measure: float(re.findall(rf"{title}.*?p, loss below ([\d.]+)", text)[0])
        for measure, title in (("dsc", r"\| DSC,"), ("assd", r"\| ASSD"))
    }
    table = segmentation_table(scores, scores["combination"].iloc[0], margins)
    assert format_comparison(table, margins) in text
    assert {"t1+t1gd+t2+flair", "t1gd+flair"} <= set(table["combination"])
    assert table["combination"].nunique() >= 3
