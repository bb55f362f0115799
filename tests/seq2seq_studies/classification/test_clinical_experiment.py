# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import pandas as pd
import pytest

from seq2seq_mri.evaluation.classification.classification_metrics import read_predictions, roc_auc
from seq2seq_studies.classification.clinical_experiment import ClinicalExperiment
from seq2seq_studies.classification.cross_validation import nested_folds, train_validation_test_folds

INPUTS = {"noise": ["1"], "noise and signal": ["0", "1"]}
PAIRS = [["noise", "noise and signal"]]


@pytest.fixture
def fit(classifier):
    def fit_predict(training, validation, tested, seed, channels):
        return classifier(training, validation, tested, seed, columns=[int(channel) for channel in channels])

    return fit_predict


@pytest.mark.parametrize("nested", [True, False], ids=["nested", "one division"])
def test_writes_tables_and_figures(make_cohort, fit, tmp_path, nested):
    cohort = make_cohort(80, effect=2.0)
    folds = nested_folds(cohort, "pcr", 4, 3) if nested else train_validation_test_folds(cohort, "pcr")
    tables = ClinicalExperiment(tmp_path, folds, fit, INPUTS, PAIRS, label="pcr").run()
    predictions = read_predictions(tmp_path / "predictions.csv")
    pd.testing.assert_frame_equal(predictions, tables.predictions)
    testing = predictions[predictions["section"] == "testing"]
    assert testing.groupby("inputs")["patient"].nunique().tolist() == [80 if nested else 16] * 2
    comparison = pd.read_csv(tmp_path / "comparison.csv").iloc[0]
    areas = [
        roc_auc(rows["label"], rows["probability"]) for rows in (testing[testing["inputs"] == name] for name in INPUTS)
    ]
    assert comparison[["auc_first", "auc_second"]].tolist() == pytest.approx(areas)
    assert comparison["low"] < comparison["difference"] < comparison["high"]
    text = (tmp_path / "results.md").read_text()
    assert text.count("noise and signal") == 2
    assert all((tmp_path / name).stat().st_size > 0 for name in ("roc.png", "metrics.png", "summary.csv"))


def test_pair_of_unknown_inputs(make_cohort, fit, tmp_path):
    folds = nested_folds(make_cohort(60), "pcr", 3, 2)
    with pytest.raises(ValueError, match="no inputs 'signal' to compare; choose from noise, noise and signal"):
        ClinicalExperiment(tmp_path, folds, fit, INPUTS, [["noise", "signal"]])
