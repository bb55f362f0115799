# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""A, C_t and C_d against Eq. 4 pair by pair, and what happens where something was not measured."""

from __future__ import annotations

import logging
import math

import numpy as np
import pandas as pd
import pytest

from seq2seq_mri.evaluation.contribution.contribution import (
    adjacency_matrix,
    contribution,
    contribution_ranks,
    read_adjacency,
)
from seq2seq_mri.evaluation.image_quality.quality_table import metrics_table
from seq2seq_mri.evaluation.records import write_records

SEQUENCES = {"t1": 1, "t1gd": 1, "t2": 1, "flair": 1}
BREAST = ("t1", "fatsat_t1", "t2", "dce", "fatsat_dce", "wash_in", "wash_out", "dwi")


@pytest.mark.parametrize(
    ("number", "region", "measures", "lpips"),
    [
        (2, "whole", ("psnr", "ssim"), True),
        (3, "central_crop", ("psnr_central_crop", "ssim_central_crop"), True),
        (8, "foreground", ("psnr_foreground", "ssim_foreground"), True),
        (8, "foreground", ("psnr_foreground", "ssim_foreground"), False),
    ],
)
def test_equals_the_equation_and_sums_to_zero(quality_rows, slow_scores, number, region, measures, lpips):
    names = BREAST[:number]
    # No subject has both fat-suppressed and other dynamic series; some lack LPIPS, and one pair has it nowhere.
    given = quality_rows(
        sequences=names,
        lacks={"001": ["t2", "dce"], "004": ["dwi", "dce"]}
        | {subject: ["fatsat_dce"] for subject in ("002", "003", "005")},
    )
    for row in given:
        if not lpips or row["subject"] == "002" or (row["source"], row["target"]) == ("t1", "fatsat_t1"):
            row["lpips"] = None
    itself = [given[0] | {"source": name, "target": name, measures[0]: math.inf} for name in names]  # does not enter
    adjacency = adjacency_matrix(metrics_table(given + itself, names), names, region)
    table = contribution(adjacency)
    expected = slow_scores(given, names, measures)
    assert list(adjacency.index) == list(adjacency.columns) == table["sequence"].tolist() == list(names)
    for found, slow in zip((adjacency, table["c_t"], table["c_d"]), expected, strict=True):
        np.testing.assert_allclose(found, slow, atol=1e-12)
    assert abs(table["c_t"].sum() + table["c_d"].sum()) < 1e-9
    assert list(table.sort_values("c_t", ascending=False)["rank_t"]) == list(range(1, number + 1))
    assert list(table.sort_values("c_d", ascending=False)["rank_d"]) == list(range(1, number + 1))


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_equal_measures_give_zero_and_shared_ranks(quality_rows, value):
    given = [row | {"psnr_foreground": value, "ssim_foreground": value, "lpips": value} for row in quality_rows()]
    adjacency = adjacency_matrix(metrics_table(given, SEQUENCES), SEQUENCES)
    assert (adjacency == 0).all(axis=None)
    assert (contribution(adjacency)[["rank_t", "rank_d"]] == 1).all(axis=None)


def test_unmeasured_pairs_are_reported_and_count_as_average(quality_rows, caplog):
    given = [
        row for row in quality_rows() if row["target"] != "flair" and (row["source"], row["target"]) != ("t1", "t2")
    ]
    with caplog.at_level(logging.WARNING):
        adjacency = adjacency_matrix(metrics_table(given, SEQUENCES), SEQUENCES)
    assert "t1 to t2, t1 to flair, t1gd to flair, t2 to flair" in caplog.text
    assert adjacency.isna().sum().sum() == 4
    table = contribution(adjacency).set_index("sequence")
    assert table.loc["t1", "c_t"] == pytest.approx(adjacency.loc["t1", "t1gd"] / 4)
    assert np.isnan(table.loc["flair", "c_d"])
    assert table.loc["flair", "rank_d"] is pd.NA
    assert sorted(table["rank_d"].dropna()) == [1, 2, 3]


@pytest.mark.parametrize(
    ("region", "change", "message"),
    [
        ("whole", lambda table: table.assign(source="pd"), "names pd; known sequences: t1"),
        ("whole", lambda table: pd.concat([table, table.iloc[[3]]]), "Subject '001': t1gd to t1 was measured twice"),
        ("whole", lambda table: table.assign(psnr=math.inf), "Subject '001': the measures of t1 to t1gd are infinite"),
        ("whole", lambda table: table.iloc[:0], "no measured pair"),
        ("brain", lambda table: table, "Unknown region 'brain'"),
    ],
)
def test_refuses_wrong_tables_and_regions(quality_rows, region, change, message):
    with pytest.raises(ValueError, match=message):
        adjacency_matrix(change(metrics_table(quality_rows(), SEQUENCES)), SEQUENCES, region)


def test_equal_scores_share_the_better_rank():
    third = 0.1 + 0.2  # 0.30000000000000004
    np.testing.assert_array_equal(contribution_ranks(np.array([0.3, third, -1.0, 0.3])), [1, 1, 4, 1])
    scores = np.random.default_rng(0).integers(0, 4, (20, 7)).astype(float)
    scores[scores == 0] = np.nan
    expected = pd.DataFrame(scores).rank(axis=1, ascending=False, method="min")
    np.testing.assert_array_equal(contribution_ranks(scores), expected)


def test_the_file_of_the_matrix_is_read_back_exactly(quality_rows, tmp_path):
    given = [row for row in quality_rows() if row["target"] != "flair"]
    adjacency = adjacency_matrix(metrics_table(given, SEQUENCES), SEQUENCES)
    write_records(tmp_path / "adjacency.csv", adjacency.reset_index())
    pd.testing.assert_frame_equal(read_adjacency(tmp_path / "adjacency.csv"), adjacency, check_exact=True)


def test_refuses_a_matrix_of_other_targets_than_sources(tmp_path):
    path = tmp_path / "adjacency.csv"
    path.write_text("source,a,b\na,0,1\n")
    with pytest.raises(ValueError, match=r"adjacency.csv has sources \['a'\] but targets"):
        read_adjacency(path)
