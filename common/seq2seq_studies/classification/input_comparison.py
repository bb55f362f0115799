# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Compares the AUCs of two input combinations of a classifier on the same test subjects: DeLong's test and a bootstrap.

The bootstrap draws patients, so it also holds where a patient has several examinations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from seq2seq_mri.evaluation.classification.classification_metrics import roc_auc
from seq2seq_mri.evaluation.classification.delong import delong_test
from seq2seq_mri.evaluation.page import markdown_table

__all__ = [
    "BootstrapInterval",
    "compare_inputs",
    "format_input_comparison",
    "paired_bootstrap_difference",
    "pooled_predictions",
]


class BootstrapInterval(NamedTuple):
    """The 95 % percentile interval of a difference, and its two-sided p value."""

    low: float
    high: float
    p: float


def paired_bootstrap_difference(
    labels: ArrayLike, a: ArrayLike, b: ArrayLike, patients: ArrayLike, samples: int = 2000, seed: int = 0
) -> BootstrapInterval:
    """Return the interval of AUC(a) - AUC(b) on the same cases, by drawing patients with replacement.

    All cases of a patient are drawn together, and always for both classifiers. A sample with a single label is drawn
    again.

    Args:
        labels: ``[cases]``, 0 or 1, at least two of each.
        a: ``[cases]``, probabilities of one classifier.
        b: ``[cases]``, of the other one.
        patients: ``[cases]``, the patient of each case.
        samples: number of samples.
        seed: of the drawing.

    Returns:
        The interval, and p: twice the smaller share of samples with a difference on either side of 0, at least
        2 / (samples + 1).
    """
    truth, first, second = np.asarray(labels, dtype=bool), np.asarray(a), np.asarray(b)
    names, patient_of_case = np.unique(patients, return_inverse=True)
    members = [np.flatnonzero(patient_of_case == patient) for patient in range(names.size)]
    generator = np.random.default_rng(seed)
    drawn: list[float] = []
    while len(drawn) < samples:
        cases = np.concatenate([members[patient] for patient in generator.integers(names.size, size=names.size)])
        difference = roc_auc(truth[cases], first[cases]) - roc_auc(truth[cases], second[cases])
        drawn += [difference] if np.isfinite(difference) else []
    differences = np.array(drawn)
    low, high = np.percentile(differences, [2.5, 97.5])
    tail = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return BootstrapInterval(float(low), float(high), min(1.0, 2.0 * (tail + 1) / (samples + 1)))


def pooled_predictions(predictions: pd.DataFrame, inputs: str) -> pd.DataFrame:
    """Return the testing predictions of an input combination, one row per examination.

    An examination that several repetitions tested on has the mean of its probabilities. Models of different folds may
    be calibrated differently, which makes the AUC of pooled cases somewhat lower than the mean AUC of folds, for all
    inputs alike.

    Args:
        predictions: the table of ``predictions.csv``.
        inputs: name of the combination.

    Returns:
        Table with ``patient``, ``subject``, ``label``, ``probability``, sorted by subject.
    """
    rows = predictions[(predictions["inputs"] == inputs) & (predictions["section"] == "testing")]
    means = rows.groupby(["patient", "subject", "label"])["probability"].mean()
    return means.reset_index().sort_values("subject", ignore_index=True)


def compare_inputs(
    predictions: pd.DataFrame, pairs: Sequence[Sequence[str]], samples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Compare the AUCs of pairs of input combinations on the pooled test subjects.

    Args:
        predictions: the table of ``predictions.csv``, with the same test subjects for both inputs of a pair.
        pairs: (first, second) names; the difference is second minus first: what the second adds.
        samples: number of bootstrap samples.
        seed: of the bootstrap.

    Returns:
        Table with ``first``, ``second``, ``n`` (examinations), ``patients``, ``auc_first``, ``auc_second``,
        ``difference``, DeLong's ``low``, ``high`` and ``p``, and the bootstrap's by patient, ``bootstrap_low``,
        ``bootstrap_high`` and ``bootstrap_p``; intervals of 95 %. Where a patient has several examinations, DeLong's
        interval takes them as independent, and is too narrow: use the bootstrap's. Fewer than two cases of a label
        allow no interval: these six are NaN then.
    """
    rows = []
    for first, second in pairs:
        before, after = (pooled_predictions(predictions, name) for name in (first, second))
        labels, patients = before["label"], before["patient"]
        areas = [roc_auc(labels, table["probability"]) for table in (before, after)]
        scores = after["probability"], before["probability"]
        intervals = dict.fromkeys(("low", "high", "p", "bootstrap_low", "bootstrap_high", "bootstrap_p"), float("nan"))
        if min((labels == 1).sum(), (labels == 0).sum()) >= 2:
            tested = delong_test(labels, *scores)
            drawn = paired_bootstrap_difference(labels, *scores, patients, samples, seed)
            intervals = dict(zip(intervals, (tested.low, tested.high, tested.p, *drawn), strict=True))
        counts = {"n": len(before), "patients": patients.nunique()}
        found = {"auc_first": areas[0], "auc_second": areas[1], "difference": areas[1] - areas[0]}
        rows.append({"first": first, "second": second, **counts, **found, **intervals})
    return pd.DataFrame(rows)


def format_input_comparison(comparison: pd.DataFrame) -> str:
    """Return the table of :func:`compare_inputs` as Markdown."""
    header = ["Without", "With", "n", "AUC without", "AUC with", "Difference", "DeLong", "p", "Bootstrap", "p"]
    rows = []
    for row in comparison.to_dict("records"):
        cells = [row["first"], row["second"], str(row["n"]), _text(row["auc_first"]), _text(row["auc_second"])]
        cells.append(_text(row["difference"], "+.3f"))
        for prefix in ("", "bootstrap_"):
            low, high = (_text(row[f"{prefix}{side}"], "+.3f") for side in ("low", "high"))
            cells += [f"[{low}, {high}]", _text(row[f"{prefix}p"], ".3g")]
        rows.append(cells)
    return markdown_table(header, rows)


def _text(value: float, form: str = ".3f") -> str:
    return "-" if np.isnan(value) else format(value, form)
