# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Table 3: DSC and ASSD of each combination of sequences, and its tests against the reference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pandas as pd

from seq2seq_mri.evaluation.page import markdown_table
from seq2seq_studies.segmentation.non_inferiority import compare_with_reference

__all__ = ["MEASURES", "SCORE_NUMBERS", "SCORE_TEXT", "format_comparison", "scores_by_subject", "segmentation_table"]

SCORE_TEXT = ("combination", "subject", "region", "empty")
SCORE_NUMBERS = ("seed", "fold", "dsc", "assd")
"""The columns of ``scores.csv``: one row per combination, subject, region, seed and fold.

``empty`` says which mask has no voxel: nothing, ``both``, ``prediction`` or ``truth``."""

#: Measure → whether higher is better.
MEASURES = {"dsc": True, "assd": False}


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
        and ``<measure>_loss``, ``_upper``, ``_p_worse``, ``_p_non_inferior`` and ``_non_inferior`` (1 or 0; all NaN for
        the reference), see :class:`PairedComparison`.

    Raises:
        ValueError: when the reference is not in the table, or a combination was tested on other subjects.
    """
    by_subject = scores_by_subject(scores)
    if reference not in set(by_subject["combination"]):
        raise ValueError(f"There are no scores of the reference, {reference}.")
    rows = []
    for (combination, region), group in by_subject.groupby(["combination", "region"], sort=False):
        base = by_subject[(by_subject["combination"] == reference) & (by_subject["region"] == region)]
        paired = base.merge(group, on="subject", suffixes=("_reference", ""))
        if not len(paired) == len(base) == len(group):
            raise ValueError(f"{combination} was tested on other subjects than {reference}; the tests are paired.")
        cases = scores[(scores["combination"] == combination) & (scores["region"] == region)]
        row: dict = {"combination": combination, "region": region, "n": len(group)}
        row["empty"] = int(cases["empty"].isin(["prediction", "truth"]).sum())
        for measure, higher_is_better in MEASURES.items():
            row |= {f"{measure}_mean": group[measure].mean(), f"{measure}_sd": group[measure].std()}
            if combination == reference:
                continue
            test = compare_with_reference(
                paired[f"{measure}_reference"], paired[measure], margins[measure], higher_is_better, confidence
            )
            row |= {f"{measure}_{name}": value for name, value in test._asdict().items() if name != "n"}
            row[f"{measure}_non_inferior"] = int(test.non_inferior)
        rows.append(row)
    return pd.DataFrame(rows)


def format_comparison(table: pd.DataFrame, margins: Mapping[str, float], confidence: float = 0.95) -> str:
    """Return the table of ``segmentation_table`` as Markdown: one table per measure."""
    titles = {"dsc": ("DSC", ".3f"), "assd": ("ASSD (mm)", ".2f")}
    parts = []
    for measure, higher_is_better in MEASURES.items():
        title, digits = titles[measure]
        arrow = "higher" if higher_is_better else "lower"
        header = [
            "Sequences",
            "Region",
            "n",
            f"{title}, {arrow} is better",
            f"Loss (upper {100 * confidence:g} % limit)",
            "p, worse than the reference",
            f"p, loss below {margins[measure]:g}",
            "Non-inferior",
        ]
        rows = []
        for row in table.to_dict("records"):
            mean = _with_deviation(row[f"{measure}_mean"], row[f"{measure}_sd"], digits)
            rows.append([row["combination"], row["region"], str(row["n"]), mean, *_test_cells(row, measure, digits)])
        parts.append(markdown_table(header, rows))
    return "\n\n".join(parts)


def _test_cells(row: Mapping, measure: str, digits: str) -> Iterable[str]:
    loss = row.get(f"{measure}_loss")
    if loss is None or pd.isna(loss):
        return ["reference", "", "", ""]
    upper = row[f"{measure}_upper"]
    limit = "n/a" if pd.isna(upper) else f"{upper:{digits}}"
    verdict = "yes" if row[f"{measure}_non_inferior"] == 1 else "not shown"
    ps = [_probability(row[f"{measure}_{name}"]) for name in ("p_worse", "p_non_inferior")]
    return [f"{loss:{digits}} ({limit})", *ps, verdict]


def _with_deviation(mean: float, deviation: float, digits: str) -> str:
    return f"{mean:{digits}}" if pd.isna(deviation) else f"{mean:{digits}} ± {deviation:{digits}}"


def _probability(value: float) -> str:
    if pd.isna(value):
        return "n/a"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
