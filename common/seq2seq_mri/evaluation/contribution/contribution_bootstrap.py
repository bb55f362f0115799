# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Bootstrap over subjects of C_t and C_d: their values in resampled cohorts, and how often each rank occurs.

A bootstrap sample has as many subjects as the cohort, drawn with replacement, and is treated as a cohort of its own
(Eq. 4): its pair means, and the mean and standard deviation that standardise them, are computed anew. All pairs of a
subject stay together, because they share its images.

Where subjects lack sequences, a sample may be without a pair that the cohort has. Such a pair counts as an average one,
A_ij = 0. A sequence left without any pair as source has no C_t in that sample; one left without any pair as target has
no C_d. Intervals are over the samples in which the sequence has a score; in the others it has no rank. Counting a pair
as average draws the score towards 0 in that sample; how many samples are concerned is reported.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from seq2seq_mri.evaluation.contribution.contribution import (
    adjacency_from_values,
    contribution_ranks,
    contribution_scores,
    pair_values,
)
from seq2seq_mri.evaluation.image_quality.image_quality import Region

__all__ = [
    "SCORES",
    "ContributionBootstrap",
    "bootstrap_contribution",
    "check_bootstrap",
    "rank_frequencies",
]

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
        region: where PSNR and SSIM are taken from, see :func:`adjacency_matrix`.
        samples: number of bootstrap samples.
        seed: of the resampling, 0 or more.

    Raises:
        ValueError: when there are fewer than two subjects, ``samples`` or ``seed`` is out of range, or the table is not
            valid (see :func:`adjacency_matrix`).
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


def check_bootstrap(samples: int, seed: int, confidence: float = 0.95) -> None:
    """Check what a user asks of a bootstrap.

    Raises:
        ValueError: when an option is out of range; the message names it.
    """
    for name, number, least in (("samples", samples, 1), ("seed", seed, 0)):
        if not isinstance(number, int) or number < least:
            raise ValueError(f"{name} is {number!r}; give a whole number of at least {least}.")
    if not isinstance(confidence, (int, float)) or not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence!r}; give a number between 0 and 1.")


def rank_frequencies(bootstrap: ContributionBootstrap) -> pd.DataFrame:
    """Return the fraction of bootstrap samples in which each sequence has each rank.

    Ranks are those of :func:`contribution_ranks`, among the sequences that have a score in the sample. Equal scores
    share the better rank, so the fractions of a sequence sum to 1, those of a rank need not.

    Returns:
        Table with ``score`` (``c_t``, ``c_d``), ``sequence``, ``rank`` (1 to S, and 0 for no rank) and ``frequency``,
        a row for each combination of these.
    """
    ranks = np.nan_to_num(contribution_ranks(bootstrap.scores), nan=0.0)
    possible = [*range(1, len(bootstrap.sequences) + 1), 0]
    return pd.DataFrame(
        {"score": score, "sequence": name, "rank": rank, "frequency": float(np.mean(ranks[:, i, j] == rank))}
        for i, score in enumerate(SCORES)
        for j, name in enumerate(bootstrap.sequences)
        for rank in possible
    )
