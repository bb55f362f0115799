# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Table 1: image quality of each method over subjects, paired tests, and whether the trivial baselines are beaten."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

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
    values = np.asarray(p_values, dtype=np.float64)
    corrected = np.full(values.shape, np.nan)
    made = np.flatnonzero(~np.isnan(values))
    order = made[np.argsort(values[made], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1.0)
    return corrected


def quality_by_subject(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the mean over seeds and synthesised images of each budget, method, setting and subject.

    Several images of a subject, and several trainings, are no further subjects.
    """
    keys = ["budget", "method", "setting", "subject"]
    return scores.groupby(keys, sort=False)[list(COMPARED)].mean().reset_index()


def quality_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Summarise over subjects.

    Args:
        scores: with the columns ``COMPARISON_TEXT`` and ``COMPARISON_NUMBERS``.

    Returns:
        Table with ``budget``, ``method``, ``setting``, ``n`` subjects, ``seeds``, and for each measure its mean and
        standard deviation over subjects, ``<measure>_mean`` and ``<measure>_sd``; and ``<measure>_seed_sd``, the
        standard deviation over seeds of the mean over subjects (NaN for one seed).
    """
    keys = ["budget", "method", "setting"]
    groups = quality_by_subject(scores).groupby(keys, sort=False)
    table = groups["subject"].nunique().rename("n").to_frame()
    table["seeds"] = scores.groupby(keys, sort=False)["seed"].nunique()
    by_seed = scores.groupby([*keys, "seed", "subject"], sort=False)[list(COMPARED)].mean()
    seeds = by_seed.groupby([*keys, "seed"], sort=False).mean().groupby(keys, sort=False)
    for measure in COMPARED:
        table[f"{measure}_mean"] = groups[measure].mean()
        table[f"{measure}_sd"] = groups[measure].std()
        table[f"{measure}_seed_sd"] = seeds[measure].std()
    return table.reset_index()


def paired_tests(scores: pd.DataFrame, measures: Sequence[str] = tuple(COMPARED)) -> pd.DataFrame:
    """Compare every two methods of the same budget, and each with what is not trained, by paired t-tests.

    Args:
        scores: as of :func:`quality_table`.
        measures: which to test.

    Returns:
        Table with ``budget``, ``setting``, ``measure``, ``first``, ``second``, ``n`` subjects, ``difference`` (mean of
        first minus second), ``p`` (two-sided) and ``p_holm``, corrected for all pairs of methods of the same budget,
        setting and measure. With fewer than two subjects, or equal differences in all, p is NaN.

    Raises:
        ValueError: when two methods were tested on different subjects.
    """
    by_subject = quality_by_subject(scores)
    budgets = [budget for budget in dict.fromkeys(by_subject["budget"]) if budget != UNTRAINED] or [UNTRAINED]
    rows = []
    for budget in budgets:
        for setting in dict.fromkeys(by_subject["setting"]):
            chosen = by_subject["budget"].isin([budget, UNTRAINED]) & (by_subject["setting"] == setting)
            part = by_subject[chosen]
            for measure in measures:
                wide = part.pivot(index="subject", columns="method", values=measure)
                if part.groupby("method")["subject"].nunique().nunique() > 1 or len(wide) != part["subject"].nunique():
                    raise ValueError("The methods were tested on different subjects; the tests are paired.")
                pairs = [
                    _compare(wide[first], wide[second]) | {"first": first, "second": second}
                    for first, second in combinations(dict.fromkeys(part["method"]), 2)
                ]
                corrected = holm([pair["p"] for pair in pairs])
                for pair, p_holm in zip(pairs, corrected, strict=True):
                    rows.append({"budget": budget, "setting": setting, "measure": measure} | pair | {"p_holm": p_holm})
    columns = ["budget", "setting", "measure", "first", "second", "n", "difference", "p", "p_holm"]
    return pd.DataFrame(rows, columns=columns)


def unbeaten_baselines(table: pd.DataFrame, baselines: Collection[str], measure: str = "psnr") -> pd.DataFrame:
    """Return the rows of methods whose mean is no better than that of a baseline, with its name as ``baseline``.

    Args:
        table: of :func:`quality_table`.
        baselines: methods that are not trained.
        measure: by which to judge.
    """
    sign = 1 if COMPARED[measure] else -1
    rows = []
    for row in table[~table["method"].isin(baselines)].to_dict("records"):
        for other in table[table["method"].isin(baselines) & (table["setting"] == row["setting"])].to_dict("records"):
            if not sign * row[f"{measure}_mean"] > sign * other[f"{measure}_mean"]:
                rows.append({**row, "baseline": other["method"]})
    return pd.DataFrame(rows, columns=[*table.columns, "baseline"])


def _compare(first: pd.Series, second: pd.Series) -> dict:
    differences = (first - second).to_numpy(dtype=np.float64)
    testable = len(differences) > 1 and bool(np.isfinite(differences).all()) and np.ptp(differences) > 0
    p = float(stats.ttest_1samp(differences, 0.0).pvalue) if testable else float("nan")
    return {"n": len(differences), "difference": float(differences.mean()), "p": p}
