# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The results page of segmentation with fewer sequences: its tables, figure, scores and what made them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from seq2seq_mri.evaluation.page import markdown_table, write_results_page
from seq2seq_mri.evaluation.records import write_records
from seq2seq_mri.plots.style import save_figure
from seq2seq_studies.segmentation.segmentation_figure import segmentation_comparison
from seq2seq_studies.segmentation.segmentation_settings import SegmentationSettings
from seq2seq_studies.segmentation.segmentation_table import format_comparison, segmentation_table
from seq2seq_studies.study_run import Facts, write_text
from seq2seq_studies.study_settings import whole_numbers

__all__ = ["write_results"]

_NNUNET_STEPS = 1000 * 250


def write_results(
    folder: Path,
    settings: SegmentationSettings,
    command: str,
    data: str,
    scores: pd.DataFrame,
    facts: Sequence[Facts],
) -> str:
    """Write scores, table and figure, and the page with the same scores and figure beside it if one is asked for.

    Args:
        folder: of the results.
        settings: how was trained and compared.
        command: what makes the page.
        data: what was trained and tested on.
        scores: of all trainings; their first combination is the reference.
        facts: ``combination`` and ``training.json`` of each training.

    Returns:
        The table in Markdown.
    """
    reference = scores["combination"].iloc[0]
    margins, confidence = settings.margins, settings.confidence
    table = segmentation_table(scores, reference, margins, confidence)
    text = format_comparison(table, margins, confidence)
    figure = segmentation_comparison(scores, reference, margins, confidence)
    write_records(folder / "scores.csv", scores, overwrite=True)
    write_records(folder / "comparison.csv", table, overwrite=True)
    save_figure(figure, folder / "comparison.png", overwrite=True)
    write_text(folder / "comparison.md", text)
    if settings.page is None:
        return text
    path = Path(settings.page).expanduser()
    write_records(path.with_suffix(".csv"), scores, overwrite=True)
    save_figure(figure, path.with_suffix(".png"), overwrite=True)
    first, steps = facts[0], settings.epochs * settings.steps
    budget = (
        f"for each training {settings.epochs} epochs of {settings.steps} steps, that is {steps} steps of "
        f"{first['batch_size']} patches of {' x '.join(map(str, first['patch']))} voxels; {settings.configuration}, "
        f"features {', '.join(map(str, first['features']))}. nnU-Net's own budget is 1000 epochs of 250 steps."
    )
    seeds, folds = (", ".join(map(str, whole_numbers(getattr(settings, name), name))) for name in ("seeds", "folds"))
    body = f"""{text}

The reference is {reference}. Means and standard deviations are over subjects; a subject's value is the mean over
trainings. A loss is positive where the combination is worse. "p, worse" is a one-sided paired t-test over subjects;
that it is large does not show that a combination is as good. "Non-inferior" is a one-sided paired t-test of a mean loss
below the margin, {margins["dsc"]:g} DSC and {margins["assd"]:g} mm ASSD, at the level {1 - confidence:g}. p values are
not corrected for the number of combinations, regions and measures.
{_empty_cases(table)}
{_short_budget(settings)}
![Scores and losses of each combination]({path.with_suffix(".png").name})

Wall-clock seconds, means over trainings; whatever else the machine did at the time is in them.

{_seconds_table(facts)}
"""
    write_results_page(
        path, "Segmentation with fewer sequences", command, data, facts, budget, f"{seeds}; folds {folds} of five", body
    )
    return text


def _short_budget(settings: SegmentationSettings) -> str:
    """Say of trainings much shorter than nnU-Net's own that they are; a paragraph, or nothing."""
    if settings.epochs * settings.steps >= 0.1 * _NNUNET_STEPS:
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


def _seconds_table(facts: Sequence[Facts]) -> str:
    """Return the mean seconds of each step by combination."""
    rows = pd.DataFrame([{"combination": fact["combination"], **fact["seconds"]} for fact in facts])
    means = rows.groupby("combination", sort=False).mean()
    header = ["Sequences", *(f"{name} (s)" for name in means.columns)]
    return markdown_table(
        header, ([str(name), *(f"{value:.0f}" for value in seconds)] for name, seconds in means.iterrows())
    )
