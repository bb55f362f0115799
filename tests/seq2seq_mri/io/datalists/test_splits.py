# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Sections, published lists and silencing."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from seq2seq_mri.io.datalists.datalist import SECTIONS
from seq2seq_mri.io.datalists.layouts import patient_of
from seq2seq_mri.io.datalists.splits import (
    PAPER_COUNTS,
    choose_withheld,
    published_split,
    read_published_lists,
    split_subjects,
)

SEQUENCES = ("t1", "t1gd", "t2", "flair")


def sizes(split):
    return tuple(len(split[section]) for section in SECTIONS)


def subjects(number):
    return [f"BraTS2021_{index:05d}" for index in range(number)]


def test_fractions():
    expected = {1: (1, 0, 0), 2: (1, 1, 0), 3: (1, 1, 1), 4: (2, 1, 1), 10: (8, 1, 1), 25: (20, 3, 2)}
    for number, sections in (expected | {1000: (800, 100, 100)}).items():
        split = split_subjects(subjects(number))
        assert sizes(split) == sections
        assert sorted(itertools.chain(*split.values())) == subjects(number)


def test_counts():
    assert sizes(split_subjects(subjects(1251), counts=PAPER_COUNTS)) == (830, 93, 328)
    split = split_subjects(subjects(20), counts=(3, 2, 1))
    assert sizes(split) == (3, 2, 1)
    # A random choice, not the first six.
    assert set().union(*split.values()) != set(subjects(6))


def test_seed_decides_and_order_does_not_and_a_section_may_be_empty():
    first = split_subjects(subjects(30), seed=1)
    assert split_subjects(subjects(30)[::-1], seed=1) == first
    assert split_subjects(subjects(30), seed=2) != first
    assert sizes(split_subjects(subjects(5), fractions=(1, 0, 0))) == (5, 0, 0)
    assert sizes(split_subjects(subjects(5), fractions=(0.5, 0, 0.5))) in {(3, 0, 2), (2, 0, 3)}


def test_examinations_of_a_patient_share_a_section():
    names = [f"BraTS-GLI-{patient:05d}-{visit:03d}" for patient in range(40) for visit in range(1 + patient % 3)]
    split = split_subjects(names, fractions=(0.6, 0.2, 0.2), seed=3)
    assert sorted(itertools.chain(*split.values())) == sorted(names)
    patients = [{patient_of(name) for name in split[section]} for section in SECTIONS]
    assert sum(map(len, patients)) == len(set().union(*patients))
    assert all(abs(size - share) <= 2 for size, share in zip(sizes(split), (47.4, 15.8, 15.8), strict=True))
    # Few patients leave no section empty.
    names = [f"p{patient}_study{visit}" for patient in range(3) for visit in range(4)]
    assert sizes(split_subjects(names)) == (4, 4, 4)
    assert sizes(split_subjects(names[:8])) in {(4, 4, 0), (4, 0, 4)}


def test_patients_that_names_do_not_tell():
    visits = [f"{patient}_{visit}" for patient in range(30) for visit in ("pre", "during", "post")]
    patients = {name: f"P{name.partition('_')[0]}" for name in visits}
    split = split_subjects(visits, fractions=(0.5, 0.2, 0.3), patients=patients)
    assert sizes(split) == (45, 18, 27)
    assert sum(len({patients[name] for name in split[section]}) for section in SECTIONS) == 30
    for name in ("P7", "7_during"):
        named = split_subjects(visits, patients=patients, named={"testing": [name]})
        assert named["testing"] == ["7_during", "7_post", "7_pre"]


def test_named_subjects():
    names = ["a", "b", "patient19", "patient07"]
    split = split_subjects(names, named={"testing": ["patient19"]})
    assert split["testing"] == ["patient19"]
    assert sizes(split) == (2, 1, 1)
    everything = split_subjects(names, fractions=(1, 0, 0), named={"testing": ["patient19"]})
    assert everything == {"training": ["a", "b", "patient07"], "validation": [], "testing": ["patient19"]}
    everywhere = split_subjects(subjects(5), named={section: [subjects(5)[i]] for i, section in enumerate(SECTIONS)})
    assert sizes(everywhere) == (1, 1, 1)
    # One examination takes the patient along.
    for name in ("p1_study2", "p1"):
        split = split_subjects(["p1_study1", "p1_study2", "p2_study1"], named={"testing": [name]})
        assert split == {"training": ["p2_study1"], "validation": [], "testing": ["p1_study1", "p1_study2"]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fractions": (0.8, 0.1)}, "fractions is"),
        ({"fractions": (0.8, 0.8, 0.8)}, "fractions is"),
        ({"fractions": (1.5, -0.5, 0)}, "fractions is"),
        ({"counts": (1, 2)}, "counts is"),
        ({"counts": (1, 2, 0.5)}, "counts is"),
        ({"counts": (3, 2, 1)}, "only 4 usable subjects"),
        ({"named": {"testing": ["nobody"]}}, "'nobody', named for testing, is not a usable subject"),
        ({"named": {"testing": ["p_study1"], "training": ["p_study2"]}}, "the same patient for"),
        ({"named": {"testing": ["p_study7"]}}, "'p_study7', named for testing"),
    ],
)
def test_wrong_splits(options, message):
    with pytest.raises(ValueError, match=message):
        split_subjects(["p_study1", "p_study2", "b", "c"], **options)


def write_lists(folder, train="a,1\nb,8\n", valid="c,6\n", test="d,14\n"):
    for name, text in (("train", train), ("valid", valid), ("test", test)):
        (folder / f"x_{name}.csv").write_text(text)
    return folder


def test_the_most_significant_bit_of_a_published_mask_is_t1(tmp_path):
    assert read_published_lists(write_lists(tmp_path)) == {
        "training": {"a": ("flair",), "b": ("t1",)},
        "validation": {"c": ("t1gd", "t2")},
        "testing": {"d": ("t1", "t1gd", "t2")},
    }


def test_published_split(tmp_path):
    available = {"a": SEQUENCES, "b": ("t1gd", "t2"), "c": ("t1", "t2"), "z": SEQUENCES}
    split, withheld, remarks = published_split(write_lists(tmp_path), available)
    # Of b, the mask leaves T1 alone, which it does not have.
    assert split == {"training": ["a"], "validation": ["c"], "testing": []}
    assert (withheld["a"], withheld["c"]) == (("t1", "t1gd", "t2"), ("t1",))
    assert [remark.split()[0] for remark in remarks] == ["1", "1", "1"]
    assert "not found or are not usable: d" in remarks[0]
    assert "not in the published lists: z" in remarks[1]
    assert remarks[2].endswith("mask leaves: b")


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"train": "a,16\n"}, "line 1: 'a,16' is not NAME,MASK"),
        ({"valid": "c,6\n\nd\n"}, "line 3: 'd' is not NAME,MASK"),
        ({"valid": "a,3\n"}, "a stands twice"),
        ({"test": "d,0\n"}, "is not NAME,MASK"),
        ({"test": "d,2\nd,3\n"}, "line 2: d stands twice"),
    ],
)
def test_wrong_published_lists(tmp_path, lists, message):
    with pytest.raises(ValueError, match=message):
        read_published_lists(write_lists(tmp_path, **lists))


def test_missing_ambiguous_and_foreign_published_lists(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no list \*train.csv"):
        read_published_lists(tmp_path)
    with pytest.raises(ValueError, match="they name subjects like a, and the dataset's are like A"):
        published_split(write_lists(tmp_path), {"A": SEQUENCES})
    (tmp_path / "old_train.csv").touch()
    with pytest.raises(ValueError, match="several lists"):
        read_published_lists(tmp_path)


def test_silencing_is_uniform_over_subsets_and_depends_on_subject_and_seed_alone():
    chosen = Counter(choose_withheld(name, SEQUENCES, seed=0) for name in subjects(7000))
    # 14 subsets of 1 to 3 of 4; 500 expected of each, standard deviation 21.5.
    assert len(chosen) == 14
    assert all(400 < count < 600 for count in chosen.values())
    assert {len(subset) for subset in chosen} == {1, 2, 3}
    assert choose_withheld("a", SEQUENCES, seed=1) == choose_withheld("a", SEQUENCES, seed=1)
    assert len({choose_withheld("a", SEQUENCES, seed=seed) for seed in range(50)}) > 5


@pytest.mark.parametrize(("available", "at_most"), [(("t1",), 3), (("t1", "t2"), 3), (SEQUENCES, 1), (SEQUENCES, 2)])
def test_silencing_leaves_at_least_one(available, at_most):
    for seed in range(30):
        withheld = choose_withheld("a", available, at_most=at_most, seed=seed)
        assert set(withheld) < set(available)
        assert min(1, len(available) - 1) <= len(withheld) <= at_most
    with pytest.raises(ValueError, match="At most 0 sequences"):
        choose_withheld("a", SEQUENCES, at_most=0)


@pytest.mark.real_data
def test_the_published_lists_themselves(shared_data):
    lists = read_published_lists(shared_data / "data" / "lists")
    assert sizes(lists) == PAPER_COUNTS
    kept = Counter(names for masks in lists.values() for names in masks.values())
    # Every subject lacks something, none lacks all, and all 14 possibilities are equally frequent.
    assert len(kept) == 14
    assert {len(names) for names in kept} == {1, 2, 3}
    assert max(kept.values()) - min(kept.values()) <= 3
