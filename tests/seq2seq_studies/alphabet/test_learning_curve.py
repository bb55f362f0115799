# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from seq2seq_studies.alphabet.learning_curve import (
    PAPER_PEAK_SIZE,
    accuracy_gains,
    format_accuracy_gains,
    run_learning_curve,
    summarise_learning_curve,
    top_accuracies,
    training_subset,
)

INPUTS = {"noise": {"columns": [1]}, "signal": {"columns": [0]}}

PAIRS = {"x1": ("x1", "x1 + M_d"), "x2": ("x2", "x2 + M_d")}


@pytest.fixture
def sections(make_cohort):
    entries = make_cohort(120, effect=4.0, classes=4)
    return {"training": entries[:60], "validation": entries[60:80], "testing": entries[80:]}


@pytest.fixture
def run(sections, classifier, tmp_path) -> Callable:
    """Run the learning curve in a folder; most with both inputs and one seed."""

    def learn(folder, fit=classifier, sizes=(20, 40), *, inputs=INPUTS, label="pcr", seeds=(0,), **options):
        given = options.pop("sections", sections)
        return run_learning_curve(
            given, fit, sizes, tmp_path / folder, inputs=inputs, label=label, seeds=seeds, **options
        )

    return learn


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


def test_inputs_see_the_same_subjects_and_no_test_label(run, sections, classifier, tmp_path):
    seen = {}

    def spy(training, validation, testing, seed, **settings):
        assert not any("label" in entry for entry in testing)
        assert names(validation) == names(sections["validation"])
        assert names(testing) == names(sections["testing"])
        seen.setdefault((len(training), seed), []).append(names(training))
        return classifier(training, validation, testing, seed, **settings)

    table = run("curve", spy, seeds=[0, 5])
    assert sorted(seen) == [(20, 0), (20, 5), (40, 0), (40, 5)]
    for first, second in seen.values():
        assert first == second
    assert seen[20, 0][0] != seen[20, 5][0]
    assert len(table) == 2 * 2 * 2
    assert (table["n"] == 40).all()
    mean = table.groupby("inputs")["accuracy"].mean()
    assert mean["signal"] > 0.7 > 0.5 > mean["noise"]
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "curve" / "learning_curve.csv"), table)


def test_only_what_is_missing_is_trained(run, classifier, tmp_path):
    calls = []

    def counted(*arguments, **settings):
        calls.append(arguments[3])
        if len(calls) == 4:
            raise KeyboardInterrupt
        return classifier(*arguments, **settings)

    with pytest.raises(KeyboardInterrupt):
        run("parts", counted)
    assert len(pd.read_csv(tmp_path / "parts" / "learning_curve.csv")) == 3
    table = run("parts", counted)
    assert len(calls) == 5
    pd.testing.assert_frame_equal(table, run("whole"))
    run("parts", counted, [20, 40, 60], seeds=[0, 1])
    assert len(calls) == 5 + 2 + 6


def test_two_labels_share_a_directory(run, sections):
    both = {
        name: [{**e, "label": {"x1": e["label"]["pcr"], "x2": 3 - e["label"]["pcr"]}} for e in part]
        for name, part in sections.items()
    }
    run("both", sizes=[30], sections=both, inputs={"images": {}}, label="x1")
    table = run("both", sizes=[30], sections=both, inputs={"images": {}}, label="x2")
    assert list(table["label"]) == ["x1", "x2"]
    with pytest.raises(ValueError, match="settings was"):
        run("both", sizes=[30], sections=both, inputs={"images": {}}, label="x2", settings={"epochs": 2})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": []}, r"sizes is \[\]"),
        ({"sizes": [20, 20]}, "none of them twice"),
        ({"seeds": []}, r"seeds is \[\]"),
        ({"label": "x3"}, "no label 'x3'; it has pcr"),
    ],
)
def test_bad_arguments(run, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        run("curve", **options)
    assert not (tmp_path / "curve").exists()


@pytest.mark.parametrize("ties", [False, True])
def test_accuracies_by_brute_force(ties):
    generator = np.random.default_rng(0)
    labels, probabilities = generator.integers(26, size=200), generator.random((200, 26))
    probabilities[np.arange(150), labels[:150]] += 0.6
    if ties:
        probabilities = np.round(probabilities, 1)
    ranks = [
        sorted(range(26), key=lambda letter: (-row[letter], letter)).index(label)
        for row, label in zip(probabilities, labels, strict=True)
    ]
    found = top_accuracies(labels, probabilities)
    expected = {"accuracy": np.mean(np.array(ranks) == 0), "top2_accuracy": np.mean(np.array(ranks) < 2), "n": 200}
    assert found == pytest.approx(expected)


def test_summary_over_seeds(curve):
    summary = summarise_learning_curve(curve)
    assert len(summary) == 12
    one = summary[(summary["inputs"] == "x1") & (summary["size"] == 5000)].iloc[0]
    values = curve.loc[(curve["inputs"] == "x1") & (curve["size"] == 5000), "accuracy"]
    assert (one["seeds"], one["accuracy_mean"]) == (3, pytest.approx(values.mean()))
    assert one["accuracy_sd"] == pytest.approx(values.std())
    for _, group in summary.groupby("inputs"):
        assert list(group["size"]) == [3000, 5000, 9000]


def test_gain_is_paired_by_seed(curve):
    gains = accuracy_gains(curve, PAIRS)
    assert list(gains["label"]) == ["x1"] * 3 + ["x2"] * 3
    assert list(gains["size"]) == [3000, 5000, 9000] * 2
    at = curve[(curve["label"] == "x2") & (curve["size"] == 3000)].set_index(["inputs", "seed"])["accuracy"]
    differences = at["x2 + M_d"] - at["x2"]
    row = gains.iloc[3]
    assert (row["gain_mean"], row["gain_sd"]) == pytest.approx((differences.mean(), differences.std()))
    assert row["with_mean"] - row["without_mean"] == pytest.approx(row["gain_mean"])
    incomplete = curve[~((curve["inputs"] == "x1 + M_d") & (curve["seed"] == 2))]
    assert list(accuracy_gains(incomplete, {"x1": PAIRS["x1"]})["seeds"]) == [2, 2, 2]


def test_gains_beside_those_of_the_paper(curve):
    lines = format_accuracy_gains(accuracy_gains(curve, PAIRS)).splitlines()
    assert lines[0].endswith("| Gain in the paper |")
    assert lines[3].startswith(f"| x1 | {PAPER_PEAK_SIZE:,} | 3 | 0.5")
    assert [line.split("|")[-2] for line in lines[2:]] == ["  ", " +0.262 ", "  ", "  ", " +0.369 ", "  "]
    assert "±" not in format_accuracy_gains(accuracy_gains(curve[curve["seed"] == 1], PAIRS))
