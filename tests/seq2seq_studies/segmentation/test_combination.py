# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""How combinations of sequences are written and read."""

from __future__ import annotations

import pytest

from seq2seq_studies.segmentation.combination import default_combinations, parse_combination, parse_combinations

BRATS = {"t1": 1, "t1gd": 1, "t2": 1, "flair": 1}


@pytest.mark.parametrize("text", ["t1gd+flair", "flair+t1gd", " flair + t1gd"])
def test_the_order_is_the_tables(text) -> None:
    combination = parse_combination(text, BRATS)
    assert combination.order == combination.measured == ("t1gd", "flair")
    assert combination.name == "t1gd+flair"
    assert combination.folder == "t1gd_flair"


def test_synthesised_sequences() -> None:
    combination = parse_combination("flair+t1gd:synthesised+t1", BRATS)
    assert combination.order == ("t1", "t1gd", "flair")
    assert combination.measured == ("t1", "flair")
    assert combination.synthesised == ("t1gd",)
    assert combination.name == "t1+t1gd:synthesised+flair"
    assert combination.folder == "t1_t1gd-synthesised_flair"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("t1+pd", "unknown sequence 'pd'; there are t1, t1gd, t2, flair"),
        ("", "unknown sequence ''"),
        ("t1+t1", "t1 stands twice"),
        ("t1+t1:synthesised", "t1 stands twice"),
        ("t1:made", "'t1:made' is not 't1'"),
    ],
)
def test_refuses_what_it_cannot_read(text, message) -> None:
    with pytest.raises(ValueError, match=message):
        parse_combination(text, BRATS)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["t1"], "at least two"),
        (["t1+t2", "t2+t1"], r"t1\+t2 stands twice"),
        (["t1+t2", "t1_t2"], "share a folder"),
    ],
)
def test_refuses_what_cannot_be_compared(texts, message) -> None:
    with pytest.raises(ValueError, match=message):
        parse_combinations(texts, {**BRATS, "t1_t2": 1})


@pytest.mark.parametrize("synthesised", [False, True])
def test_defaults_compare_t1gd_and_flair_with_all(synthesised) -> None:
    names = default_combinations(BRATS, synthesised)
    assert names[0] == "t1+t1gd+t2+flair"
    assert "t1gd+flair" in names
    assert ("t1+t1gd:synthesised+t2+flair" in names) == synthesised
    assert len(parse_combinations(names, BRATS)) == len(names) >= 4


def test_defaults_of_another_table_leave_out_one_each() -> None:
    assert default_combinations({"t1": 1, "dce": 6}, True) == ["t1+dce", "dce", "t1"]
