# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""AUC and the like of a binary classifier, the choice of its threshold, and the tables of predictions and of folds."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import rankdata
from sklearn.metrics import roc_curve

from seq2seq_mri.evaluation.records import read_records

__all__ = [
    "BINARY_METRICS",
    "binary_metrics",
    "fold_metrics",
    "predictions_table",
    "read_predictions",
    "roc_auc",
    "table_of",
    "youden_threshold",
]

#: The measures of Table 4, in its order.
BINARY_METRICS = ("auc", "accuracy", "sensitivity", "specificity", "ppv", "npv")

_PREDICTION_TEXT = ("inputs", "patient", "subject", "section")
_PREDICTION_NUMBERS = ("repeat", "fold", "label", "probability", "threshold")
_WHOLE_NUMBERS = ("repeat", "fold", "label", "n", "positives", "size", "seed")


def roc_auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the area under the ROC curve, NaN when there are only positives or only negatives.

    It is the Mann-Whitney statistic: the probability that a positive case has the higher score, ties counting half.
    Computed from ranks, it is some ten times faster than scikit-learn's, which the bootstrap needs.

    Args:
        labels: ``[n]``, 0 or 1.
        scores: ``[n]``, larger for likelier positives.
    """
    truth = np.asarray(labels, dtype=bool)
    positives = int(truth.sum())
    negatives = truth.size - positives
    if not positives or not negatives:
        return float("nan")
    return float((rankdata(scores)[truth].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def binary_metrics(labels: ArrayLike, probabilities: ArrayLike, threshold: float) -> dict[str, float]:
    """Measure a binary classifier; a case is called positive when its probability is at least ``threshold``.

    A measure is NaN where it would be 0/0: ``sensitivity`` without positive cases, ``specificity`` without negative
    ones, ``auc`` without either of them, ``ppv`` when no case is called positive, ``npv`` when none is called negative.

    Args:
        labels: ``[n]``, 0 or 1.
        probabilities: ``[n]``, of label 1.
        threshold: of the probability; choose it on other cases than these, see :func:`youden_threshold`.

    Returns:
        ``auc``, ``accuracy``, ``sensitivity``, ``specificity``, ``ppv`` and ``npv`` (positive and negative predictive
        value), each in [0, 1] or NaN; ``n``, the number of cases, and ``positives``, that of cases with label 1.
    """
    truth, values = np.asarray(labels, dtype=bool), np.asarray(probabilities, dtype=float)
    called = values >= threshold
    correct = called == truth

    def fraction(of: np.ndarray) -> float:
        return float(correct[of].mean()) if of.any() else float("nan")

    return {
        "auc": roc_auc(truth, values),
        "accuracy": float(correct.mean()),
        "sensitivity": fraction(truth),
        "specificity": fraction(~truth),
        "ppv": fraction(called),
        "npv": fraction(~called),
        "n": truth.size,
        "positives": int(truth.sum()),
    }


def youden_threshold(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Choose the threshold with the largest sensitivity + specificity - 1 (Youden, Cancer 3:32, 1950).

    It lies in the middle between the lowest probability that is called positive and the highest that is not, so that a
    small change of either does not turn it over. Among equally good thresholds, the one with the most similar
    sensitivity and specificity is taken, and of those the lowest. Where no threshold is better than chance, it is the
    lowest probability: all cases are called positive.

    Args:
        labels: ``[n]``, 0 or 1, both of them; of cases that the classifier was neither trained nor is tested on.
        probabilities: ``[n]``, of label 1.

    Raises:
        ValueError: when there is only one label.
    """
    truth, values = np.asarray(labels, dtype=bool), np.asarray(probabilities, dtype=float)
    if truth.all() or not truth.any():
        raise ValueError(f"All {truth.size} cases have the label {int(truth.any())}; a threshold needs both labels.")
    false_positive, true_positive, thresholds = roc_curve(truth, values, drop_intermediate=False)
    # The first point is "nothing is positive", at an infinite threshold; the last, "everything is", is as good.
    index = np.round(true_positive[1:] - false_positive[1:], 12)
    asymmetry = np.round(np.abs(true_positive[1:] + false_positive[1:] - 1.0), 12)
    best = max(range(index.size), key=lambda place: (index[place], -asymmetry[place], place))
    lowest_positive = float(thresholds[1 + best])
    below = values[values < lowest_positive].max(initial=-np.inf)
    middle = float(0.5 * (lowest_positive + below))
    return middle if middle > below else lowest_positive


def table_of(rows: Iterable[Mapping], text_columns: Sequence[str], number_columns: Sequence[str]) -> pd.DataFrame:
    """Return a table with these columns of text and of numbers; numbers of folds, cases and labels are whole."""
    types = {name: "int64" if name in _WHOLE_NUMBERS else "float64" for name in number_columns}
    table = pd.DataFrame(list(rows), columns=[*text_columns, *number_columns])
    return table.astype({**dict.fromkeys(text_columns, str), **types})


def predictions_table(rows: Iterable[Mapping]) -> pd.DataFrame:
    """Return the table of ``predictions.csv``: one row per inputs, repeat, fold and examination, in the order given.

    Its columns are ``inputs``, the name of the input combination; ``patient``, ``subject``; ``section``, which is
    ``testing``, or ``validation`` for the predictions from which the fold's ``threshold`` was chosen; ``repeat``,
    ``fold``, ``label``; ``probability``, that of label 1; and ``threshold``.
    """
    return table_of(rows, _PREDICTION_TEXT, _PREDICTION_NUMBERS)


def read_predictions(path: str | os.PathLike) -> pd.DataFrame:
    """Read ``predictions.csv``.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it has other columns, or text where numbers belong.
    """
    return predictions_table(read_records(path, _PREDICTION_TEXT, _PREDICTION_NUMBERS).to_dict("records"))


def fold_metrics(predictions: pd.DataFrame) -> pd.DataFrame:
    """Measure every fold on its testing section, at the threshold that was chosen on its validation section.

    Args:
        predictions: the table of ``predictions.csv``.

    Returns:
        The table of ``metrics.csv``: ``inputs``, ``repeat``, ``fold``, the ``BINARY_METRICS`` (NaN where not defined,
        see :func:`binary_metrics`), ``threshold``, ``n`` and ``positives``.
    """
    rows = []
    testing = predictions[predictions["section"] == "testing"]
    for (inputs, repeat, fold), cases in testing.groupby(["inputs", "repeat", "fold"], sort=False):
        threshold = float(cases["threshold"].iloc[0])
        measured = binary_metrics(cases["label"], cases["probability"], threshold)
        rows.append({"inputs": inputs, "repeat": repeat, "fold": fold, "threshold": threshold, **measured})
    return table_of(rows, ["inputs"], ["repeat", "fold", *BINARY_METRICS, "threshold", "n", "positives"])
