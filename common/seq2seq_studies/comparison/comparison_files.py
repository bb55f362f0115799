# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The files of a comparison: its page, tables and figures."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from seq2seq_mri.evaluation.page import write_results_page
from seq2seq_mri.evaluation.records import write_records
from seq2seq_mri.plots.style import save_figure
from seq2seq_studies.comparison.comparison_figure import quality_comparison, slice_comparison
from seq2seq_studies.comparison.comparison_page import baseline_verdict, format_quality, page_body
from seq2seq_studies.comparison.method_evaluation import SETTINGS
from seq2seq_studies.comparison.methods import BASELINES, METHODS
from seq2seq_studies.comparison.quality_comparison import UNTRAINED, paired_tests, quality_table
from seq2seq_studies.comparison.runs import ComparisonRuns

__all__ = ["write_comparison"]


def write_comparison(
    path: Path, runs: ComparisonRuns, command: str, data: str, lpips: str, note: str, slices: bool = True
) -> str:
    """Write the page, and beside it scores, tests, costs and two figures; files of these names are replaced.

    Args:
        path: of the page.
        runs: all of them done.
        command: what makes the page.
        data: what was trained and tested on.
        lpips: network of LPIPS, or ``none``.
        note: what else the page says.
        slices: whether there is the figure of a subject's slice.

    Returns:
        The tables of quality in Markdown, and whether the baselines are beaten.
    """
    scores, each = runs.scores(), runs.all()
    tests, labels = paired_tests(scores), METHODS | BASELINES
    write_records(path.with_suffix(".csv"), scores, overwrite=True)
    write_records(path.with_name(f"{path.stem}_tests.csv"), tests, overwrite=True)
    costs = pd.DataFrame([{"method": method, **cost} for method, cost in runs.costs.items()])
    costs["volume"] = ["x".join(map(str, volume)) for volume in costs["volume"]]
    write_records(path.with_name(f"{path.stem}_costs.csv"), costs, overwrite=True)
    save_figure(quality_comparison(scores, SETTINGS, labels), path.with_suffix(".png"), overwrite=True)
    if slices:
        save_figure(_slices(runs), path.with_name(f"{path.stem}_slices.png"), overwrite=True)
    facts = [run.facts() for run in each]
    body = page_body(scores, tests, runs.costs, facts, path.stem, lpips, runs.volume_shape, note, slices)
    write_results_page(
        path,
        "Generators side by side",
        command,
        data,
        facts,
        _budget(runs),
        ", ".join(map(str, runs.seeds)),
        body,
    )
    table = quality_table(scores)
    return f"{format_quality(table)}\n\n{baseline_verdict(table)}"


def _slices(runs: ComparisonRuns) -> Figure:
    """Draw the same slice of the first subject from each method, trained with the first budget and seed."""
    first, each = runs.budgets[0].name, runs.all()
    views = {run.method: run.views() for run in reversed(each) if run.budget in (first, UNTRAINED)}
    order = [name for name in (*BASELINES, *METHODS) if name in views]
    subject = each[0].scores()["subject"].iloc[0]
    return slice_comparison(
        {name: views[name] for name in order},
        list(runs.cohorts[0].sequences),
        title=f"{subject}, each sequence from the others, {first}, seed {runs.seeds[0]}",
        labels=METHODS | BASELINES,
    )


def _budget(runs: ComparisonRuns) -> str:
    settings = runs.settings
    parts = [f"{budget.name} for each training" for budget in runs.budgets]
    count = runs.batch_size * runs.cohorts[0].patches
    return (
        f"{', and separately '.join(parts)}; a step sees {count} patch{'es' if count > 1 else ''} of "
        f"{' x '.join(map(str, settings.patch))} "
        f"voxels with {settings.slices} adjacent slices; networks of the size “{settings.size}”; Adam from a learning "
        f"rate of {settings.learning_rate:g}, which falls to 0 along a cosine"
    )
