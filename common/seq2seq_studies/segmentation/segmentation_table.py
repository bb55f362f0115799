# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Table of DSC and ASSD of each combination of sequences, with paired tests of non-inferiority to the reference."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping

import numpy as np
import pandas as pd
from scipy import stats

from seq2seq_mri.evaluation.page import markdown_table
from seq2seq_studies.study_tables import mean_cell, p_cell

__all__ = [
    "MEASURES",
    "SCORE_NUMBERS",
    "SCORE_TEXT",
    "format_comparison",
    "non_inferiority",
    "scores_by_subject",
    "segmentation_table",
]

SCORE_TEXT = ("combination", "subject", "region", "empty")
SCORE_NUMBERS = ("seed", "fold", "dsc", "assd")
"""The columns of ``scores.csv``: one row per combination, subject, region, seed and fold.

``empty`` says which mask has no voxel: nothing, ``both``, ``prediction`` or ``truth``."""

#: Measure → whether higher is better.
MEASURES = {"dsc": True, "assd": False}
_TITLES = {"dsc": ("DSC, higher is better", 3), "assd": ("ASSD (mm), lower is better", 2)}


def non_inferiority(losses: np.ndarray, margin: float, confidence: float = 0.95) -> dict[str, float]:
    """Test whether a candidate is worse than a reference, and whether it is non-inferior by a margin.

    These are two questions. A large ``p_worse`` does not show that the candidate is as good: with few subjects nothing
    is significant. Non-inferiority does show it: that the mean loss is below what was declared unimportant, the margin,
    before the comparison was made. Losses are taken as independent and their mean as normally distributed.

    Args:
        losses: ``[n]``, what the candidate loses in each subject; positive where it is worse.
        margin: greatest mean loss that does not matter, positive.
        confidence: of the upper limit; ``1 - confidence`` is the level of the non-inferiority test.

    Returns:
        ``loss``, the mean; ``upper``, its one-sided upper confidence limit; ``p_worse`` and ``p_non_inferior`` of
        one-sided paired t-tests, which are small where the mean is above 0, and below the margin; ``non_inferior``, 1
        where ``upper`` is less than the margin, or 0. With fewer than two subjects, limits and p are NaN. Where all
        losses are equal, the t statistic is infinite, and p 0 or 1; NaN where that loss equals 0, or the margin.
    """
    loss, upper, p_worse, p_non_inferior = float(losses.mean()), math.nan, math.nan, math.nan
    if len(losses) > 1 and np.ptp(losses) == 0:
        # The same in closed form; with no variance scipy warns, and what it gives depends on rounding.
        loss = upper = float(losses[0])
        p_worse, p_non_inferior = _without_variance(-loss), _without_variance(loss - margin)
    elif len(losses) > 1:
        below = stats.ttest_1samp(losses, margin, alternative="less")
        upper, p_non_inferior = float(below.confidence_interval(confidence).high), float(below.pvalue)
        p_worse = float(stats.ttest_1samp(losses, 0.0, alternative="greater").pvalue)
    tests = {"loss": loss, "upper": upper, "p_worse": p_worse, "p_non_inferior": p_non_inferior}
    return tests | {"non_inferior": int(upper < margin)}


def scores_by_subject(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the mean over seeds and folds of each combination, region and subject.

    Trainings are repetitions on the same subjects; the tests count subjects.
    """
    keys = ["combination", "region", "subject"]
    return scores.groupby(keys, sort=False)[list(MEASURES)].mean().reset_index()


def segmentation_table(
    scores: pd.DataFrame, reference: str, margins: Mapping[str, float], confidence: float = 0.95
) -> pd.DataFrame:
    """Summarise the scores, and compare each combination with the reference.

    Args:
        scores: with the columns ``SCORE_TEXT`` and ``SCORE_NUMBERS``.
        reference: the combination that the others are compared with, usually all sequences.
        margins: ``dsc`` and ``assd`` → the greatest mean loss that does not matter.
        confidence: of the upper limits.

    Returns:
        Table with a row per combination and region: ``combination``, ``region``, ``n`` subjects, ``empty`` (cases with
        exactly one empty mask, over all trainings), and for each measure its mean and standard deviation over subjects,
        and what :func:`non_inferiority` returns, as ``<measure>_loss`` and so on; all NaN for the reference.

    Raises:
        ValueError: when a combination was tested on other subjects than the reference.
    """
    by_subject = scores_by_subject(scores)
    rows = []
    for (combination, region), group in by_subject.groupby(["combination", "region"], sort=False):
        base = by_subject[(by_subject["combination"] == reference) & (by_subject["region"] == region)]
        paired = base.merge(group, on="subject", suffixes=("_reference", ""))
        if not len(paired) == len(base) == len(group):
            raise ValueError(f"{combination} was tested on other subjects than {reference}; the tests are paired.")
        cases = scores[(scores["combination"] == combination) & (scores["region"] == region)]
        row: dict[str, object] = {"combination": combination, "region": region, "n": len(group)}
        row["empty"] = int(cases["empty"].isin(["prediction", "truth"]).sum())
        for measure, higher_is_better in MEASURES.items():
            row |= {f"{measure}_mean": group[measure].mean(), f"{measure}_sd": group[measure].std()}
            if combination != reference:
                losses = (paired[measure] - paired[f"{measure}_reference"]).to_numpy()
                tests = non_inferiority(-losses if higher_is_better else losses, margins[measure], confidence)
                row |= {f"{measure}_{name}": value for name, value in tests.items()}
        rows.append(row)
    return pd.DataFrame(rows)


def format_comparison(table: pd.DataFrame, margins: Mapping[str, float], confidence: float = 0.95) -> str:
    """Return the table of ``segmentation_table`` as Markdown: one table per measure."""
    parts = []
    for measure in MEASURES:
        title, digits = _TITLES[measure]
        loss = f"Loss (upper {100 * confidence:g} % limit)", "p, worse than the reference"
        header = ["Sequences", "Region", "n", title, *loss, f"p, loss below {margins[measure]:g}", "Non-inferior"]
        rows = []
        for row in table.to_dict("records"):
            mean = mean_cell(row[f"{measure}_mean"], row[f"{measure}_sd"], f".{digits}f")
            rows.append([row["combination"], row["region"], str(row["n"]), mean, *_test_cells(row, measure, digits)])
        parts.append(markdown_table(header, rows))
    return "\n\n".join(parts)


def _without_variance(difference: float) -> float:
    """Return p of the alternative that a mean is below a bound, where it lies ``difference`` above without variance."""
    return math.nan if difference == 0 else float(difference > 0)


def _test_cells(row: Mapping[Hashable, float], measure: str, digits: int) -> Iterable[str]:
    loss = row.get(f"{measure}_loss", math.nan)
    if math.isnan(loss):
        return ["reference", "", "", ""]
    limit = mean_cell(row[f"{measure}_upper"], math.nan, f".{digits}f")
    verdict = "yes" if row[f"{measure}_non_inferior"] == 1 else "not shown"
    ps = [p_cell(row[f"{measure}_{name}"]) for name in ("p_worse", "p_non_inferior")]
    return [f"{loss:.{digits}f} ({limit})", *ps, verdict]
