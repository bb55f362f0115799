# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""How far C_t and C_d depend on which subjects happened to be measured."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from seq2seq_mri.analysis.contribution import Region, adjacency_from_values, contribution_scores, pair_values

__all__ = ["bootstrap_contribution"]


def bootstrap_contribution(
    table: pd.DataFrame,
    sequences: Iterable[str],
    region: Region = "whole",
    samples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Give C_t and C_d percentile confidence intervals by resampling subjects with replacement.

    The z scores are computed anew in every sample; all pairs of a subject stay together, because they share its
    images.

    Args:
        table: the image-quality table (``metrics.csv``).
        sequences: names of all sequences (or the sequence table).
        region: whether PSNR and SSIM are those of the ``"whole"`` volume or of the ``"foreground"``.
        samples: number of bootstrap samples.
        confidence: coverage of the intervals, between 0 and 1.
        seed: of the resampling.

    Returns:
        Table with ``sequence``, and for ``c_t`` and ``c_d`` the estimate from all subjects, ``<score>_low``,
        ``<score>_high``, and ``<score>_first``: the fraction of samples in which the sequence ranks first. NaN where a
        sequence has no measured pair.

    Raises:
        ValueError: when there are fewer than two subjects, ``samples`` or ``confidence`` is out of range, or the table
            is not valid (see ``adjacency_matrix``).
    """
    names = list(sequences)
    values = pair_values(table, names, region)
    if len(values) < 2:
        raise ValueError("A bootstrap over subjects needs at least two; the image-quality table has one.")
    if samples < 1 or not 0 < confidence < 1:
        raise ValueError(f"samples is {samples} and confidence {confidence}; give samples ≥ 1 and 0 < confidence < 1.")
    generator = np.random.default_rng(seed)
    drawn = generator.integers(len(values), size=(samples, len(values)))
    resampled = np.stack([contribution_scores(adjacency_from_values(values[subjects])) for subjects in drawn])

    result: dict[str, object] = {"sequence": names}
    estimates = contribution_scores(adjacency_from_values(values))
    for index, score in enumerate(("c_t", "c_d")):
        scores = resampled[:, index]
        result[score] = estimates[index]
        result[f"{score}_low"] = _percentile(scores, 50.0 * (1.0 - confidence))
        result[f"{score}_high"] = _percentile(scores, 50.0 * (1.0 + confidence))
        first = np.argmax(np.where(np.isnan(scores), -np.inf, scores), axis=1)
        fraction = np.bincount(first, minlength=len(names)) / samples
        result[f"{score}_first"] = np.where(np.isnan(estimates[index]), np.nan, fraction)
    return pd.DataFrame(result)


def _percentile(scores: np.ndarray, percentage: float) -> np.ndarray:
    # Column by column: np.nanpercentile warns about columns without any value, which are legal here.
    columns = [column[np.isfinite(column)] for column in scores.T]
    return np.array([np.percentile(column, percentage) if column.size else np.nan for column in columns])
