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


@pytest.mark.parametrize("number", [2, 3, 8])
@pytest.mark.parametrize(
    ("region", "measures"),
    [
        ("whole", ("psnr", "ssim")),
        ("foreground", ("psnr_foreground", "ssim_foreground")),
        ("central_crop", ("psnr_central_crop", "ssim_central_crop")),
    ],
)
def test_equals_the_equation_and_sums_to_zero(quality_rows, slow_scores, number, region, measures):
    names = BREAST[:number]
    # No subject has both fat-suppressed and other dynamic series; some lack LPIPS, and one pair has it nowhere.
    given = quality_rows(
        sequences=names,
        lacks={"001": ["t2", "dce"], "004": ["dwi", "dce"]}
        | {subject: ["fatsat_dce"] for subject in ("002", "003", "005")},
    )
    for row in given:
        if row["subject"] == "002" or (row["source"], row["target"]) == ("t1", "fatsat_t1"):
            row["lpips"] = None
    adjacency = adjacency_matrix(metrics_table(given, names), names, region)
    table = contribution(adjacency)
    expected = slow_scores(given, names, measures)
    assert list(adjacency.index) == list(adjacency.columns) == table["sequence"].tolist() == list(names)
    for found, slow in zip((adjacency, table["c_t"], table["c_d"]), expected, strict=True):
        np.testing.assert_allclose(found, slow, atol=1e-12)
    assert abs(table["c_t"].sum() + table["c_d"].sum()) < 1e-9
    assert list(table.sort_values("c_t", ascending=False)["rank_t"]) == list(range(1, number + 1))
    assert list(table.sort_values("c_d", ascending=False)["rank_d"]) == list(range(1, number + 1))


def test_three_sequences_by_hand(quality_rows):
    """A, C_t and C_d from the numbers of a sheet of paper.

    PSNR a→b 30, a→c 26, b→a 24, b→c 22, c→a 20, c→b 22: mean 24, variance (36 + 4 + 0 + 4 + 16 + 4)/6 = 32/3.
    SSIM tells only a→b (0.9) from the others (0.6): mean 0.65, deviation √((0.25² + 5 · 0.05²)/6) = 0.05 √5, so z is √5
    and -1/√5. LPIPS is 0.2 for targets a and b, 0.4 for c: mean 0.8/3, deviation 0.2 √(2/9), so z, its sign turned, is
    1/√2 and -√2.
    """
    psnr = {"ab": 30.0, "ac": 26.0, "ba": 24.0, "bc": 22.0, "ca": 20.0, "cb": 22.0}
    given = quality_rows(["one"], "abc")
    for row in given:
        pair = row["source"] + row["target"]
        row.update(psnr=psnr[pair], ssim=0.9 if pair == "ab" else 0.6, lpips=0.4 if pair[1] == "c" else 0.2)
    adjacency = adjacency_matrix(metrics_table(given, "abc"), "abc", region="whole")
    low, unit = -1 / math.sqrt(5), math.sqrt(32 / 3)
    expected = {
        "ab": 6 / unit + math.sqrt(5) + math.sqrt(0.5),
        "ac": 2 / unit + low - math.sqrt(2),
        "ba": 0 / unit + low + math.sqrt(0.5),
        "bc": -2 / unit + low - math.sqrt(2),
        "ca": -4 / unit + low + math.sqrt(0.5),
        "cb": -2 / unit + low + math.sqrt(0.5),
    }
    for pair, value in expected.items():
        assert adjacency.loc[pair[0], pair[1]] == pytest.approx(value)
    table = contribution(adjacency).set_index("sequence")
    assert table.loc["a", "c_t"] == pytest.approx((expected["ab"] + expected["ac"]) / 3)
    assert table.loc["c", "c_d"] == pytest.approx(-(expected["ac"] + expected["bc"]) / 3)
    assert table["c_t"].sum() == pytest.approx(-table["c_d"].sum(), abs=1e-12)


def test_absent_lpips_is_left_out(quality_rows, slow_scores):
    given = [row | {"lpips": None} for row in quality_rows()]
    result = adjacency_matrix(metrics_table(given, SEQUENCES), SEQUENCES)
    np.testing.assert_allclose(result, slow_scores(given, SEQUENCES)[0], atol=1e-12)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_equal_measures_give_zero_and_shared_ranks(quality_rows, value):
    given = [row | {"psnr_foreground": value, "ssim_foreground": value, "lpips": value} for row in quality_rows()]
    adjacency = adjacency_matrix(metrics_table(given, SEQUENCES), SEQUENCES)
    assert (adjacency == 0).all(axis=None)
    assert (contribution(adjacency)[["rank_t", "rank_d"]] == 1).all(axis=None)


def test_self_reconstruction_does_not_enter(quality_rows):
    given = quality_rows()
    itself = [given[0] | {"source": name, "target": name, "psnr_foreground": math.inf} for name in SEQUENCES]
    tables = [adjacency_matrix(metrics_table(rows, SEQUENCES), SEQUENCES) for rows in (given + itself, given)]
    pd.testing.assert_frame_equal(*tables)


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
    ("change", "message"),
    [
        (lambda table: table.assign(source="pd"), "names pd; known sequences: t1"),
        (lambda table: pd.concat([table, table.iloc[[3]]]), "Subject '001': t1gd to t1 was measured twice"),
        (
            lambda table: table.assign(psnr_foreground=math.inf),
            "Subject '001': the measures of t1 to t1gd are infinite",
        ),
        (lambda table: table.iloc[:0], "no measured pair"),
    ],
)
def test_refuses_wrong_tables(quality_rows, change, message):
    with pytest.raises(ValueError, match=message):
        adjacency_matrix(change(metrics_table(quality_rows(), SEQUENCES)), SEQUENCES)


def test_refuses_an_unknown_region(quality_rows):
    with pytest.raises(ValueError, match="Unknown region 'brain'"):
        adjacency_matrix(metrics_table(quality_rows(), SEQUENCES), SEQUENCES, region="brain")


def test_equal_scores_share_the_better_rank():
    third = 0.1 + 0.2  # 0.30000000000000004
    np.testing.assert_array_equal(contribution_ranks(np.array([0.3, third, -1.0, 0.3])), [1, 1, 4, 1])
    scores = np.random.default_rng(0).integers(0, 4, (20, 7)).astype(float)
    scores[scores == 0] = np.nan
    expected = pd.DataFrame(scores).rank(axis=1, ascending=False, method="min")
    np.testing.assert_array_equal(contribution_ranks(scores), expected)


@pytest.mark.parametrize("complete", [True, False])
def test_the_file_of_the_matrix_is_read_back_exactly(quality_rows, tmp_path, complete):
    given = [row for row in quality_rows() if complete or row["target"] != "flair"]
    adjacency = adjacency_matrix(metrics_table(given, SEQUENCES), SEQUENCES)
    write_records(tmp_path / "adjacency.csv", adjacency.reset_index())
    pd.testing.assert_frame_equal(read_adjacency(tmp_path / "adjacency.csv"), adjacency, check_exact=True)


def test_refuses_a_matrix_of_other_targets_than_sources(tmp_path):
    path = tmp_path / "adjacency.csv"
    path.write_text("source,a,b\na,0,1\n")
    with pytest.raises(ValueError, match=r"adjacency.csv has sources \['a'\] but targets"):
        read_adjacency(path)
