# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Image quality of each method over subjects, paired tests with Holm's correction, and baselines not beaten."""

from __future__ import annotations

from collections.abc import Collection
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from seq2seq_studies.study_tables import mean_and_deviation

__all__ = [
    "COMPARED",
    "COMPARISON_NUMBERS",
    "COMPARISON_TEXT",
    "UNTRAINED",
    "holm",
    "paired_tests",
    "quality_by_subject",
    "quality_table",
    "unbeaten_baselines",
]

#: Measure → whether higher is better.
COMPARED = {"psnr": True, "ssim": True, "lpips": False, "psnr_foreground": True, "ssim_foreground": True}

COMPARISON_TEXT = ("budget", "method", "setting", "subject", "sources", "target")
COMPARISON_NUMBERS = ("seed", *COMPARED, "data_range")
"""The columns of ``scores.csv``: one row per budget, method, seed, setting, subject, sources and target."""

#: The budget of what is not trained.
UNTRAINED = "none"


def holm(p_values: ArrayLike) -> np.ndarray:
    """Correct p values of several tests after Holm (1979), which holds whatever their dependence.

    Args:
        p_values: ``[n]``; NaN stands for a test that could not be made, and is not counted.

    Returns:
        The corrected p values, in the same order.

    Example:
        >>> holm([0.01, 0.04, 0.03]).tolist()
        [0.03, 0.06, 0.06]
    """
    values = pd.Series(np.asarray(p_values, dtype=np.float64))
    smallest_first = values.dropna().sort_values(kind="stable")
    corrected = (smallest_first * np.arange(len(smallest_first), 0, -1)).cummax().clip(upper=1.0)
    return corrected.reindex(values.index).to_numpy()


def quality_by_subject(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the mean over seeds and synthesised images of each budget, method, setting and subject.

    Several images of a subject, and several trainings, are no further subjects.
    """
    keys = ["budget", "method", "setting", "subject"]
    return scores.groupby(keys, sort=False)[list(COMPARED)].mean().reset_index()


def quality_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Summarise ``scores.csv`` over subjects.

    Returns:
        Table with ``budget``, ``method``, ``setting``, ``n`` subjects, and for each measure its mean and standard
        deviation over subjects, ``<measure>_mean`` and ``<measure>_sd``.
    """
    return mean_and_deviation(quality_by_subject(scores), ["budget", "method", "setting"], list(COMPARED), counted="n")


def paired_tests(scores: pd.DataFrame) -> pd.DataFrame:
    """Compare every two methods of the same budget, and each with what is not trained, by paired t-tests.

    Returns:
        Table with ``budget``, ``setting``, ``measure``, ``first``, ``second``, ``n`` subjects, ``difference`` (mean of
        first minus second), ``p`` (two-sided) and ``p_holm``, corrected for all pairs of methods of the same budget,
        setting and measure. With fewer than two subjects, or equal differences in all, p is NaN.

    Raises:
        ValueError: when two methods were tested on different subjects.
    """
    by_subject = quality_by_subject(scores)
    budgets = [budget for budget in dict.fromkeys(by_subject["budget"]) if budget != UNTRAINED] or [UNTRAINED]
    columns = ["budget", "setting", "measure", "first", "second", "n", "difference", "p", "p_holm"]
    rows = []
    for budget in budgets:
        chosen = by_subject[by_subject["budget"].isin([budget, UNTRAINED])]
        for setting, part in chosen.groupby("setting", sort=False):
            methods = list(dict.fromkeys(part["method"]))
            if len(part) != len(methods) * part["subject"].nunique():
                raise ValueError("The methods were tested on different subjects; the tests are paired.")
            wide = part.pivot(index="subject", columns="method", values=list(COMPARED))
            for measure in COMPARED:
                pairs = [_compare(wide[measure], *pair) for pair in combinations(methods, 2)]
                for pair, p_holm in zip(pairs, holm([pair["p"] for pair in pairs]), strict=True):
                    rows.append({"budget": budget, "setting": setting, "measure": measure, **pair, "p_holm": p_holm})
    return pd.DataFrame(rows, columns=columns)


def unbeaten_baselines(table: pd.DataFrame, baselines: Collection[str]) -> pd.DataFrame:
    """Return the rows of a quality table whose mean PSNR is no better than that of an untrained baseline.

    A row stands once for each of them, named in ``method_baseline`` and ``psnr_mean_baseline``.
    """
    untrained = table["method"].isin(baselines)
    others = table.loc[untrained, ["setting", "method", "psnr_mean"]]
    pairs = table[~untrained].merge(others, on="setting", suffixes=("", "_baseline"))
    return pairs[~(pairs["psnr_mean"] > pairs["psnr_mean_baseline"])]


def _compare(values: pd.DataFrame, first: str, second: str) -> dict[str, float | str]:
    differences = (values[first] - values[second]).to_numpy(dtype=np.float64)
    testable = len(differences) > 1 and bool(np.isfinite(differences).all()) and np.ptp(differences) > 0
    p = float(stats.ttest_1samp(differences, 0.0).pvalue) if testable else float("nan")
    return {"first": first, "second": second, "n": len(differences), "difference": float(differences.mean()), "p": p}
