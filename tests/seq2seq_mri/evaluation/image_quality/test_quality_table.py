# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from seq2seq_mri.evaluation.image_quality.quality_table import (
    METRIC_COLUMNS,
    format_summary,
    metrics_table,
    read_metrics,
    summarise_pairs,
    summarise_targets,
    write_metrics,
)

SEQUENCES = {"t2": 1, "t1": 1, "flair": 1}


def rows(subjects=("b", "001", "NA"), seed=0, **fixed):
    generator = np.random.default_rng(seed)
    numbers = METRIC_COLUMNS[3:-1]
    return [
        {"subject": subject, "source": source, "target": target, "data_range": 1.0}
        | {name: float(generator.random()) for name in numbers}
        | fixed
        for subject in subjects
        for source in SEQUENCES
        for target in SEQUENCES
        if source != target
    ]


def test_columns_are_those_of_the_file_format():
    header = "subject,source,target,psnr,ssim,lpips,psnr_foreground,ssim_foreground"
    header += ",psnr_central_crop,ssim_central_crop,data_range"
    assert ",".join(METRIC_COLUMNS) == header


def test_order_does_not_depend_on_who_measured_first(tmp_path):
    given = rows()
    table = metrics_table(given, SEQUENCES)
    assert list(table["subject"].unique()) == ["001", "NA", "b"]
    assert list(zip(table["source"][:3], table["target"][:3], strict=True)) == [
        ("t2", "t1"),
        ("t2", "flair"),
        ("t1", "t2"),
    ]
    write_metrics(tmp_path / "one.csv", table)
    write_metrics(tmp_path / "two.csv", metrics_table(given[::-1], list(SEQUENCES)))
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()


def test_file_round_trip_is_exact(tmp_path):
    table = metrics_table(rows(lpips=None, psnr=math.inf), SEQUENCES)
    write_metrics(tmp_path / "new" / "metrics.csv", table)
    again = read_metrics(tmp_path / "new" / "metrics.csv")
    pd.testing.assert_frame_equal(again, table, check_exact=True)
    assert again["lpips"].isna().all()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["metrics.csv"]


def test_empty_table_round_trip(tmp_path):
    table = metrics_table([], SEQUENCES)
    write_metrics(tmp_path / "metrics.csv", table)
    again = read_metrics(tmp_path / "metrics.csv")
    assert again.empty
    assert list(again.columns) == list(METRIC_COLUMNS)
    assert format_summary(again) == "No pair was measured."


def test_existing_file_stays_unless_overwritten(tmp_path):
    path = tmp_path / "metrics.csv"
    write_metrics(path, metrics_table(rows(seed=0), SEQUENCES))
    before = path.read_bytes()
    other = metrics_table(rows(seed=1), SEQUENCES)
    with pytest.raises(OSError, match=r"metrics\.csv"):
        write_metrics(path, other)
    assert path.read_bytes() == before
    write_metrics(path, other, overwrite=True)
    assert path.read_bytes() != before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row.pop("ssim"), "expected subject,"),
        (lambda row: row.update(mse=1.0), "expected subject,"),
        (lambda row: row.update(source="pd"), "Subject 'b': unknown sequence 'pd'; known: t2, t1, flair"),
        (lambda row: row.update(source="t2", target="flair"), "Subject 'b': t2 to flair was measured twice"),
    ],
)
def test_refuses_wrong_rows(change, message):
    given = rows()
    change(given[0])
    with pytest.raises(ValueError, match=message):
        metrics_table(given, SEQUENCES)


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


def test_absent_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.csv"):
        read_metrics(tmp_path / "absent.csv")


def test_pair_summary_is_over_subjects():
    table = metrics_table(rows(), SEQUENCES)
    summary = summarise_pairs(table).set_index(["source", "target"])
    assert len(summary) == 6
    for (source, target), row in summary.iterrows():
        values = [r["ssim"] for r in rows() if (r["source"], r["target"]) == (source, target)]
        assert row["subjects"] == 3
        assert row["ssim_mean"] == pytest.approx(np.mean(values))
        assert row["ssim_sd"] == pytest.approx(np.std(values, ddof=1))


def test_target_summary_averages_sources_within_a_subject_first():
    given = [row for row in rows() if not (row["subject"] == "b" and row["source"] == "t1")]
    itself = {**given[0], "source": "flair", "target": "flair", "psnr": 1e6}
    summary = summarise_targets(metrics_table([*given, itself], SEQUENCES)).set_index("target")
    values = [
        np.mean([r["psnr"] for r in given if (r["subject"], r["target"]) == (subject, "flair")])
        for subject in ("b", "001", "NA")
    ]
    assert summary.loc["flair", "psnr_mean"] == pytest.approx(np.mean(values))
    assert summary.loc["flair", "psnr_sd"] == pytest.approx(np.std(values, ddof=1))
    assert (summary["subjects"] == 3).all()


def test_printed_summary_names_the_data_range_and_leaves_out_what_was_not_measured():
    text = format_summary(metrics_table(rows(lpips=None, psnr=24.5, data_range=2.0), SEQUENCES))
    assert "data range 2." in text
    assert "24.50 ± 0.00" in text
    assert "lpips" not in text
    assert text.count("flair") == 4 + 1


def test_one_subject_and_infinite_psnr_print():
    text = format_summary(metrics_table(rows(subjects=["a"], psnr=math.inf), SEQUENCES))
    assert "inf" in text
    assert "lpips" in text
