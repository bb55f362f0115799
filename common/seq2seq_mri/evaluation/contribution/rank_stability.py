# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""How often each sequence takes each rank when other subjects of the cohort had been measured."""

from __future__ import annotations

import numpy as np
import pandas as pd

from seq2seq_mri.evaluation.contribution.contribution import contribution_ranks
from seq2seq_mri.evaluation.contribution.contribution_bootstrap import SCORES, ContributionBootstrap

__all__ = ["order_frequencies", "rank_frequencies"]


def rank_frequencies(bootstrap: ContributionBootstrap) -> pd.DataFrame:
    """Return the fraction of bootstrap samples in which each sequence has each rank.

    Ranks are those of ``analysis.contribution.contribution_ranks``, among the sequences that have a score in the
    sample. Equal scores share the better rank, so the fractions of a sequence sum to 1, those of a rank need not.

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


def order_frequencies(bootstrap: ContributionBootstrap) -> dict[str, float]:
    """Return, for ``c_t`` and ``c_d``, the fraction of samples in which all ranks are those of the cohort.

    A sequence without a rank in the cohort has none in any sample.
    """
    estimated = np.nan_to_num(contribution_ranks(bootstrap.estimates), nan=0.0)
    resampled = np.nan_to_num(contribution_ranks(bootstrap.scores), nan=0.0)
    frequencies = (resampled == estimated).all(axis=-1).mean(axis=0)
    return dict(zip(SCORES, frequencies.tolist(), strict=True))
