# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from seq2seq_studies.alphabet.learning_curve import run_learning_curve, training_subset
from seq2seq_studies.alphabet.learning_curve_table import read_learning_curve

INPUTS = {"noise": {"columns": [1]}, "signal": {"columns": [0]}}


@pytest.fixture
def sections(make_cohort):
    entries = make_cohort(120, effect=4.0, classes=4)
    return entries[:60], entries[60:80], entries[80:]


def names(entries):
    return [entry["subject"] for entry in entries]


def test_larger_subsets_contain_smaller_ones():
    entries = [{"subject": f"s{number}", "patient": f"p{number // 2}"} for number in range(40)]
    small, large = training_subset(entries, 10, seed=1), training_subset(entries, 30, seed=1)
    assert names(small) == names(large)[:10]
    assert names(training_subset(entries[::-1], 10, seed=1)) == names(small)
    assert len({entry["patient"] for entry in small}) == 5  # both examinations of a patient
    assert names(training_subset(entries, 10, seed=2)) != names(small)
    assert sorted(names(training_subset(entries, 40, seed=0))) == sorted(names(entries))
    with pytest.raises(ValueError, match="subset of 41 was asked for; there are 40"):
        training_subset(entries, 41, seed=0)


def test_accuracy_grows_with_what_the_inputs_show(sections, classifier, tmp_path):
    table = run_learning_curve(*sections, classifier, [20, 60], tmp_path, inputs=INPUTS, label="pcr", seeds=[0, 1])
    assert len(table) == 2 * 2 * 2
    assert set(table["label"]) == {"pcr"}
    assert (table["n"] == 40).all()
    mean = table.groupby("inputs")["accuracy"].mean()
    assert mean["signal"] > 0.7 > 0.5 > mean["noise"]
    assert (table["top2_accuracy"] >= table["accuracy"]).all()
    pd.testing.assert_frame_equal(read_learning_curve(tmp_path / "learning_curve.csv"), table)


def test_inputs_see_the_same_subjects_and_no_test_label(sections, classifier, tmp_path):
    seen = {}

    def spy(training, validation, testing, seed, **settings):
        assert not any("label" in entry for entry in testing)
        assert names(validation) == names(sections[1])
        assert names(testing) == names(sections[2])
        seen.setdefault((len(training), seed), []).append(names(training))
        return classifier(training, validation, testing, seed, **settings)

    run_learning_curve(*sections, spy, [20, 40], tmp_path, inputs=INPUTS, seeds=[0, 5])
    assert sorted(seen) == [(20, 0), (20, 5), (40, 0), (40, 5)]
    for first, second in seen.values():
        assert first == second
    assert seen[20, 0][0] != seen[20, 5][0]


def test_only_what_is_missing_is_trained(sections, classifier, tmp_path):
    calls = []

    def counted(*arguments, **settings):
        calls.append(arguments[3])
        if len(calls) == 4:
            raise KeyboardInterrupt
        return classifier(*arguments, **settings)

    with pytest.raises(KeyboardInterrupt):
        run_learning_curve(*sections, counted, [20, 40], tmp_path / "parts", inputs=INPUTS, seeds=[0])
    assert len(read_learning_curve(tmp_path / "parts" / "learning_curve.csv")) == 3
    table = run_learning_curve(*sections, counted, [20, 40], tmp_path / "parts", inputs=INPUTS, seeds=[0])
    assert len(calls) == 5
    whole = run_learning_curve(*sections, classifier, [20, 40], tmp_path / "whole", inputs=INPUTS, seeds=[0])
    pd.testing.assert_frame_equal(table, whole)
    run_learning_curve(*sections, counted, [20, 40, 60], tmp_path / "parts", inputs=INPUTS, seeds=[0, 1])
    assert len(calls) == 5 + 2 + 6


def test_two_labels_share_a_directory(sections, classifier, tmp_path):
    both = [[{**e, "label": {"x1": e["label"]["pcr"], "x2": 3 - e["label"]["pcr"]}} for e in part] for part in sections]
    run_learning_curve(*both, classifier, [30], tmp_path, label="x1", seeds=[0])
    table = run_learning_curve(*both, classifier, [30], tmp_path, label="x2", seeds=[0])
    assert list(table["label"]) == ["x1", "x2"]
    with pytest.raises(FileExistsError, match="holds results already"):
        run_learning_curve(*both, classifier, [30], tmp_path, label="x2", seeds=[0], resume=False)
    with pytest.raises(ValueError, match="settings was"):
        run_learning_curve(*both, classifier, [30], tmp_path, label="x2", seeds=[0], settings={"epochs": 2})


def test_binary_probabilities(make_cohort, classifier, tmp_path):
    entries = make_cohort(60, effect=4.0)

    def one_column(*arguments, **settings):
        return classifier(*arguments, **settings)[:, 1]

    parts = entries[:30], entries[30:40], entries[40:]
    a = run_learning_curve(*parts, one_column, [30], tmp_path / "a", seeds=[0])
    b = run_learning_curve(*parts, classifier, [30], tmp_path / "b", seeds=[0])
    assert np.array_equal(a["accuracy"], b["accuracy"])
    assert a["accuracy"][0] > 0.8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": []}, r"sizes is \[\]"),
        ({"sizes": [20, 20]}, "none of them twice"),
        ({"sizes": [61]}, "there are 60 training subjects"),
        ({"sizes": [20], "seeds": []}, r"seeds is \[\]"),
        ({"sizes": [20], "label": "x3"}, "no label 'x3'; it has pcr"),
        ({"sizes": [20], "inputs": {}}, r"inputs is \{\}"),
    ],
)
def test_bad_arguments(sections, classifier, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        run_learning_curve(*sections, classifier, output_dir=tmp_path / "curve", **options)
    assert not (tmp_path / "curve").exists()


def test_nobody_is_in_two_sections(sections, classifier, tmp_path):
    training, validation, testing = sections
    moved = [*testing, {**training[0], "subject": training[0]["subject"].replace("study0", "study1")}]
    with pytest.raises(ValueError, match=r"Patient p\d+ is in testing and in training"):
        run_learning_curve(training, validation, moved, classifier, [20], tmp_path)
