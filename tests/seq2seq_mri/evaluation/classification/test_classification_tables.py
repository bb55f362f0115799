# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""predictions.csv, metrics.csv, and their summary and comparison."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from seq2seq_mri.evaluation.classification.classification_metrics import BINARY_METRICS, binary_metrics
from seq2seq_mri.evaluation.classification.classification_tables import (
    FOLD_METRIC_COLUMNS,
    PREDICTION_COLUMNS,
    fold_metrics,
    format_fold_summary,
    predictions_table,
    read_fold_metrics,
    read_predictions,
    summarise_folds,
    write_fold_metrics,
    write_predictions,
)
from seq2seq_mri.evaluation.classification.input_comparison import (
    compare_inputs,
    format_input_comparison,
    pooled_predictions,
)
from seq2seq_mri.evaluation.classification.roc_comparison import delong_test


def rows(inputs=("t1gd", "t1gd + M_d"), folds=3, repeats=1, number=12, seed=0):
    generator = np.random.default_rng(seed)
    result = []
    for name in inputs:
        for repeat in range(repeats):
            for case in range(folds * number):
                for section in ("validation", "testing"):
                    fold = case // number if section == "testing" else (case // number + 1) % folds
                    label = case % 2
                    result.append(
                        {
                            "inputs": name,
                            "patient": f"00{case // 2 if name == 'paired' else case}",
                            "subject": f"00{case}",
                            "section": section,
                            "repeat": repeat,
                            "fold": fold,
                            "label": label,
                            "probability": float(np.clip(generator.normal(0.4 + 0.2 * label, 0.2), 0, 1)),
                            "threshold": 1 / 3 + 0.01 * fold,
                        }
                    )
    return result


def test_tables_are_read_back_exactly(tmp_path):
    table = predictions_table(rows())
    assert tuple(table.columns) == PREDICTION_COLUMNS
    write_predictions(tmp_path / "predictions.csv", table)
    pd.testing.assert_frame_equal(read_predictions(tmp_path / "predictions.csv"), table)
    metrics = fold_metrics(table)
    assert tuple(metrics.columns) == FOLD_METRIC_COLUMNS
    write_fold_metrics(tmp_path / "metrics.csv", metrics)
    pd.testing.assert_frame_equal(read_fold_metrics(tmp_path / "metrics.csv"), metrics)
    first = (tmp_path / "predictions.csv").read_text(encoding="utf-8").splitlines()[1]
    assert first.startswith("t1gd,000,000,validation,0,1,0,")  # names keep their zeros; folds are whole numbers
    with pytest.raises(FileExistsError):
        write_predictions(tmp_path / "predictions.csv", table)


def test_folds_are_measured_on_their_testing_section():
    table = predictions_table(rows())
    metrics = fold_metrics(table)
    assert len(metrics) == 6
    row = metrics.iloc[4]
    cases = table[(table["inputs"] == row["inputs"]) & (table["fold"] == row["fold"]) & (table["section"] == "testing")]
    expected = binary_metrics(cases["label"], cases["probability"], cases["threshold"].iloc[0])
    assert {name: row[name] for name in expected} == expected


def test_summary_is_mean_and_deviation_over_folds():
    metrics = fold_metrics(predictions_table(rows(repeats=2)))
    summary = summarise_folds(metrics)
    assert list(summary["inputs"]) == ["t1gd", "t1gd + M_d"]
    assert list(summary["folds"]) == [6, 6]
    for measure in BINARY_METRICS:
        values = metrics.loc[metrics["inputs"] == "t1gd", measure].to_numpy()
        assert summary[f"{measure}_mean"][0] == pytest.approx(values.mean())
        assert summary[f"{measure}_sd"][0] == pytest.approx(values.std(ddof=1))
    text = format_fold_summary(metrics).splitlines()
    assert text[0] == "| Inputs | Folds | AUC | Accuracy | Sensitivity | Specificity | PPV | NPV |"
    assert len(text) == 4
    assert text[2].startswith(f"| t1gd | 6 | {summary['auc_mean'][0]:.3f} ± {summary['auc_sd'][0]:.3f} |")


def test_undefined_measures_do_not_count():
    metrics = fold_metrics(predictions_table(rows(inputs=["t1"])))
    metrics.loc[0, "ppv"] = float("nan")
    metrics["npv"] = float("nan")
    summary = summarise_folds(metrics)
    assert summary["ppv_mean"][0] == pytest.approx(metrics["ppv"][1:].mean())
    assert format_fold_summary(metrics).endswith("| n/a |")
    assert format_fold_summary(metrics[:0]) == "No fold was measured."
    assert " ± " not in format_fold_summary(metrics[:1])


def test_bad_predictions(tmp_path):
    good = rows()
    with pytest.raises(ValueError, match="expected inputs, patient"):
        predictions_table([{"inputs": "t1"}])
    with pytest.raises(
        ValueError, match=r"Subject '000' has two predictions with the inputs 't1gd' in repeat 0, fold 1"
    ):
        predictions_table([*good, good[0]])
    with pytest.raises(ValueError, match="two thresholds"):
        fold_metrics(predictions_table([{**row, "threshold": 0.01 * place} for place, row in enumerate(good)]))
    with pytest.raises(FileNotFoundError, match="There is no file"):
        read_predictions(tmp_path / "absent.csv")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(ValueError, match="has the columns a, b"):
        read_predictions(tmp_path / "other.csv")


def test_pooled_predictions_average_repetitions():
    table = predictions_table(rows(inputs=["t1"], repeats=2))
    pooled = pooled_predictions(table, "t1")
    assert len(pooled) == 36
    cases = table[(table["subject"] == "007") & (table["section"] == "testing")]
    assert len(cases) == 2
    assert pooled.set_index("subject")["probability"]["007"] == pytest.approx(cases["probability"].mean())
    with pytest.raises(ValueError, match="with the inputs 'flair'; there are t1"):
        pooled_predictions(table, "flair")


def test_comparison_of_inputs_is_paired_and_says_what_the_second_adds():
    table = predictions_table(rows())
    better = (table["inputs"] == "t1gd + M_d") & (table["label"] == 1)
    table.loc[better, "probability"] = np.minimum(1.0, table.loc[better, "probability"] + 0.3)
    found = compare_inputs(table, [("t1gd", "t1gd + M_d")], samples=300).iloc[0]
    a, b = pooled_predictions(table, "t1gd"), pooled_predictions(table, "t1gd + M_d")
    expected = delong_test(a["label"], b["probability"], a["probability"])
    assert found["difference"] > 0
    assert (found["auc_second"], found["auc_first"], found["low"], found["high"], found["p"]) == pytest.approx(
        (expected.auc_a, expected.auc_b, expected.low, expected.high, expected.p)
    )
    assert found["bootstrap_low"] < found["difference"] < found["bootstrap_high"]
    assert (found["n"], found["patients"]) == (36, 36)
    text = format_input_comparison(compare_inputs(table, [("t1gd", "t1gd + M_d")], samples=50))
    assert f"| {found['difference']:+.3f} | [{found['low']:+.3f}, {found['high']:+.3f}] |" in text


def test_too_few_cases_for_an_interval_still_have_a_difference():
    table = predictions_table(rows(folds=2, number=6))
    table = table[(table["label"] == 0) | (table["subject"] == "001")]
    compared = compare_inputs(table, [("t1gd", "t1gd + M_d")])
    found = compared.iloc[0]
    assert found["difference"] == pytest.approx(found["auc_second"] - found["auc_first"])
    assert found[["low", "high", "p", "bootstrap_low", "bootstrap_high", "bootstrap_p"]].isna().all()
    assert format_input_comparison(compared).endswith("| [-, -] | - | [-, -] | - |")


def test_only_the_same_test_subjects_can_be_compared():
    table = predictions_table(rows())
    fewer = table[(table["inputs"] == "t1gd") | (table["fold"] < 2)]
    with pytest.raises(ValueError, match="not all of them the same"):
        compare_inputs(fewer, [("t1gd", "t1gd + M_d")])
