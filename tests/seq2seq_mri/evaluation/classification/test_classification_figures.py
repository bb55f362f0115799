# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import auc, roc_auc_score

from seq2seq_mri.evaluation.classification.classification_figure import fold_metrics_forest
from seq2seq_mri.evaluation.classification.classification_tables import fold_metrics, predictions_table
from seq2seq_mri.evaluation.classification.roc_figure import mean_roc_curves, roc_curves
from seq2seq_mri.plots.style import save_figure
from seq2seq_studies.alphabet.learning_curve_figure import learning_curve_figure
from seq2seq_studies.alphabet.learning_curve_table import PAPER_PEAK_GAINS, learning_curve_table

PAIRS = {"x1": ("x1", "x1 + M_d"), "x2": ("x2", "x2 + M_d")}


@pytest.fixture
def predictions():
    generator = np.random.default_rng(0)
    return predictions_table(
        {
            "inputs": inputs,
            "patient": f"p{case}",
            "subject": f"p{case}",
            "section": "testing",
            "repeat": 0,
            "fold": case // 16,
            "label": case % 2,
            "probability": float(np.clip(generator.normal(0.4 + shift * (case % 2), 0.2), 0, 1)),
            "threshold": 0.5,
        }
        for inputs, shift in (("t1gd", 0.1), ("t1gd + M_d", 0.3))
        for case in range(80)
    )


@pytest.fixture
def curve():
    generator = np.random.default_rng(0)
    return learning_curve_table(
        {
            "label": label,
            "inputs": inputs,
            "size": size,
            "seed": seed,
            "accuracy": 0.2 + size / 20000 + (0.3 if inputs.endswith("M_d") else 0.0) + generator.uniform(0, 0.05),
            "top2_accuracy": 0.9,
            "n": 100,
        }
        for label, names in PAIRS.items()
        for inputs in names
        for size in (3000, 5000, 7000)
        for seed in range(3)
    )


def test_roc_curves_carry_area_and_interval(predictions, texts):
    figure = roc_curves(predictions, title="pCR", labels={"t1gd": "T1Gd"})
    axes = figure.axes[0]
    for line, (_, rows) in zip(axes.lines, predictions.groupby("inputs", sort=False), strict=False):
        x, y = line.get_data()
        area = roc_auc_score(rows["label"], rows["probability"])
        assert auc(x, y) == pytest.approx(area)
        assert f"AUC {area:.3f} (95% CI " in line.get_label()
    assert len(axes.lines) == 3  # and chance
    assert axes.lines[0].get_label().startswith("T1Gd\n")
    assert axes.get_title(loc="left") == "pCR\n40 positive, 40 negative"
    assert {"sensitivity", "1 \N{MINUS SIGN} specificity"} <= set(texts(figure))


def test_mean_roc_is_over_folds(predictions):
    figure = mean_roc_curves(predictions, inputs=["t1gd + M_d"])
    (axes,) = figure.axes
    folds = predictions[predictions["inputs"] == "t1gd + M_d"].groupby("fold")
    areas = [roc_auc_score(rows["label"], rows["probability"]) for _, rows in folds]
    assert f"AUC {np.mean(areas):.3f} ± {np.std(areas, ddof=1):.3f}" in axes.lines[0].get_label()
    x, y = axes.lines[0].get_data()
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert auc(x, y) == pytest.approx(np.mean(areas), abs=0.01)
    assert len(axes.collections) == 1  # the band
    assert axes.get_title(loc="left") == "mean ± SD over 5 folds"


def test_many_mean_curves_have_no_bands(predictions):
    more = [predictions.assign(inputs=predictions["inputs"] + suffix) for suffix in ("", "2")]
    (axes,) = mean_roc_curves(pd.concat(more)).axes
    assert not axes.collections
    assert axes.get_title(loc="left") == "mean curves, AUC ± SD over 5 folds"


def test_folds_with_one_label_are_left_out(predictions):
    predictions.loc[predictions["fold"] == 0, "label"] = 1
    assert "4 folds" in mean_roc_curves(predictions).axes[0].get_title(loc="left")
    predictions["label"] = 1
    with pytest.raises(ValueError, match="no fold of 't1gd'"):
        mean_roc_curves(predictions)
    with pytest.raises(ValueError, match="inputs 'flair'"):
        roc_curves(predictions, inputs=["flair"])
    with pytest.raises(ValueError, match="empty"):
        roc_curves(predictions[:0])


def test_learning_curve_shows_means_and_gains(curve):
    figure = learning_curve_figure(curve, pairs=PAIRS, paper_gains=PAPER_PEAK_GAINS, chance=1 / 26)
    assert len(figure.axes) == 2
    axes = figure.axes[1]
    named = {line.get_label(): line for line in axes.lines}
    rows = curve[curve["inputs"] == "x2 + M_d"]
    assert list(named["x2 + M_d"].get_ydata()) == pytest.approx(list(rows.groupby("size")["accuracy"].mean()))
    assert len(axes.collections) == 2
    first, gain, paper = axes.get_title(loc="left").splitlines()
    assert first == "x2"
    assert gain.startswith("largest gain +0.3")
    assert paper == "(paper: +0.369 at $N$ = 5,000)"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["3,000", "5,000", "7,000"]


def test_learning_curve_of_one_seed_and_without_pairs(curve):
    figure = learning_curve_figure(curve[curve["seed"] == 0], labels={"x1": "$X_1$"})
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["$X_1$", "x2"]
    assert not figure.axes[0].collections
    with pytest.raises(ValueError, match="empty"):
        learning_curve_figure(curve[:0])
    with pytest.raises(ValueError, match="no size and seed with both"):
        learning_curve_figure(curve, pairs={"x1": ("x1", "flair")})


def test_forest_has_a_panel_per_metric_and_a_row_per_inputs(predictions):
    metrics = fold_metrics(predictions)
    figure = fold_metrics_forest(metrics, labels={"t1gd": "T1Gd"})
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "AUC",
        "Accuracy",
        "Sensitivity",
        "Specificity",
        "PPV",
        "NPV",
    ]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["T1Gd", "t1gd + M_d"]
    means = metrics.groupby("inputs", sort=False)["auc"].mean()
    assert [text.get_text() for text in figure.axes[0].texts] == [f"{mean:.3f}" for mean in means]
    assert figure.axes[0].get_ylim()[0] > figure.axes[0].get_ylim()[1]  # the first is on top


def test_forest_without_a_measure_and_its_errors(predictions):
    metrics = fold_metrics(predictions)
    metrics["ppv"] = float("nan")
    figure = fold_metrics_forest(metrics, columns=["ppv"], inputs=["t1gd + M_d"])
    assert [text.get_text() for text in figure.axes[0].texts] == ["n/a"]
    with pytest.raises(ValueError, match="no inputs 'flair'"):
        fold_metrics_forest(metrics, inputs=["flair"])
    with pytest.raises(ValueError, match="lacks kappa"):
        fold_metrics_forest(metrics, columns=["kappa"])
    with pytest.raises(ValueError, match="lacks rows"):
        fold_metrics_forest(metrics[:0])


def test_figures_are_written_alike(predictions, curve, tmp_path):
    figures = {
        "roc": lambda: roc_curves(predictions),
        "curve": lambda: learning_curve_figure(curve, pairs=PAIRS),
        "forest": lambda: fold_metrics_forest(fold_metrics(predictions)),
    }
    for name, draw in figures.items():
        written = [save_figure(draw(), tmp_path / f"{name}{number}.png", dpi=60).read_bytes() for number in range(2)]
        assert written[0] == written[1]


def test_tables_are_not_changed(predictions, curve):
    copies = predictions.copy(), curve.copy()
    roc_curves(predictions)
    mean_roc_curves(predictions)
    learning_curve_figure(curve, pairs=PAIRS)
    for before, after in zip(copies, (predictions, curve), strict=True):
        pd.testing.assert_frame_equal(before, after)
