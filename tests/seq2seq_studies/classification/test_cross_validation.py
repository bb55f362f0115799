# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from seq2seq_studies.classification.cross_validation import (
    Fold,
    InnerSplit,
    nested_folds,
    train_validation_test_folds,
)


def cohort(patients=40, positive=0.3, examinations=1, seed=0):
    """Each patient has 1 to ``examinations`` examinations."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(patients) < round(positive * patients))
    return [
        {"subject": f"p{patient}_study{visit}", "label": {"pcr": int(labels[patient])}}
        for patient in range(patients)
        for visit in range(generator.integers(1, examinations + 1))
    ]


# Twelve examinations of three patients cannot fill five folds.
FEW_PATIENTS = cohort(40, 0) + [
    {"subject": f"q{number}", "patient": f"q{number % 3}", "label": {"pcr": 1}} for number in range(12)
]
TWO_LABELS = [{"subject": name, "patient": "p", "label": place} for place, name in enumerate("ab")]


def subjects(entries):
    return {entry["subject"] for entry in entries}


def patients(entries):
    return {entry["patient"] for entry in entries}


@pytest.mark.parametrize("examinations", [1, 4])
@pytest.mark.parametrize("seed", range(3))
def test_nobody_is_on_two_sides_and_everybody_is_tested_once(examinations, seed):
    entries = cohort(examinations=examinations, seed=seed)
    folds = nested_folds(entries, seed=seed, repeats=2)
    assert [(fold.repeat, fold.fold) for fold in folds] == [(repeat, fold) for repeat in range(2) for fold in range(5)]
    for repeat in range(2):
        tested = [name for fold in folds if fold.repeat == repeat for name in subjects(fold.testing)]
        assert sorted(tested) == sorted(subjects(entries))
    for fold in folds:
        rest = subjects(entries) - subjects(fold.testing)
        assert sorted(name for split in fold.inner for name in subjects(split.validation)) == sorted(rest)
        assert len(fold.inner) == 4
        for split in fold.inner:
            assert subjects(split.training) | subjects(split.validation) == rest
            assert not patients(split.training) & patients(split.validation)
            assert not patients(fold.testing) & (patients(split.training) | patients(split.validation))


@pytest.mark.parametrize("number", [25, 41, 203])
def test_strata_of_single_examinations_differ_by_one_at_most(number):
    for seed in range(5):
        folds = nested_folds(cohort(number, 0.25, seed=seed), seed=seed)
        counts = np.array([np.bincount([entry["label"] for entry in fold.testing], minlength=2) for fold in folds])
        assert (np.ptp(counts, axis=0) <= 1).all()
        for fold in folds:
            inner = [np.bincount([e["label"] for e in split.validation], minlength=2) for split in fold.inner]
            assert (np.ptp(inner, axis=0) <= 1).all()


def test_strata_of_several_examinations_are_close():
    folds = nested_folds(cohort(200, 0.3, examinations=3), seed=1)
    shares = [np.mean([entry["label"] for entry in fold.testing]) for fold in folds]
    assert np.ptp(shares) < 0.03


def test_several_classes():
    entries = [{"subject": f"s{number}", "label": number % 4} for number in range(48)]
    for fold in nested_folds(entries, outer=3, inner=2):
        assert np.bincount([entry["label"] for entry in fold.testing]).tolist() == [4] * 4


def test_seed_decides_and_order_does_not():
    entries = cohort()
    first = nested_folds(entries, seed=1, repeats=2)
    assert nested_folds(entries[::-1], seed=1, repeats=2) == first
    other = nested_folds(entries, seed=2)
    assert subjects(other[0].testing) != subjects(first[0].testing)
    assert subjects(first[5].testing) != subjects(first[0].testing)  # another repetition
    assert {entry["label"] for entry in first[0].testing} == {0, 1}


@pytest.mark.parametrize(("outer", "inner", "needed"), [(5, 4, 5), (2, 2, 4), (3, 5, 8), (10, 9, 10)])
def test_fewest_patients_of_a_label(outer, inner, needed):
    entries = cohort(100, needed / 100)
    assert len(nested_folds(entries, outer=outer, inner=inner)) == outer
    with pytest.raises(ValueError, match=rf"Only {needed - 1} patients have pcr 1; .* need at least {needed} of each"):
        nested_folds(cohort(100, (needed - 1) / 100), "pcr", outer=outer, inner=inner)


@pytest.mark.parametrize(
    ("divide", "entries", "options", "message"),
    [
        (nested_folds, cohort(positive=0), {"label": "pcr"}, "All 40 subjects have pcr 0; there is nothing to tell"),
        (nested_folds, cohort(), {"label": "mgmt"}, "no label 'mgmt'; it has pcr"),
        (nested_folds, TWO_LABELS, {}, "Patient p has two labels"),
        (nested_folds, FEW_PATIENTS, {"label": "pcr"}, "Only 3 patients have pcr 1"),
        (nested_folds, cohort(), {"outer": 1}, "give at least 2, 2 and 1"),
        (nested_folds, cohort(), {"inner": 1}, "give at least 2, 2 and 1"),
        (nested_folds, cohort(), {"repeats": 0}, "give at least 2, 2 and 1"),
        (train_validation_test_folds, cohort(), {"fractions": (0.5, 0.2, 0.2)}, "sum 1"),
        (train_validation_test_folds, cohort(), {"fractions": (0.8, 0.0, 0.2)}, "above 0"),
        (train_validation_test_folds, cohort(40, 0.05), {}, "Only 2 patients have label 1"),
        (train_validation_test_folds, cohort(6, 0.5), {"fractions": (0.9, 0.05, 0.05)}, "6 patients cannot be divided"),
        (train_validation_test_folds, cohort(), {"repeats": 0}, "repeats is 0"),
    ],
)
def test_refuses(divide, entries, options, message):
    with pytest.raises(ValueError, match=message):
        divide(entries, **options)


@pytest.mark.parametrize(
    ("tested", "validated", "message"), [(2, 1, "in testing and in training"), (1, 2, "in training and in validation")]
)
def test_a_fold_refuses_a_leak(tested, validated, message):
    entries = [{"subject": name, "patient": patient, "label": 0} for name, patient in ("ap", "bq", "cp")]
    with pytest.raises(ValueError, match=f"Patient p is {message}"):
        Fold(0, 0, [entries[tested]], [InnerSplit([entries[0]], [entries[validated]])])


@pytest.mark.parametrize("examinations", [1, 3])
def test_train_validation_test(examinations):
    """Every division is another one, whole in itself, and the first is the one that is drawn alone."""
    entries = cohort(100, 0.3, examinations)
    divide = partial(train_validation_test_folds, fractions=(0.5, 0.2, 0.3), seed=3)
    folds = divide(entries, repeats=3)
    assert divide(entries[::-1], repeats=3) == folds
    assert divide(entries) == folds[:1] != divide(entries, seed=4)
    assert [(fold.repeat, fold.fold) for fold in folds] == [(repeat, 0) for repeat in range(3)]
    assert len({frozenset(subjects(fold.testing)) for fold in folds}) == 3
    for fold in folds:
        (split,) = fold.inner
        sections = [split.training, split.validation, fold.testing]
        assert [len(patients(section)) for section in sections] == [50, 20, 30]
        assert set().union(*map(subjects, sections)) == subjects(entries)
        of_patient = [{entry["patient"]: entry["label"] for entry in section} for section in sections]
        assert [sum(labels.values()) for labels in of_patient] == [15, 6, 9]
