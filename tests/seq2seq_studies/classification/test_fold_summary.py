# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The summary of folds as a table, as a figure, and as mean ROC curves."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import auc, roc_auc_score

from seq2seq_mri.evaluation.classification.classification_metrics import BINARY_METRICS, fold_metrics
from seq2seq_studies.classification.fold_summary import (
    fold_metrics_forest,
    format_fold_summary,
    mean_roc_curves,
    summarise_folds,
)


@pytest.fixture
def predictions(make_predictions) -> pd.DataFrame:
    return make_predictions(60, sections=("testing",))


def test_summary_is_mean_and_deviation_over_folds(predictions):
    metrics = fold_metrics(predictions)
    summary = summarise_folds(metrics)
    assert summary[["inputs", "folds"]].to_numpy().tolist() == [["t1gd", 5], ["t1gd + M_d", 5]]
    for measure in BINARY_METRICS:
        values = metrics.loc[metrics["inputs"] == "t1gd", measure].to_numpy()
        assert summary[f"{measure}_mean"][0] == pytest.approx(values.mean())
        assert summary[f"{measure}_sd"][0] == pytest.approx(values.std(ddof=1))
    text = format_fold_summary(metrics).splitlines()
    assert text[0] == "| Inputs | Folds | AUC | Accuracy | Sensitivity | Specificity | PPV | NPV |"
    assert len(text) == 4
    assert text[2].startswith(f"| t1gd | 5 | {summary['auc_mean'][0]:.3f} ± {summary['auc_sd'][0]:.3f} |")


def test_undefined_measures_do_not_count(predictions):
    metrics = fold_metrics(predictions[predictions["inputs"] == "t1gd"])
    metrics.loc[0, "ppv"] = float("nan")
    metrics["npv"] = float("nan")
    assert summarise_folds(metrics)["ppv_mean"][0] == pytest.approx(metrics["ppv"][1:].mean())
    assert format_fold_summary(metrics).endswith("| n/a |")
    assert " ± " not in format_fold_summary(metrics[:1])
    assert [text.get_text() for text in fold_metrics_forest(metrics).axes[5].texts] == ["n/a"]


def test_forest_has_a_panel_per_metric_and_a_row_per_inputs(predictions):
    metrics = fold_metrics(predictions)
    figure = fold_metrics_forest(metrics)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["AUC", "Accuracy", "Sensitivity", "Specificity", "PPV", "NPV"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["t1gd", "t1gd + M_d"]
    means = metrics.groupby("inputs", sort=False)["auc"].mean()
    assert [text.get_text() for text in figure.axes[0].texts] == [f"{mean:.3f}" for mean in means]
    assert figure.axes[0].get_ylim()[0] > figure.axes[0].get_ylim()[1]  # the first is on top


def test_mean_roc_is_over_folds(predictions):
    (axes,) = mean_roc_curves(predictions, title="pCR").axes
    folds = predictions[predictions["inputs"] == "t1gd + M_d"].groupby("fold")
    areas = [roc_auc_score(rows["label"], rows["probability"]) for _, rows in folds]
    line = axes.lines[2]  # after chance and T1Gd alone
    assert f"AUC {np.mean(areas):.3f} ± {np.std(areas, ddof=1):.3f}" in line.get_label()
    x, y = line.get_data()
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert auc(x, y) == pytest.approx(np.mean(areas), abs=0.01)
    assert len(axes.collections) == 2  # the bands
    assert axes.get_title(loc="left") == "pCR\nmean ± SD over 5 folds"


def test_many_mean_curves_have_no_bands(predictions):
    more = [predictions.assign(inputs=predictions["inputs"] + suffix) for suffix in ("", "2")]
    (axes,) = mean_roc_curves(pd.concat(more)).axes
    assert not axes.collections
    assert axes.get_title(loc="left") == "mean curves, AUC ± SD over 5 folds"
