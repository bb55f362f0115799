# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The results as a page in Markdown: the numbers come from the scores, and all that made them stands above them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from seq2seq_mri.evaluation.page import markdown_table, write_results_page
from seq2seq_mri.evaluation.records import write_records
from seq2seq_mri.plots.style import save_figure
from seq2seq_studies.segmentation.segmentation_figure import segmentation_comparison
from seq2seq_studies.segmentation.segmentation_table import format_comparison, segmentation_table
from seq2seq_studies.segmentation.training_plan import TrainingPlan

__all__ = ["write_page"]

_NNUNET_STEPS = 1000 * 250


def write_page(
    path: str | os.PathLike,
    command: str,
    data: str,
    scores: pd.DataFrame,
    facts: Sequence[Mapping[str, Any]],
    plan: TrainingPlan,
    margins: Mapping[str, float],
    confidence: float,
) -> None:
    """Write the page, and the scores (``.csv``) and the figure (``.png``) of the same name beside it.

    Args:
        path: the Markdown file; replaced when it exists.
        command: what makes the page.
        data: what was trained and tested on.
        scores: the table of ``scores.csv``; its first combination is the reference.
        facts: ``combination`` and ``training.json`` of each training.
        plan: how was trained.
        margins: ``dsc`` and ``assd`` → the margin of non-inferiority.
        confidence: of the upper limits.
    """
    path = Path(path)
    reference = scores["combination"].iloc[0]
    table = segmentation_table(scores, reference, margins, confidence)
    write_records(path.with_suffix(".csv"), scores, overwrite=True)
    figure = segmentation_comparison(scores, reference, margins, confidence=confidence)
    save_figure(figure, path.with_suffix(".png"), overwrite=True)
    first = facts[0]
    budget = (
        f"for each training {plan.epochs} epochs of {plan.steps} steps, that is {plan.epochs * plan.steps} steps of "
        f"{first['batch_size']} patches of {' x '.join(map(str, first['patch']))} voxels; {plan.configuration}, "
        f"features {', '.join(map(str, first['features']))}. nnU-Net's own budget is 1000 epochs of 250 steps."
    )
    seeds = f"{', '.join(map(str, plan.seeds))}; folds {', '.join(map(str, plan.folds))} of five"
    body = f"""{format_comparison(table, margins, confidence)}

The reference is {reference}. Means and standard deviations are over subjects; a subject's value is the mean over
trainings. A loss is positive where the combination is worse. "p, worse" is a one-sided paired t-test over subjects;
that it is large does not show that a combination is as good. "Non-inferior" is a one-sided paired t-test of a mean loss
below the margin, {margins["dsc"]:g} DSC and {margins["assd"]:g} mm ASSD, at the level {1 - confidence:g}. p values are
not corrected for the number of combinations, regions and measures.
{_empty_cases(table)}
{_short_budget(plan)}
![Scores and losses of each combination]({path.with_suffix(".png").name})

Wall-clock seconds, means over trainings; whatever else the machine did at the time is in them.

{_seconds_table(facts)}
"""
    write_results_page(path, "Segmentation with fewer sequences", command, data, facts, budget, seeds, body)


def _short_budget(plan: TrainingPlan) -> str:
    """Say of trainings much shorter than nnU-Net's own that they are; a paragraph, or nothing."""
    if plan.epochs * plan.steps >= 0.1 * _NNUNET_STEPS:
        return ""
    return (
        "\nThese trainings are much shorter than nnU-Net's own: they show that the comparison works, and what a\n"
        "network learns first from each combination, not what the combination is worth.\n"
    )


def _empty_cases(table: pd.DataFrame) -> str:
    """Say where exactly one of the masks was empty, which costs DSC 1 and an ASSD of the image's diagonal."""
    cases = [
        f"{row['combination']} {row['region']}: {row['empty']}" for row in table.to_dict("records") if row["empty"]
    ]
    rule = "Where both masks are empty, DSC is 1 and ASSD 0; where only one is, 0 and the image's diagonal"
    return f"{rule}: {'; '.join(cases)} cases." if cases else f"{rule}: no case here."


def _seconds_table(facts: Sequence[Mapping[str, Any]]) -> str:
    """Return the mean seconds of each step by combination."""
    rows = pd.DataFrame([{"combination": fact["combination"], **fact["seconds"]} for fact in facts])
    means = rows.groupby("combination", sort=False).mean()
    header = ["Sequences", *(f"{name} (s)" for name in means.columns)]
    return markdown_table(
        header, ([str(name), *(f"{value:.0f}" for value in seconds)] for name, seconds in means.iterrows())
    )
