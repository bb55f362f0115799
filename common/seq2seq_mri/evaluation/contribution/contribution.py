# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Adjacency matrix A, totipotency C_t and imaging differentiation C_d of sequences (Eq. 4).

Source: Han et al., Synthesis-based imaging-differentiation representation learning for multi-sequence 3D/4D MRI,
Medical Image Analysis 2024, Eq. 4. From the table of image quality (``metrics.csv``) comes the adjacency matrix A:
entry A_ij says how well source i synthesises target j, compared with all the other pairs. For S sequences

    A_ij   =  nPSNR_ij + nSSIM_ij - nLPIPS_ij, each measure standardised over all pairs,
    C_t(i) =  1/S Σ_j A_ij    totipotency: high when i synthesises the others well,
    C_d(j) = -1/S Σ_i A_ij    imaging differentiation: high when the others synthesise j badly,

with A_ii = 0. Both sum the same matrix, so Σ C_t = -Σ C_d. Where LPIPS was not measured, A_ij = nPSNR_ij + nSSIM_ij, a
sum of two, whose scores cannot be compared with those of three.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from seq2seq_mri.evaluation.image_quality.image_quality import QUALITY_COLUMNS, Region, check_region
from seq2seq_mri.evaluation.records import read_records

__all__ = [
    "adjacency_from_values",
    "adjacency_matrix",
    "contribution",
    "contribution_ranks",
    "contribution_scores",
    "pair_values",
    "read_adjacency",
]

logger = logging.getLogger(__name__)


def adjacency_matrix(table: pd.DataFrame, sequences: Iterable[str], region: Region = "foreground") -> pd.DataFrame:
    """Return the adjacency matrix A of Eq. 4.

    For each measure, z_ij = (mean over subjects of the pair i → j - mean of all rows) / standard deviation of all
    rows (population form); the sign of LPIPS is turned, because low is good. A_ij is the sum of the z_ij:

    - a measure that no row has (LPIPS turned off) adds nothing: A is then the sum of two;
    - a measure that a pair lacks while others have it counts as an average one: its z is 0;
    - a measure that is the same in all rows tells no pair from another: its z is 0;
    - a pair that was not measured in any subject is NaN, and so reported;
    - rows with source = target are no synthesis of another sequence: ignored, and A_ii = 0.

    Args:
        table: the image-quality table (``metrics.csv``).
        sequences: names of all sequences (or the sequence table); their number is S, their order that of A.
        region: whether PSNR and SSIM are those of the ``"foreground"``, the ``"whole"`` volume or its
            ``"central_crop"``. LPIPS is that of all slices with foreground in each case.

    Returns:
        Float64 table ``[S, S]``, rows (index ``source``) are sources, columns are targets.

    Raises:
        ValueError: when the table names an unknown sequence, a pair of a subject occurs twice, a PSNR is infinite, or
            no pair was measured.
    """
    names = list(sequences)
    adjacency = adjacency_from_values(pair_values(table, names, region))
    missing = [f"{names[i]} to {names[j]}" for i, j in np.argwhere(np.isnan(adjacency))]
    if missing:
        logger.warning("Not measured, so NaN in the adjacency matrix: %s.", ", ".join(missing))
    return pd.DataFrame(adjacency, index=pd.Index(names, name="source"), columns=names)


def contribution(adjacency: pd.DataFrame) -> pd.DataFrame:
    """Return totipotency C_t and imaging differentiation C_d of every sequence (Eq. 4).

    Args:
        adjacency: matrix ``[S, S]`` from ``adjacency_matrix``. A pair that was not measured (NaN) counts as an
            average one, A_ij = 0, so that the sums keep their S terms; a sequence without any measured pair as source
            has no C_t, without any as target no C_d (both NaN, unranked).

    Returns:
        Table with ``sequence``, ``c_t``, ``rank_t`` (1 = highest C_t, the most totipotent), ``c_d``, ``rank_d``
        (1 = highest C_d, the hardest to synthesise from the others); equal values share the better rank.
    """
    c_t, c_d = contribution_scores(adjacency.to_numpy(dtype=float))
    rank_t, rank_d = (pd.Series(contribution_ranks(scores)).astype("Int64") for scores in (c_t, c_d))
    columns = {"sequence": list(adjacency.index), "c_t": c_t, "rank_t": rank_t, "c_d": c_d, "rank_d": rank_d}
    return pd.DataFrame(columns)


def pair_values(table: pd.DataFrame, sequences: Iterable[str], region: Region = "foreground") -> np.ndarray:
    """Return the measures that enter A, as an array ``[subjects, 3, S, S]`` (PSNR, SSIM, -LPIPS; source, target).

    NaN where a subject's pair was not measured, and on the diagonal.

    Raises:
        ValueError: see ``adjacency_matrix``.
    """
    names = list(sequences)
    check_region(region)
    psnr, ssim = QUALITY_COLUMNS[region]
    measures = [psnr, ssim, "lpips"]
    unknown = sorted({*table["source"], *table["target"]} - set(names))
    if unknown:
        raise ValueError(f"The image-quality table names {', '.join(unknown)}; known sequences: {', '.join(names)}.")
    keyed = table[table["source"] != table["target"]].set_index(["subject", "source", "target"])[measures].astype(float)
    twice = keyed.index[keyed.index.duplicated()]
    if len(twice):
        subject, source, target = twice[0]
        raise ValueError(f"Subject '{subject}': {source} to {target} was measured twice.")
    infinite = keyed.index[np.isinf(keyed).any(axis=1)]
    if len(infinite):
        subject, source, target = infinite[0]
        raise ValueError(
            f"Subject '{subject}': the measures of {source} to {target} are infinite, as for identical images; check"
            " that these are two different files, or remove the row."
        )
    if keyed.isna().all(axis=None):
        raise ValueError("The image-quality table has no measured pair of two different sequences.")
    subjects = sorted(keyed.index.unique("subject"))
    values = keyed.reindex(pd.MultiIndex.from_product([subjects, names, names])).to_numpy() * (1.0, 1.0, -1.0)
    return np.ascontiguousarray(values.reshape(len(subjects), len(names), len(names), 3).transpose(0, 3, 1, 2))


def adjacency_from_values(values: np.ndarray) -> np.ndarray:
    """Return A ``[S, S]`` of the array that ``pair_values`` gives; unmeasured pairs are NaN, the diagonal is 0."""
    standardised = np.stack([_standardised_pair_means(measure) for measure in np.moveaxis(values, 1, 0)])
    adjacency = np.where(np.isnan(standardised).all(axis=0), np.nan, np.nansum(standardised, axis=0))
    np.fill_diagonal(adjacency, 0.0)
    return adjacency


def contribution_scores(adjacency: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return C_t and C_d (each ``[S]``) of an array A ``[S, S]``; NaN as described in ``contribution``."""
    number = len(adjacency)
    pairs = np.isfinite(adjacency) & ~np.eye(number, dtype=bool)
    filled = np.where(pairs, adjacency, 0.0)
    c_t = np.where(pairs.any(axis=1), filled.sum(axis=1) / number, np.nan)
    c_d = np.where(pairs.any(axis=0), -filled.sum(axis=0) / number, np.nan)
    return c_t, c_d


def contribution_ranks(scores: np.ndarray) -> np.ndarray:
    """Return the ranks of scores ``[..., S]`` along the last axis: 1 is the highest, equal ones share the better.

    Scores count as equal within 1e-9, far above rounding errors. NaN has no rank, which is NaN in the result, and takes
    none from the others.
    """
    return rankdata(-np.round(scores, 9), method="min", axis=-1, nan_policy="omit").astype(float)


def read_adjacency(path: str | os.PathLike) -> pd.DataFrame:
    """Read ``adjacency.csv`` (``source``, then a column for each target) into the form of ``adjacency_matrix``.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is not a square matrix with equal names of sources and targets.
    """
    table = read_records(path, ["source"]).set_index("source")
    if list(table.index) != list(table.columns):
        raise ValueError(f"{path} has sources {list(table.index)} but targets {list(table.columns)}.")
    return table


def _standardised_pair_means(values: np.ndarray) -> np.ndarray:
    """Standardise one measure ``[subjects, S, S]``: pair means against the mean and deviation of all its rows."""
    measured = np.isfinite(values)
    rows, count = values[measured], measured.sum(axis=0)
    if rows.size == 0:
        return np.full(count.shape, np.nan)
    centred = np.where(count > 0, np.nansum(values, axis=0) / np.maximum(count, 1) - rows.mean(), np.nan)
    deviation = rows.std()
    # Equal values leave a deviation of rounding errors, which must not be blown up to z scores.
    if deviation <= 1e-12 * np.abs(rows).max():
        return np.where(count > 0, 0.0, np.nan)
    return centred / deviation
