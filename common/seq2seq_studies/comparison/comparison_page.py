# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The results page of the comparison: tables of quality, paired tests and costs, with their CSV files and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from seq2seq_mri.evaluation.page import markdown_table, write_results_page
from seq2seq_mri.evaluation.records import write_records
from seq2seq_mri.plots.style import save_figure
from seq2seq_studies.comparison.comparison_figure import quality_comparison, slice_comparison
from seq2seq_studies.comparison.comparison_runs import ComparisonRuns
from seq2seq_studies.comparison.method_evaluation import SETTINGS
from seq2seq_studies.comparison.methods import BASELINES, METHODS, OUTPUT_ACTIVATION, title
from seq2seq_studies.comparison.quality_comparison import UNTRAINED, paired_tests, quality_table, unbeaten_baselines
from seq2seq_studies.study_run import Facts
from seq2seq_studies.study_tables import mean_cell, p_cell

__all__ = ["baseline_verdict", "format_costs", "format_quality", "format_tests", "write_comparison"]

_COLUMNS = {
    "psnr": ("PSNR (dB)", 2),
    "ssim": ("SSIM", 3),
    "lpips": ("LPIPS", 3),
    "psnr_foreground": ("PSNR, foreground (dB)", 2),
    "ssim_foreground": ("SSIM, foreground", 3),
}
_COSTS = {
    "inference_gmacs": "GMACs, one missing",
    "inference_gmacs_one_source": "GMACs, one source",
    "inference_seconds": "s per volume",
    "inference_gib": "Inference (GiB)",
    "training_gmacs": "GMACs per step",
    "training_seconds": "s per step",
    "training_gib": "Training (GiB)",
}
_SLICES = "\n![The same slice from each method, synthesised from the other sequences]({name}_slices.png)\n"
_TESTED = {"psnr": "PSNR", "ssim": "SSIM"}


def format_quality(table: pd.DataFrame) -> str:
    """Return the table of ``quality_table``, one table for each setting."""
    measures = {name: f".{digits}f" for name, (_, digits) in _COLUMNS.items() if table[f"{name}_mean"].notna().any()}
    parts = []
    for setting in [name for name in SETTINGS if (table["setting"] == name).any()]:
        rows = []
        for row in table[table["setting"] == setting].to_dict("records"):
            cells = [mean_cell(row[f"{name}_mean"], row[f"{name}_sd"], form) for name, form in measures.items()]
            rows.append([title(row["method"]), row["budget"], str(row["n"]), *cells])
        header = ["Method", "Budget", "n", *(_COLUMNS[name][0] for name in measures)]
        parts.append(f"### {SETTINGS[setting].capitalize()}\n\n{markdown_table(header, rows)}")
    return "\n\n".join(parts)


def format_tests(tests: pd.DataFrame) -> str:
    """Return PSNR and SSIM of the table of ``paired_tests``: what a row has more than a column."""
    parts = []
    for key, part in tests.groupby(["budget", "setting", "measure"], sort=False):
        budget, setting, measure = (str(name) for name in key)
        if measure not in _TESTED:
            continue
        names = list(dict.fromkeys([*part["first"], *part["second"]]))
        digits = _COLUMNS[measure][1]
        pairs = zip(part["difference"], part["p_holm"], strict=True)
        cells = part.assign(cell=[f"{difference:+.{digits}f} ({p_cell(p)})" for difference, p in pairs])
        square = cells.pivot(index="first", columns="second", values="cell").reindex(columns=names[1:]).fillna("")
        rows = [[title(name), *square.loc[name]] for name in names[:-1]]
        header = [f"{_TESTED[measure]}, {SETTINGS[setting]}, {budget}", *(title(name) for name in names[1:])]
        parts.append(markdown_table(header, rows))
    return "\n\n".join(parts)


def format_costs(costs: Mapping[str, Facts]) -> str:
    """Return parameters, multiply-adds, seconds and memory of each method."""
    rows = []
    for method, cost in costs.items():
        millions = [f"{cost[key] / 1e6:.3f}" for key in ("parameters", "discriminator_parameters")]
        others = ["n/a" if cost[key] is None else f"{cost[key]:.3g}" for key in _COSTS]
        rows.append([title(method), *millions, *others])
    return markdown_table(["Method", "Parameters (M)", "Discriminators (M)", *_COSTS.values()], rows)


def baseline_verdict(table: pd.DataFrame) -> str:
    """Say which methods do not beat a trivial baseline by PSNR, or that all do."""
    untrained = table["method"].isin(BASELINES)
    if untrained.all() or not untrained.any():
        return ""
    trained = table.loc[~untrained, "method"].nunique()
    unbeaten = unbeaten_baselines(table, BASELINES)
    if unbeaten.empty:
        return f"By mean PSNR, all {trained} trained methods beat both trivial baselines in all settings."
    lines = []
    keys = ["budget", "setting", "method_baseline", "psnr_mean_baseline"]
    for key, part in unbeaten.groupby(keys, sort=False):
        budget, setting, baseline = map(str, key[:3])
        names = [f"{title(row['method'])} ({row['psnr_mean']:.2f})" for row in part.to_dict("records")]
        who = "any method" if len(names) == trained else ", ".join(names)
        lines.append(f"- {budget}, {SETTINGS[setting]}: “{title(baseline)}” ({key[3]:.2f} dB) is not beaten by {who}.")
    count = int((~untrained).sum())
    beaten = count - len(unbeaten.groupby(["method", "budget", "setting"]))
    head = f"By mean PSNR, {beaten} of {count} rows of trained methods beat both trivial baselines."
    return "\n".join([head, "", *lines])


def write_comparison(path: Path, runs: ComparisonRuns, command: str, data: str, lpips: str, slices: bool = True) -> str:
    """Write the page, and beside it scores, tests, costs and two figures; files of these names are replaced.

    Args:
        path: of the page.
        runs: all of them done.
        command: what makes the page.
        data: what was trained and tested on.
        lpips: network of LPIPS, or ``none``.
        slices: whether there is the figure of a subject's slice.

    Returns:
        The tables of quality in Markdown, and whether the baselines are beaten.
    """
    scores, settings = runs.scores(), runs.settings
    tests, table = paired_tests(scores), quality_table(scores)
    write_records(path.with_suffix(".csv"), scores, overwrite=True)
    write_records(path.with_name(f"{path.stem}_tests.csv"), tests, overwrite=True)
    costs = pd.DataFrame([{"method": method, **cost} for method, cost in runs.costs.items()])
    costs["volume"] = ["x".join(map(str, volume)) for volume in costs["volume"]]
    write_records(path.with_name(f"{path.stem}_costs.csv"), costs, overwrite=True)
    save_figure(quality_comparison(scores), path.with_suffix(".png"), overwrite=True)
    if slices:
        save_figure(_slices(runs), path.with_name(f"{path.stem}_slices.png"), overwrite=True)
    count = settings.batch_size * settings.patches
    budget = (
        f"{', and separately '.join(f'{budget.name} for each training' for budget in settings.budgets)}; a step sees "
        f"{count} patch{'es' if count > 1 else ''} of {' x '.join(map(str, settings.slice_size))} voxels with "
        f"{settings.slices} adjacent slices; networks of the size “{settings.size}”; Adam from a learning rate of "
        f"{settings.rate:g}, which falls to 0 along a cosine"
    )
    facts, name = [run.facts() for run in runs.all], path.stem
    ranges = ", ".join(f"{value:g}" for value in sorted(scores["data_range"].unique()))
    distance = "LPIPS was not measured" if lpips == "none" else f"LPIPS with {lpips}, mean over slices with foreground"
    quality = f"{format_quality(table)}\n\n{baseline_verdict(table)}"
    body = f"""## Quality

Means ± standard deviations over test subjects; a subject's value is the mean over its synthesised images and over
seeds. Data range {ranges}; SSIM with Wang's Gaussian window in 3D; {distance}.
Foreground is where any measured sequence is above 0. All networks see the same slices, each with its neighbours, and
end in {OUTPUT_ACTIVATION}; what they make is clipped to the data range. From several sources, Pix2Pix and Seq2Seq take
the mean of their translations.

{quality}
{chr(10) + settings.note + chr(10) if settings.note else ""}
![PSNR, SSIM and LPIPS of each subject]({name}.png)
{_SLICES.format(name=name) if slices else ""}
## Paired tests

Mean difference, row minus column, and in brackets p of a two-sided paired t-test over subjects, corrected after Holm
for all pairs of the table. All measures: [{name}_tests.csv]({name}_tests.csv).

{format_tests(tests)}

## Costs

Parameters are all that are there: Pix2Pix has a network for each pair, and HyperConvs their banks. GMACs (10⁹
multiply-adds of convolutions and matrix products, counted) are of one slice, when one sequence is missing and when one
is there; of a training step with the backward pass and the discriminator. Seconds per volume:
{" x ".join(map(str, runs.volume))} voxels with one sequence missing, through the interface that all methods share; the
inferer of the bundles is faster. Memory is the peak of the process over what Python and the libraries take.

{format_costs(runs.costs)}

Wall-clock seconds of a training, images included, means; whatever else the machine did at the time is in them.

{_trainings(facts)}"""
    seeds = ", ".join(map(str, runs.seeds))
    write_results_page(path, "Generators side by side", command, data, facts, budget, seeds, body)
    return quality


def _slices(runs: ComparisonRuns) -> Figure:
    """Draw the same slice of the first subject from each method, trained with the first budget and seed."""
    first = runs.settings.budgets[0].name
    views = {run.method: run.views() for run in reversed(runs.all) if run.budget in (first, UNTRAINED)}
    subject = runs.all[0].scores()["subject"].iloc[0]
    return slice_comparison(
        {name: views[name] for name in (*BASELINES, *METHODS) if name in views},
        list(runs.cohorts[0].sequences),
        f"{subject}, each sequence from the others, {first}, seed {runs.seeds[0]}",
    )


def _trainings(facts: Sequence[Facts]) -> str:
    trainings = pd.DataFrame([fact for fact in facts if fact["budget"] != UNTRAINED])
    if trainings.empty:
        return ""
    rows = []
    for (method, budget), part in trainings.groupby(["method", "budget"], sort=False):
        means = [f"{part[name].mean():.0f}" for name in ("steps", "seconds")]
        rows.append([title(method), budget, str(len(part)), *means])
    return markdown_table(["Method", "Budget", "Trainings", "Steps", "Seconds"], rows)
