# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
import pytest

from seq2seq_mri.evaluation.image_quality.quality_table import (
    METRIC_COLUMNS,
    format_summary,
    metrics_table,
    read_metrics,
)
from seq2seq_mri.evaluation.records import write_records

SEQUENCES = {"t2": 1, "t1": 1, "flair": 1}


@pytest.fixture
def rows(quality_rows):
    """Rows of subjects whose names are no numbers and no missing values, not in alphabetical order."""

    def make(subjects=("b", "001", "NA"), seed=0, **fixed):
        return [row | fixed for row in quality_rows(subjects, SEQUENCES, seed=seed)]

    return make


def test_order_does_not_depend_on_who_measured_first(rows, tmp_path):
    given = rows()
    table = metrics_table(given, SEQUENCES)
    assert list(table["subject"].unique()) == ["001", "NA", "b"]
    assert [*table["source"][:3]] == ["t2", "t2", "t1"]
    assert [*table["target"][:3]] == ["t1", "flair", "t2"]
    write_records(tmp_path / "one.csv", table)
    write_records(tmp_path / "two.csv", metrics_table(given[::-1], list(SEQUENCES)))
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()


def test_file_round_trip_is_exact(rows, tmp_path):
    table = metrics_table(rows(lpips=None, psnr=math.inf), SEQUENCES)
    write_records(tmp_path / "new" / "metrics.csv", table)
    again = read_metrics(tmp_path / "new" / "metrics.csv")
    pd.testing.assert_frame_equal(again, table, check_exact=True)
    assert again["lpips"].isna().all()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["metrics.csv"]


def test_empty_table_round_trip(tmp_path):
    table = metrics_table([], SEQUENCES)
    write_records(tmp_path / "metrics.csv", table)
    again = read_metrics(tmp_path / "metrics.csv")
    assert again.empty
    assert list(again.columns) == list(METRIC_COLUMNS)
    assert format_summary(again) == "No pair was measured."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a CSV table"),
        (b"\xff\xfe\x00\x01", "not a CSV table"),
        (b"subject,source\na,t1\n", "has the columns subject, source; expected"),
        (",".join(METRIC_COLUMNS).encode() + b"\na,t1,t2,high,1,1,1,1,1,1,1\n", "column 'psnr'"),
    ],
)
def test_refuses_wrong_files(tmp_path, content, message):
    path = tmp_path / "metrics.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_metrics(path)
    assert str(path) in str(caught.value)


def test_printed_summary_names_the_data_range_and_leaves_out_what_was_not_measured(rows):
    text = format_summary(metrics_table(rows(lpips=None, psnr=24.5, data_range=2.0), SEQUENCES))
    assert "data range 2." in text
    assert "24.50 ± 0.00" in text
    assert "lpips" not in text
    assert text.count("flair") == 4 + 1


def test_summary_is_over_subjects_of_which_each_first_averages_its_sources(rows):
    given = [row for row in rows() if not (row["subject"] == "b" and row["source"] == "t1")]
    itself = {**given[0], "source": "flair", "target": "flair", "psnr": 1e6}
    lines = format_summary(metrics_table([*given, itself], SEQUENCES)).splitlines()
    lines = [" ".join(line.split()) for line in lines]
    of_pair = [row["ssim"] for row in given if (row["source"], row["target"]) == ("t2", "flair")]
    expected = f"t2 flair 3 .* {np.mean(of_pair):.4f} ± {np.std(of_pair, ddof=1):.4f}"
    assert any(re.match(expected, line) for line in lines)
    by_subject = pd.DataFrame(given).query("target == 'flair'").groupby("subject")["psnr"].mean()
    assert any(line.startswith(f"flair 3 {by_subject.mean():.2f} ± {by_subject.std():.2f}") for line in lines)
