# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""How far C_t and C_d depend on which subjects happened to be measured: a bootstrap over subjects.

A bootstrap sample has as many subjects as the cohort, drawn with replacement, and is treated as a cohort of its own
(Eq. 4): its pair means, and the mean and standard deviation that standardise them, are computed anew. All pairs of a
subject stay together, because they share its images.

Where subjects lack sequences, a sample may be without a pair that the cohort has. Such a pair is treated as in
``analysis.contribution``: it counts as an average one, A_ij = 0, and a sequence that is left without any pair as source
has no C_t in that sample, without any as target no C_d. Intervals are over the samples in which the sequence has a
score; in the others it has no rank. Counting a pair as average draws the score towards 0 in that sample; how many
samples are concerned is reported.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from seq2seq_mri.evaluation.contribution.contribution import adjacency_from_values, contribution_scores, pair_values
from seq2seq_mri.evaluation.image_quality.image_quality import Region

__all__ = ["SCORES", "ContributionBootstrap", "bootstrap_contribution", "check_bootstrap", "contribution_intervals"]

#: The scores, in the order of the arrays of :class:`ContributionBootstrap`.
SCORES = ("c_t", "c_d")


@dataclass(frozen=True)
class ContributionBootstrap:
    """C_t and C_d of a cohort and of its bootstrap samples.

    Attributes:
        sequences: names of the S sequences.
        estimates: C_t and C_d of all subjects, ``[2, S]``; NaN where a sequence has none.
        scores: those of each bootstrap sample, ``[samples, 2, S]``.
        subjects: in how many subjects each sequence belongs to a measured pair, ``[S]``.
        lacking: how many pairs that the cohort has were not measured in each sample, ``[samples]``.
    """

    sequences: list[str]
    estimates: np.ndarray
    scores: np.ndarray
    subjects: np.ndarray
    lacking: np.ndarray


def bootstrap_contribution(
    table: pd.DataFrame,
    sequences: Iterable[str],
    region: Region = "foreground",
    samples: int = 2000,
    seed: int = 0,
) -> ContributionBootstrap:
    """Compute C_t and C_d of all subjects, and of samples of as many subjects drawn with replacement.

    Args:
        table: the image-quality table (``metrics.csv``).
        sequences: names of all sequences (or the sequence table).
        region: where PSNR and SSIM are taken from, see ``analysis.contribution.adjacency_matrix``.
        samples: number of bootstrap samples.
        seed: of the resampling, 0 or more.

    Raises:
        ValueError: when there are fewer than two subjects, ``samples`` or ``seed`` is out of range, or the table is not
            valid (see ``analysis.contribution.adjacency_matrix``).
    """
    check_bootstrap(samples, seed)
    names = list(sequences)
    values = pair_values(table, names, region)
    if len(values) < 2:
        raise ValueError("A bootstrap over subjects needs at least two; the image-quality table has one.")
    measured = np.isfinite(values).any(axis=1)
    pairs = measured.any(axis=0)
    scores = np.empty((samples, len(SCORES), len(names)))
    lacking = np.empty(samples, dtype=int)
    for place, drawn in enumerate(np.random.default_rng(seed).integers(len(values), size=(samples, len(values)))):
        scores[place] = contribution_scores(adjacency_from_values(values[drawn]))
        lacking[place] = (pairs & ~measured[drawn].any(axis=0)).sum()
    return ContributionBootstrap(
        sequences=names,
        estimates=np.stack(contribution_scores(adjacency_from_values(values))),
        scores=scores,
        subjects=(measured.any(axis=1) | measured.any(axis=2)).sum(axis=0),
        lacking=lacking,
    )


def contribution_intervals(bootstrap: ContributionBootstrap, confidence: float = 0.95) -> pd.DataFrame:
    """Return C_t and C_d of all subjects with percentile confidence intervals.

    The interval leaves out (1 - confidence) / 2 of the samples at either end. With few subjects it is too narrow,
    because a sample can only have values that the cohort has.

    Args:
        bootstrap: what ``bootstrap_contribution`` returned.
        confidence: coverage of the intervals, between 0 and 1.

    Returns:
        Table with ``sequence``, ``subjects``, and for ``c_t`` and ``c_d`` the estimate, ``<score>_low`` and
        ``<score>_high``; NaN where a sequence has no measured pair.

    Raises:
        ValueError: when ``confidence`` is out of range.
    """
    check_bootstrap(confidence=confidence)
    result = pd.DataFrame({"sequence": bootstrap.sequences, "subjects": bootstrap.subjects})
    for place, score in enumerate(SCORES):
        result[score] = bootstrap.estimates[place]
        result[f"{score}_low"] = _percentile(bootstrap.scores[:, place], 50.0 * (1.0 - confidence))
        result[f"{score}_high"] = _percentile(bootstrap.scores[:, place], 50.0 * (1.0 + confidence))
    return result


def check_bootstrap(samples: int = 1, seed: int = 0, confidence: float = 0.5) -> None:
    """Check the options of a bootstrap.

    Raises:
        ValueError: when one is out of range; the message names it.
    """
    for name, number, least in (("samples", samples, 1), ("seed", seed, 0)):
        if isinstance(number, bool) or not isinstance(number, int) or number < least:
            raise ValueError(f"{name} is {number!r}; give a whole number of at least {least}.")
    if isinstance(confidence, bool) or not isinstance(confidence, (int, float)) or not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence!r}; give a number between 0 and 1.")


def _percentile(scores: np.ndarray, percentage: float) -> np.ndarray:
    # Column by column: np.nanpercentile warns about columns without any value, which are legal here.
    columns = [column[np.isfinite(column)] for column in scores.T]
    return np.array([np.percentile(column, percentage) if column.size else np.nan for column in columns])
