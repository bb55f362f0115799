# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What a run of folds chooses, writes, and does not do again."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from seq2seq_mri.evaluation.classification.classification_metrics import read_predictions, youden_threshold
from seq2seq_studies.classification.cross_validation import nested_folds
from seq2seq_studies.classification.run_folds import run_folds

INPUTS = {"signal": {"columns": [0]}, "noise": {"columns": [1, 2]}}
ALL = {"images": {}}
FILES = ("predictions.csv", "metrics.csv", "candidates.csv", "summary.csv", "summary.md", "protocol.json")


@pytest.fixture
def run(make_cohort, classifier, tmp_path) -> Callable:
    """Runs two outer and two inner folds of a small cohort."""

    def nested(fit=classifier, candidates=None, folder="", *, inputs=ALL, label=None, patients=40, inner=2, **options):
        folds = nested_folds(make_cohort(patients, **options.pop("cohort", {})), label, 2, inner)
        return run_folds(folds, fit, candidates, tmp_path / folder, inputs=inputs, label=label, **options)

    return nested


def assert_equal(tables, others) -> None:
    for first, second in zip(tables, others, strict=True):
        pd.testing.assert_frame_equal(first, second)


def test_tables_agree_with_each_other_and_the_disk(make_cohort, classifier, tmp_path):
    entries = make_cohort(40, effect=1.5, examinations=2)
    folds = nested_folds(entries, "pcr", outer=4, inner=3, repeats=2)
    tables = run_folds(folds, classifier, None, tmp_path, inputs=INPUTS, label="pcr")
    assert len(tables.metrics) == 4 * 2 * 2
    testing = tables.predictions[tables.predictions["section"] == "testing"]
    for _, rows in testing.groupby(["inputs", "repeat"]):
        assert sorted(rows["subject"]) == sorted(entry["subject"] for entry in entries)
    assert set(testing["patient"]) == {f"p{number:03d}" for number in range(40)}
    pd.testing.assert_frame_equal(read_predictions(tmp_path / "predictions.csv"), tables.predictions)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "metrics.csv"), tables.metrics)
    assert all((tmp_path / name).is_file() for name in FILES)
    for _, fold in tables.predictions.groupby(["inputs", "repeat", "fold"]):
        held_out = fold[fold["section"] == "validation"]
        assert fold["threshold"].unique() == [youden_threshold(held_out["label"], held_out["probability"])]
    mean = tables.metrics.groupby("inputs")["auc"].mean()
    assert mean["signal"] > 0.8 > 0.65 > mean["noise"]
    assert "| signal | 8 |" in (tmp_path / "summary.md").read_text(encoding="utf-8")


def test_best_inner_candidate_is_chosen_and_its_models_averaged(make_cohort, classifier, tmp_path):
    folds = nested_folds(make_cohort(40, effect=2.0), outer=2, inner=3)
    candidates = {"noise": {"columns": [1]}, "signal": {"columns": [0]}, "again": {"columns": [0]}}
    tables = run_folds(folds, classifier, candidates, tmp_path, inputs=ALL)
    chosen = tables.candidates.loc[tables.candidates["chosen"] == 1, "candidate"]
    assert set(chosen) == {"signal"}  # the first of equals
    assert len(tables.candidates) == 2 * 3
    fold = folds[1]
    by_hand = np.mean([classifier(s.training, s.validation, fold.testing, 0, columns=[0]) for s in fold.inner], axis=0)
    rows = tables.predictions[(tables.predictions["fold"] == 1) & (tables.predictions["section"] == "testing")]
    assert rows["probability"].to_numpy() == pytest.approx(by_hand)


class Interrupted(Exception):
    pass


def test_interrupted_run_goes_on_where_it_was(run, classifier, tmp_path):
    options = {"inputs": INPUTS, "settings": {"epochs": 5}, "cohort": {"effect": 1.0}}
    whole = run(folder="whole", **options)
    calls = []

    def counted(*arguments, **settings):
        calls.append(arguments[3])
        if len(calls) == 6:  # the second model of the third of four folds
            raise Interrupted
        return classifier(*arguments, **settings)

    with pytest.raises(Interrupted):
        run(counted, folder="parts", **options)
    assert len(pd.read_csv(tmp_path / "parts" / "metrics.csv")) == 2
    assert_equal(whole, run(counted, folder="parts", **options))
    assert len(calls) == 6 + 4  # two folds with two models each
    for name in FILES:
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    run(counted, folder="parts", **options)
    assert len(calls) == 10
    assert not [path for path in (tmp_path / "parts").iterdir() if path.name not in FILES]


def test_crash_between_two_tables_is_repaired(run, tmp_path):
    """The candidates of a fold whose predictions were not written are written once."""
    tables = run()
    predictions = tables.predictions[tables.predictions["fold"] == 0]
    predictions.to_csv(tmp_path / "predictions.csv", index=False)
    assert_equal(tables, run())


def test_inputs_may_be_added_later(run, tmp_path):
    for names in (["signal"], ["noise"], ["signal", "noise"]):
        tables = run(inputs={name: INPUTS[name] for name in names})
    assert sorted(tables.metrics["inputs"]) == ["noise"] * 2 + ["signal"] * 2
    assert json.loads((tmp_path / "protocol.json").read_text(encoding="utf-8"))["protocol"]["inputs"] == INPUTS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "seed was 0 and is 1"),
        ({"inputs": {"images": {"columns": [0]}}}, "inputs was"),
        ({"settings": {"epochs": 2}}, "settings was"),
        ({"cohort": {"seed": 1}}, "folds was"),  # another patient's label
        ({"label": "pcr"}, 'label was null and is "pcr"'),
    ],
)
def test_results_of_another_protocol_are_not_mixed(run, tmp_path, change, message):
    options = {"patients": 20, "settings": {"epochs": 1}}
    run(**options)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=message):
        run(**{**options, **change})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("value", [np.nan, 1.5])
def test_what_is_no_probability(run, value):
    with pytest.raises(ValueError, match=r"subject p\d+_study0 the probability .* check its learning rate"):
        run(lambda training, validation, testing, seed: np.full(len(testing), value))


def test_bad_settings(run):
    for candidates in ({}, {"fast": 0.1}):
        with pytest.raises(ValueError, match=r"candidates is .* give settings by name"):
            run(candidates=candidates)
    with pytest.raises(ValueError, match="'columns' is a setting of the inputs 'signal' and of a candidate"):
        run(candidates={"first": {"columns": [0]}}, inputs=INPUTS)
