# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The page in docs: that it says how it was made, and is made of the image quality beside it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from seq2seq_mri.evaluation.contribution.contribution_bootstrap import bootstrap_contribution
from seq2seq_mri.evaluation.contribution.contribution_table import cohort_contribution, format_contribution
from seq2seq_mri.evaluation.image_quality.quality_table import METRIC_COLUMNS
from seq2seq_mri.evaluation.records import read_records
from seq2seq_mri.sequences import SEQUENCE_TABLES


@pytest.fixture(scope="module")
def page(repository) -> Path:
    path = repository / "docs" / "results" / "contribution.md"
    if not path.is_file():
        pytest.skip("docs/results/contribution.md is not in this checkout")
    return path


def test_the_page_in_docs_is_made_of_its_image_quality(page) -> None:
    text = page.read_text(encoding="utf-8")
    quality = read_records(page.with_suffix(".csv"), ("cohort", *METRIC_COLUMNS[:3]), METRIC_COLUMNS[3:])
    samples = int(re.findall(r"^- \*\*Budget\*\*: (\d+) bootstrap samples", text, re.MULTILINE)[0])
    seed = int(re.findall(r"^- \*\*Seeds\*\*: (\d+)", text, re.MULTILINE)[0])
    assert quality["cohort"].nunique() == 2
    for cohort, rows in quality.groupby("cohort"):
        sequences = next(table for table in SEQUENCE_TABLES.values() if set(rows["source"]) <= set(table))
        bootstrap = bootstrap_contribution(rows, sequences, samples=samples, seed=seed)
        assert rows["subject"].nunique() >= 8
        assert format_contribution(cohort_contribution(str(cohort), bootstrap)) in text
