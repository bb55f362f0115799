# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The table of a cohort (Table 2): C_t and C_d with intervals, ranks and how often each occurs, also as Markdown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from seq2seq_mri.evaluation.contribution.contribution import contribution_ranks
from seq2seq_mri.evaluation.contribution.contribution_bootstrap import SCORES, ContributionBootstrap, rank_frequencies
from seq2seq_mri.evaluation.page import markdown_table

__all__ = ["CohortContribution", "cohort_contribution", "format_contribution"]

_TITLES = {"c_t": "C_t", "c_d": "C_d"}


@dataclass(frozen=True)
class CohortContribution:
    """What Table 2 says about a cohort.

    Attributes:
        name: of the cohort.
        table: a row for each sequence: ``sequence``, ``subjects`` (that have a measured pair with it), and for ``c_t``
            and ``c_d`` the score, ``<score>_low``, ``<score>_high``, ``<score>_rank`` and ``<score>_rank_frequency``,
            the fraction of bootstrap samples in which the sequence has this rank.
        frequencies: of every rank, as :func:`rank_frequencies` gives them.
        orders: for ``c_t`` and ``c_d``, the fraction of samples in which all ranks are those of the table.
        samples: number of bootstrap samples.
        lacking: number of samples without some pair that the cohort has.
        confidence: coverage of the intervals.
    """

    name: str
    table: pd.DataFrame
    frequencies: pd.DataFrame
    orders: dict[str, float]
    samples: int
    lacking: int
    confidence: float

    def ranks(self, score: str) -> pd.DataFrame:
        """Return the frequencies of a score's ranks: a row for each sequence, a column for each rank.

        The last column, 0, is no rank; it is there when some sequence has none in some sample.
        """
        of_score = self.frequencies[self.frequencies["score"] == score]
        pivoted = of_score.pivot(index="sequence", columns="rank", values="frequency").loc[self.table["sequence"]]
        return pivoted[[rank for rank in pivoted.columns if rank > 0] + [0] * bool(pivoted[0].any())]


def cohort_contribution(name: str, bootstrap: ContributionBootstrap, confidence: float = 0.95) -> CohortContribution:
    """Gather the table of a cohort from its bootstrap.

    The percentile intervals leave out (1 - ``confidence``) / 2 of the samples at either end. With few subjects they are
    too narrow, because a sample can only have values that the cohort has.
    """
    table = pd.DataFrame({"sequence": bootstrap.sequences, "subjects": bootstrap.subjects})
    ranks = contribution_ranks(bootstrap.estimates)
    # A sequence without a rank in the cohort has none in any sample.
    same = np.nan_to_num(contribution_ranks(bootstrap.scores)) == np.nan_to_num(ranks)
    for place, score in enumerate(SCORES):
        table[score] = bootstrap.estimates[place]
        samples = pd.DataFrame(bootstrap.scores[:, place])
        table[f"{score}_low"] = samples.quantile(0.5 * (1.0 - confidence))
        table[f"{score}_high"] = samples.quantile(0.5 * (1.0 + confidence))
        table[f"{score}_rank"] = pd.Series(ranks[place]).astype("Int64")
        table[f"{score}_rank_frequency"] = np.where(np.isnan(ranks[place]), np.nan, same[:, place].mean(axis=0))
    return CohortContribution(
        name=name,
        table=table,
        frequencies=rank_frequencies(bootstrap),
        orders=dict(zip(SCORES, same.all(axis=-1).mean(axis=0).tolist(), strict=True)),
        samples=len(bootstrap.scores),
        lacking=int((bootstrap.lacking > 0).sum()),
        confidence=confidence,
    )


def format_contribution(cohort: CohortContribution) -> str:
    """Return a cohort's section in Markdown: scores and ranks, how often each rank occurs, and what was unmeasured."""
    return "\n\n".join(
        [
            f"## {cohort.name}",
            _scores(cohort),
            f"All ranks by C_t are those of the table in {_percent(cohort.orders['c_t'])} % of the bootstrap samples,"
            f" all ranks by C_d in {_percent(cohort.orders['c_d'])} %.",
            *(_ranks(cohort, score) for score in SCORES),
            f"{cohort.lacking} of {cohort.samples} bootstrap samples lack a pair of sequences that the cohort has.",
        ]
    )


def _scores(cohort: CohortContribution) -> str:
    header = ["Sequence", "n"]
    for score in SCORES:
        header += [
            f"{_TITLES[score]} ({100 * cohort.confidence:g} % interval)",
            f"Rank by {_TITLES[score]}",
            "% of samples with this rank",
        ]
    rows = []
    for row in cohort.table.to_dict("records"):
        cells = [row["sequence"], str(row["subjects"])]
        for score in SCORES:
            if pd.isna(row[score]):
                cells += ["not measured", "", ""]
                continue
            low, high = _number(row[f"{score}_low"]), _number(row[f"{score}_high"])
            cells += [f"{_number(row[score])} ({low} to {high})", str(row[f"{score}_rank"])]
            cells.append(_percent(row[f"{score}_rank_frequency"]))
        rows.append(cells)
    return markdown_table(header, rows)


def _ranks(cohort: CohortContribution, score: str) -> str:
    ranks = cohort.ranks(score)
    header = [f"% of samples, rank by {_TITLES[score]}", *("none" if rank == 0 else str(rank) for rank in ranks)]
    return markdown_table(header, [[str(name), *map(_percent, row)] for name, row in ranks.iterrows()])


def _number(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}"  # adding 0.0 turns -0.0 into 0.0


def _percent(fraction: float) -> str:
    """Write a fraction in whole percent, and never a rare one as 0 or a frequent one as 100."""
    if 0 < fraction < 0.01:
        return "< 1"
    if 0.99 < fraction < 1:
        return "> 99"
    return f"{100 * fraction:.0f}"
