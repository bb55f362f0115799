# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import itertools
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
from seq2seq_mri.evaluation.image_quality.quality_table import METRIC_COLUMNS, metrics_table
from seq2seq_mri.evaluation.records import write_records

SEQUENCES = {"t1": 1, "t1gd": 1, "t2": 1, "flair": 1}
FOREGROUND = {"psnr_foreground": 1, "ssim_foreground": 1}


def rows(subjects=7, sequences=SEQUENCES, missing=0.3, seed=0):
    """Random measures in which every subject lacks some pairs."""
    generator = np.random.default_rng(seed)
    result = []
    for subject in range(subjects):
        for source in sequences:
            for target in sequences:
                if source != target and (subject == 0 or generator.random() > missing):
                    numbers = generator.normal(
                        [25, 0.8, 0.2, 18, 0.6, 22, 0.7], [3, 0.05, 0.04, 3, 0.1, 3, 0.1]
                    ).tolist()
                    values = [f"subject{subject}", source, target, *numbers, 1.0]
                    result.append(dict(zip(METRIC_COLUMNS, values, strict=True)))
    return result


def slow_adjacency(given, sequences, measures):
    """A of Eq. 4, pair by pair."""
    names = list(sequences)
    adjacency = np.zeros((len(names), len(names)))
    for i, source in enumerate(names):
        for j, target in enumerate(names):
            if i == j:
                continue
            z = []
            for measure, sign in measures.items():
                everything = [row[measure] for row in given if row["source"] != row["target"]]
                pair = [row[measure] for row in given if (row["source"], row["target"]) == (source, target)]
                if pair:
                    z.append(sign * (sum(pair) / len(pair) - np.mean(everything)) / np.std(everything))
            adjacency[i, j] = sum(z) if z else math.nan
    return adjacency


@pytest.mark.parametrize(
    ("region", "measures"),
    [
        ("whole", {"psnr": 1, "ssim": 1, "lpips": -1}),
        ("foreground", {"psnr_foreground": 1, "ssim_foreground": 1, "lpips": -1}),
        ("central_crop", {"psnr_central_crop": 1, "ssim_central_crop": 1, "lpips": -1}),
    ],
)
def test_adjacency_equals_the_equation(region, measures):
    given = rows()
    result = adjacency_matrix(metrics_table(given, SEQUENCES), SEQUENCES, region=region)
    assert list(result.index) == list(result.columns) == list(SEQUENCES)
    np.testing.assert_allclose(result, slow_adjacency(given, SEQUENCES, measures), atol=1e-12)


def test_eight_sequences_of_which_every_subject_lacks_some():
    names = ["t1", "fatsat_t1", "t2", "dce", "fatsat_dce", "wash_in", "wash_out", "dwi"]
    generator = np.random.default_rng(1)
    # Fat-suppressed and other dynamic series were never acquired together.
    lacking = [{"dce" if subject % 2 else "fatsat_dce", *generator.choice(names, 2)} for subject in range(9)]
    given = [
        row
        for row in rows(9, names, missing=0.0)
        if not {row["source"], row["target"]} & lacking[int(row["subject"].removeprefix("subject"))]
    ]
    absent = [("dce", "fatsat_dce"), ("fatsat_dce", "dce")]
    assert {(row["source"], row["target"]) for row in given} == {*itertools.permutations(names, 2)} - {*absent}
    adjacency = adjacency_matrix(metrics_table(given, names), names)
    expected = slow_adjacency(given, names, FOREGROUND | {"lpips": -1})
    np.testing.assert_allclose(adjacency, expected, atol=1e-12)
    table = contribution(adjacency)
    np.testing.assert_allclose(table["c_t"], np.nansum(expected, axis=1) / 8, atol=1e-12)
    np.testing.assert_allclose(table["c_d"], -np.nansum(expected, axis=0) / 8, atol=1e-12)
    assert sorted(table["rank_t"]) == sorted(table["rank_d"]) == list(range(1, 9))


def test_three_sequences_by_hand():
    """A, C_t and C_d from the numbers of a sheet of paper.

    PSNR a→b 30, a→c 26, b→a 24, b→c 22, c→a 20, c→b 22: mean 24, variance (36 + 4 + 0 + 4 + 16 + 4)/6 = 32/3.
    SSIM tells only a→b (0.9) from the others (0.6): mean 0.65, deviation √((0.25² + 5 · 0.05²)/6) = 0.05 √5, so z is √5
    and -1/√5. LPIPS is 0.2 for targets a and b, 0.4 for c: mean 0.8/3, deviation 0.2 √(2/9), so z, its sign turned, is
    1/√2 and -√2.
    """
    psnr = {"ab": 30.0, "ac": 26.0, "ba": 24.0, "bc": 22.0, "ca": 20.0, "cb": 22.0}
    given = rows(1, ["a", "b", "c"])
    for row in given:
        pair = row["source"] + row["target"]
        row.update(psnr=psnr[pair], ssim=0.9 if pair == "ab" else 0.6, lpips=0.4 if pair[1] == "c" else 0.2)
    adjacency = adjacency_matrix(metrics_table(given, ["a", "b", "c"]), ["a", "b", "c"], region="whole")
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


@pytest.mark.parametrize("number", [2, 3, 8])
@pytest.mark.parametrize("missing", [0.0, 0.6])
def test_contribution_equals_the_equation_and_sums_to_zero(number, missing):
    names = [f"sequence{index}" for index in range(number)]
    adjacency = adjacency_matrix(metrics_table(rows(5, names, missing), names), names)
    table = contribution(adjacency)
    for index in range(number):
        assert table["c_t"][index] == pytest.approx(sum(adjacency.iloc[index, j] for j in range(number)) / number)
        assert table["c_d"][index] == pytest.approx(-sum(adjacency.iloc[i, index] for i in range(number)) / number)
    assert abs(table["c_t"].sum() + table["c_d"].sum()) < 1e-9
    assert list(table.sort_values("c_t", ascending=False)["rank_t"]) == list(range(1, number + 1))
    assert list(table.sort_values("c_d", ascending=False)["rank_d"]) == list(range(1, number + 1))


def test_absent_lpips_is_left_out():
    given = [row | {"lpips": None} for row in rows()]
    result = adjacency_matrix(metrics_table(given, SEQUENCES), SEQUENCES)
    np.testing.assert_allclose(result, slow_adjacency(given, SEQUENCES, FOREGROUND), atol=1e-12)


def test_pair_without_lpips_uses_its_other_measures():
    given = rows()
    for row in given:
        if (row["source"], row["target"]) == ("t1", "t2"):
            row["lpips"] = math.nan
    result = adjacency_matrix(metrics_table(given, SEQUENCES), SEQUENCES)
    assert result.loc["t1", "t2"] == pytest.approx(slow_adjacency(given, SEQUENCES, FOREGROUND)[0, 2])


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_equal_measures_give_zero_and_shared_ranks(value):
    given = [row | {"psnr_foreground": value, "ssim_foreground": value, "lpips": value} for row in rows()]
    adjacency = adjacency_matrix(metrics_table(given, SEQUENCES), SEQUENCES)
    assert (adjacency == 0).all(axis=None)
    assert (contribution(adjacency)[["rank_t", "rank_d"]] == 1).all(axis=None)


def test_self_reconstruction_does_not_enter():
    given = rows()
    itself = [given[0] | {"source": name, "target": name, "psnr_foreground": math.inf} for name in SEQUENCES]
    pd.testing.assert_frame_equal(
        adjacency_matrix(metrics_table(given + itself, SEQUENCES), SEQUENCES),
        adjacency_matrix(metrics_table(given, SEQUENCES), SEQUENCES),
    )


def test_unmeasured_pairs_are_reported_and_count_as_average(caplog):
    given = [row for row in rows() if row["target"] != "flair" and (row["source"], row["target"]) != ("t1", "t2")]
    with caplog.at_level(logging.WARNING):
        adjacency = adjacency_matrix(metrics_table(given, SEQUENCES), SEQUENCES)
    assert "t1 to t2, t1 to flair, t1gd to flair, t2 to flair" in caplog.text
    assert adjacency.isna().sum().sum() == 4
    assert (np.diag(adjacency) == 0).all()
    table = contribution(adjacency).set_index("sequence")
    assert table.loc["t1", "c_t"] == pytest.approx(adjacency.loc["t1", "t1gd"] / 4)
    assert np.isnan(table.loc["flair", "c_d"])
    assert table.loc["flair", "rank_d"] is pd.NA
    assert sorted(table["rank_d"].dropna()) == [1, 2, 3]
    assert abs(table["c_t"].sum() + table["c_d"].sum()) < 1e-9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.assign(source="pd"), "names pd; known sequences: t1"),
        (lambda table: pd.concat([table, table.iloc[[3]]]), "Subject 'subject0': t1gd to t1 was measured twice"),
        (
            lambda table: table.assign(psnr_foreground=math.inf),
            "Subject 'subject0': the measures of t1 to t1gd are infinite",
        ),
        (lambda table: table.iloc[:0], "no measured pair"),
    ],
)
def test_refuses_wrong_tables(change, message):
    with pytest.raises(ValueError, match=message):
        adjacency_matrix(change(metrics_table(rows(), SEQUENCES)), SEQUENCES)


def test_refuses_wrong_arguments():
    with pytest.raises(ValueError, match="Unknown region 'brain'"):
        adjacency_matrix(metrics_table(rows(), SEQUENCES), SEQUENCES, region="brain")


def test_equal_scores_share_the_better_rank():
    third = 0.1 + 0.2  # 0.30000000000000004
    np.testing.assert_array_equal(contribution_ranks(np.array([0.3, third, -1.0, 0.3])), [1, 1, 4, 1])
    scores = np.random.default_rng(0).integers(0, 4, (20, 7)).astype(float)
    scores[scores == 0] = np.nan
    expected = pd.DataFrame(scores).rank(axis=1, ascending=False, method="min")
    np.testing.assert_array_equal(contribution_ranks(scores), expected)


@pytest.mark.parametrize("complete", [True, False])
def test_the_file_of_the_matrix_is_read_back_exactly(tmp_path, complete):
    given = [row for row in rows() if complete or row["target"] != "flair"]
    adjacency = adjacency_matrix(metrics_table(given, SEQUENCES), SEQUENCES)
    write_records(tmp_path / "adjacency.csv", adjacency.reset_index())
    pd.testing.assert_frame_equal(read_adjacency(tmp_path / "adjacency.csv"), adjacency, check_exact=True)


def test_refuses_a_matrix_of_other_targets_than_sources(tmp_path):
    path = tmp_path / "adjacency.csv"
    path.write_text("source,a,b\na,0,1\n")
    with pytest.raises(ValueError, match=r"adjacency.csv has sources \['a'\] but targets"):
        read_adjacency(path)
