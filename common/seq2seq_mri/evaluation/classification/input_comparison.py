# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Whether one input combination of a classifier is better than another, on the same test subjects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from seq2seq_mri.evaluation.classification.classification_metrics import roc_auc
from seq2seq_mri.evaluation.classification.roc_comparison import delong_test, paired_bootstrap_difference
from seq2seq_mri.evaluation.page import markdown_table

__all__ = ["compare_inputs", "format_input_comparison", "pooled_predictions"]


def pooled_predictions(predictions: pd.DataFrame, inputs: str) -> pd.DataFrame:
    """Return the testing predictions of an input combination, one row per examination.

    An examination that several repetitions tested on has the mean of its probabilities. Models of
    different folds may be calibrated differently, which makes the AUC of pooled cases somewhat lower than the mean AUC
    of folds, for all inputs alike.

    Args:
        predictions: the table of ``predictions.csv``.
        inputs: name of the combination.

    Returns:
        Table with ``patient``, ``subject``, ``label``, ``probability``, sorted by subject.

    Raises:
        ValueError: when the table has no testing predictions of ``inputs``.
    """
    rows = predictions[(predictions["inputs"] == inputs) & (predictions["section"] == "testing")]
    if rows.empty:
        known = ", ".join(dict.fromkeys(predictions["inputs"]))
        raise ValueError(f"There is no testing prediction with the inputs '{inputs}'; there are {known or 'none'}.")
    return rows.groupby(["patient", "subject", "label"])["probability"].mean().reset_index().sort_values("subject")


def compare_inputs(
    predictions: pd.DataFrame,
    pairs: Sequence[Sequence[str]],
    confidence: float = 0.95,
    samples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare the AUCs of pairs of input combinations on the pooled test subjects.

    Args:
        predictions: the table of ``predictions.csv``, with the same test subjects for both inputs of a pair.
        pairs: (first, second) names; the difference is second minus first: what the second adds.
        confidence: coverage of the intervals.
        samples: number of bootstrap samples.
        seed: of the bootstrap.

    Returns:
        Table with ``first``, ``second``, ``n`` (examinations), ``patients``, ``auc_first``, ``auc_second``,
        ``difference``, DeLong's ``low``, ``high`` and ``p``, and the bootstrap's by patient, ``bootstrap_low``,
        ``bootstrap_high`` and ``bootstrap_p``. Where a patient has several examinations, DeLong's interval takes them
        as independent, and is too narrow: use the bootstrap's. Fewer than two cases of a label allow no interval: these
        six are NaN then.

    Raises:
        ValueError: when a pair has other test subjects or labels.
    """
    rows = []
    for first, second in pairs:
        a, b = (pooled_predictions(predictions, name) for name in (first, second))
        keys = ["patient", "subject", "label"]
        if not a[keys].reset_index(drop=True).equals(b[keys].reset_index(drop=True)):
            raise ValueError(
                f"'{first}' was tested on {len(a)} subjects and '{second}' on {len(b)}, not all of them the same; only "
                "results of the same folds can be compared."
            )
        labels, before, after = a["label"].to_numpy(), a["probability"].to_numpy(), b["probability"].to_numpy()
        rows.append(
            {
                "first": first,
                "second": second,
                "n": len(a),
                "patients": a["patient"].nunique(),
                "auc_first": roc_auc(labels, before),
                "auc_second": roc_auc(labels, after),
                "difference": roc_auc(labels, after) - roc_auc(labels, before),
                **_intervals(labels, before, after, a["patient"].to_numpy(), confidence, samples, seed),
            }
        )
    return pd.DataFrame(rows)


def _intervals(
    labels: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    patients: np.ndarray,
    confidence: float,
    samples: int,
    seed: int,
) -> dict[str, float]:
    if min((labels == 1).sum(), (labels == 0).sum()) < 2:
        return dict.fromkeys(("low", "high", "p", "bootstrap_low", "bootstrap_high", "bootstrap_p"), float("nan"))
    tested = delong_test(labels, after, before, confidence)
    drawn = paired_bootstrap_difference(labels, after, before, patients, n=samples, seed=seed, confidence=confidence)
    return {
        "low": tested.low,
        "high": tested.high,
        "p": tested.p,
        "bootstrap_low": drawn.low,
        "bootstrap_high": drawn.high,
        "bootstrap_p": drawn.p,
    }


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
