# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What a protocol chooses, writes, and does not do again."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from seq2seq_mri.evaluation.classification.classification_metrics import binary_metrics, youden_threshold
from seq2seq_mri.evaluation.classification.classification_tables import read_fold_metrics, read_predictions
from seq2seq_studies.classification.cross_validation import InnerSplit, nested_folds
from seq2seq_studies.classification.fitting import fit_seed, predict_probabilities
from seq2seq_studies.classification.folds import run_folds
from seq2seq_studies.classification.protocols import run_nested_cross_validation, run_train_validation_test

INPUTS = {"signal": {"columns": [0]}, "noise": {"columns": [1, 2]}}
FILES = ("predictions.csv", "metrics.csv", "candidates.csv", "summary.csv", "summary.md", "protocol.json")


def test_tables_agree_with_each_other_and_the_disk(make_cohort, classifier, tmp_path):
    entries = make_cohort(40, effect=1.5, examinations=2)
    tables = run_nested_cross_validation(
        entries, classifier, None, tmp_path, outer=4, inner=3, repeats=2, inputs=INPUTS, label="pcr"
    )
    assert len(tables.metrics) == 4 * 2 * 2
    testing = tables.predictions[tables.predictions["section"] == "testing"]
    for _, rows in testing.groupby(["inputs", "repeat"]):
        assert sorted(rows["subject"]) == sorted(entry["subject"] for entry in entries)
    assert set(testing["patient"]) == {f"p{number:03d}" for number in range(40)}
    pd.testing.assert_frame_equal(read_predictions(tmp_path / "predictions.csv"), tables.predictions)
    pd.testing.assert_frame_equal(read_fold_metrics(tmp_path / "metrics.csv"), tables.metrics)
    assert all((tmp_path / name).is_file() for name in FILES)
    for _, fold in tables.predictions.groupby(["inputs", "repeat", "fold"]):
        held_out = fold[fold["section"] == "validation"]
        assert fold["threshold"].unique() == [youden_threshold(held_out["label"], held_out["probability"])]
    row = tables.metrics.iloc[3]
    keys = ["inputs", "repeat", "fold"]
    cases = testing[(testing[keys] == row[keys]).all(axis=1)]
    expected = binary_metrics(cases["label"], cases["probability"], row["threshold"])
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    mean = tables.metrics.groupby("inputs")["auc"].mean()
    assert mean["signal"] > 0.8 > 0.65 > mean["noise"]
    assert "| signal | 8 |" in (tmp_path / "summary.md").read_text(encoding="utf-8")


def test_best_inner_candidate_is_chosen_and_its_models_averaged(make_cohort, classifier, tmp_path):
    folds = nested_folds(make_cohort(40, effect=2.0), outer=2, inner=3)
    candidates = {"noise": {"columns": [1]}, "signal": {"columns": [0]}, "again": {"columns": [0]}}
    tables = run_folds(folds, classifier, candidates, tmp_path)
    assert set(tables.candidates.loc[tables.candidates["chosen"] == 1, "candidate"]) == {
        "signal"
    }  # the first of equals
    assert len(tables.candidates) == 2 * 3
    fold = folds[1]
    by_hand = np.mean(
        [classifier(s.training, s.validation, fold.testing, 0, columns=[0])[:, 1] for s in fold.inner], axis=0
    )
    rows = tables.predictions[(tables.predictions["fold"] == 1) & (tables.predictions["section"] == "testing")]
    assert rows["probability"].to_numpy() == pytest.approx(by_hand)


def test_one_fold_of_training_validation_and_testing(make_cohort, classifier, tmp_path):
    entries = make_cohort(60, effect=2.0)
    tables = run_train_validation_test(entries, classifier, None, tmp_path, inputs=INPUTS, label="pcr", seed=3)
    assert len(tables.metrics) == 2
    assert list(tables.metrics["n"]) == [12, 12]
    counts = tables.predictions.groupby(["inputs", "section"]).size()
    assert set(counts) == {12}


class Interrupted(Exception):
    pass


def test_interrupted_run_goes_on_where_it_was(make_cohort, classifier, tmp_path):
    entries = make_cohort(40, effect=1.0)
    options = {"outer": 3, "inner": 2, "inputs": INPUTS, "settings": {"epochs": 5}}
    whole = run_nested_cross_validation(entries, classifier, None, tmp_path / "whole", **options)
    calls = []

    def counted(*arguments, **settings):
        calls.append(arguments[3])
        if len(calls) == 8:  # the second model of the fourth of six folds
            raise Interrupted
        return classifier(*arguments, **settings)

    with pytest.raises(Interrupted):
        run_nested_cross_validation(entries, counted, None, tmp_path / "parts", **options)
    assert len(read_fold_metrics(tmp_path / "parts" / "metrics.csv")) == 3
    again = run_nested_cross_validation(entries, counted, None, tmp_path / "parts", **options)
    assert len(calls) == 8 + 6  # three folds with two models each
    for name in FILES:
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    for first, second in zip(whole, again, strict=True):
        pd.testing.assert_frame_equal(first, second)
    run_nested_cross_validation(entries, counted, None, tmp_path / "parts", **options)
    assert len(calls) == 14
    assert not [path for path in (tmp_path / "parts").iterdir() if path.name not in FILES]


def test_crash_between_two_tables_is_repaired(make_cohort, classifier, tmp_path):
    """The candidates of a fold whose predictions were not written are written once."""
    entries = make_cohort(40)
    tables = run_nested_cross_validation(entries, classifier, None, tmp_path, outer=2, inner=2)
    predictions = tables.predictions[tables.predictions["fold"] == 0]
    predictions.to_csv(tmp_path / "predictions.csv", index=False)
    again = run_nested_cross_validation(entries, classifier, None, tmp_path, outer=2, inner=2)
    for first, second in zip(tables, again, strict=True):
        pd.testing.assert_frame_equal(first, second)


def test_inputs_may_be_added_later(make_cohort, classifier, tmp_path):
    entries = make_cohort(40)
    options = {"outer": 2, "inner": 2}
    for names in (["signal"], ["noise"], ["signal", "noise"]):
        inputs = {name: INPUTS[name] for name in names}
        tables = run_nested_cross_validation(entries, classifier, None, tmp_path, inputs=inputs, **options)
    assert sorted(tables.metrics["inputs"]) == ["noise"] * 2 + ["signal"] * 2
    assert json.loads((tmp_path / "protocol.json").read_text(encoding="utf-8"))["protocol"]["inputs"] == INPUTS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "seed was 0 and is 1"),
        ({"candidates": {"weak": {"strength": 0.1}}}, "candidates was"),
        ({"inputs": {"images": {"columns": [0]}}}, "inputs was"),
        ({"settings": {"epochs": 2}}, "settings was"),
        ({"inner": 3}, "folds was"),
        ({"label": "pcr"}, 'label was null and is "pcr"'),
    ],
)
def test_results_of_another_protocol_are_not_mixed(make_cohort, classifier, tmp_path, change, message):
    options = {"candidates": None, "outer": 2, "inner": 2, "settings": {"epochs": 1}}
    run_nested_cross_validation(make_cohort(20), classifier, output_dir=tmp_path, **options)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=message):
        run_nested_cross_validation(make_cohort(20), classifier, output_dir=tmp_path, **{**options, **change})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_changed_label_is_another_protocol(make_cohort, classifier, tmp_path):
    entries = make_cohort(20)
    run_nested_cross_validation(entries, classifier, None, tmp_path, outer=2, inner=2)
    with pytest.raises(ValueError, match="of another protocol: folds was"):
        run_nested_cross_validation(make_cohort(20, seed=1), classifier, None, tmp_path, outer=2, inner=2)
    with pytest.raises(FileExistsError, match="holds results already"):
        run_nested_cross_validation(entries, classifier, None, tmp_path, outer=2, inner=2, resume=False)
    (tmp_path / "protocol.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="is not JSON"):
        run_nested_cross_validation(entries, classifier, None, tmp_path, outer=2, inner=2)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda testing: [0.5], r"shape \(1,\) for"),
        (lambda testing: np.full((len(testing), 1, 2), 0.5), "must be"),
        (lambda testing: np.full(len(testing), np.nan), r"subject p\d+_study0 the probability nan"),
        (lambda testing: np.full(len(testing), 1.5), "check its learning rate"),
        (lambda testing: np.full((len(testing), 3), 1 / 3), "has 3 classes; this protocol is for two"),
    ],
)
def test_what_a_classifier_must_return(make_cohort, tmp_path, result, message):
    with pytest.raises(ValueError, match=message):
        run_nested_cross_validation(
            make_cohort(20), lambda a, b, testing, seed: result(testing), None, tmp_path, outer=2, inner=2
        )


def test_bad_arguments(make_cohort, classifier, tmp_path):
    folds = nested_folds(make_cohort(20), outer=2, inner=2)
    with pytest.raises(ValueError, match="There is no fold"):
        run_folds([], classifier, None, tmp_path)
    with pytest.raises(ValueError, match="same numbers of repeat and fold"):
        run_folds([folds[0], folds[0]], classifier, None, tmp_path)
    with pytest.raises(ValueError, match=r"candidates is \{\}"):
        run_folds(folds, classifier, {}, tmp_path)
    with pytest.raises(ValueError, match="inputs is"):
        run_folds(folds, classifier, None, tmp_path, inputs={"t1gd": ["t1gd"]})
    with pytest.raises(ValueError, match="'columns' is a setting of the inputs 'signal' and of a candidate"):
        run_folds(folds, classifier, {"first": {"columns": [0]}}, tmp_path, inputs=INPUTS)
    with pytest.raises(ValueError, match="must be numbers, texts, lists or mappings"):
        run_folds(folds, classifier, None, tmp_path, settings={"network": object()})
    with pytest.raises(ValueError, match=r"labels \[0, 1, 2\]; this protocol is for labels 0 and 1"):
        run_nested_cross_validation(make_cohort(30, classes=3), classifier, None, tmp_path, outer=2, inner=2)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="cannot be written"):
        run_folds(folds, classifier, None, tmp_path / "file")


def test_seeds_differ_between_models_and_not_between_runs():
    seeds = {
        fit_seed(seed, repeat, fold, inner)
        for seed in (0, 1)
        for repeat in (0, 1)
        for fold in (0, 1)
        for inner in (0, 1)
    }
    assert len(seeds) == 16
    assert fit_seed(3, 1, 2) == fit_seed(3, 1, 2)


def test_probabilities_keep_their_classes(make_cohort):
    a, b, c = ({"subject": name, "patient": name, "label": 0} for name in "abc")
    found = predict_probabilities(lambda *arguments: [[0.2, 0.3, 0.5]], InnerSplit([a], [b]), [c], 0, {})
    assert found.shape == (1, 3)
    assert c["label"] == 0
