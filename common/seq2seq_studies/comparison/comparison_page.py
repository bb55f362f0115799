# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The comparison in Markdown: quality, tests, costs, and whether the trivial baselines are beaten."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from seq2seq_mri.evaluation.page import markdown_table
from seq2seq_studies.comparison.method_evaluation import SETTINGS
from seq2seq_studies.comparison.methods import BASELINES, METHODS, OUTPUT_ACTIVATION, title
from seq2seq_studies.comparison.quality_comparison import UNTRAINED, quality_table, unbeaten_baselines

__all__ = ["baseline_verdict", "format_costs", "format_quality", "format_tests", "page_body"]

_COLUMNS = {
    "psnr": ("PSNR (dB)", 2),
    "ssim": ("SSIM", 3),
    "lpips": ("LPIPS", 3),
    "psnr_foreground": ("PSNR, foreground (dB)", 2),
    "ssim_foreground": ("SSIM, foreground", 3),
}
_SLICES = "\n![The same slice from each method, synthesised from the other sequences]({name}_slices.png)\n"
_TESTED = {"psnr": "PSNR", "ssim": "SSIM"}


def format_quality(table: pd.DataFrame) -> str:
    """Return the table of ``quality_table``, one table for each setting."""
    measures = [name for name in _COLUMNS if table[f"{name}_mean"].notna().any()]
    parts = []
    for setting in [name for name in SETTINGS if (table["setting"] == name).any()]:
        rows = [
            [title(row["method"]), row["budget"], str(row["n"]), *(_value(row, name) for name in measures)]
            for row in table[table["setting"] == setting].to_dict("records")
        ]
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
        cells = {(row["first"], row["second"]): row for row in part.to_dict("records")}
        digits = _COLUMNS[measure][1]
        rows = []
        for name in names[:-1]:
            row = [title(name)]
            for other in names[1:]:
                found = cells.get((name, other))
                row.append("" if found is None else f"{found['difference']:+.{digits}f} ({_p(found['p_holm'])})")
            rows.append(row)
        header = [f"{_TESTED[measure]}, {SETTINGS[setting]}, {budget}", *(title(name) for name in names[1:])]
        parts.append(markdown_table(header, rows))
    return "\n\n".join(parts)


def format_costs(costs: Mapping[str, Mapping[str, Any]]) -> str:
    """Return parameters, multiply-adds, seconds and memory of each method."""
    header = [
        *("Method", "Parameters (M)", "Discriminators (M)", "GMACs, one missing", "GMACs, one source"),
        *("s per volume", "Inference (GiB)", "GMACs per step", "s per step", "Training (GiB)"),
    ]
    rows = []
    for method, cost in costs.items():
        millions = [f"{cost[key] / 1e6:.3f}" for key in ("parameters", "discriminator_parameters")]
        others = [
            *("inference_gmacs", "inference_gmacs_one_source", "inference_seconds", "inference_gib"),
            *("training_gmacs", "training_seconds", "training_gib"),
        ]
        rows.append([title(method), *millions, *(_number(cost[key]) for key in others)])
    return markdown_table(header, rows)


def baseline_verdict(table: pd.DataFrame) -> str:
    """Say which methods do not beat a trivial baseline by PSNR, or that all do."""
    trained = [name for name in METHODS if (table["method"] == name).any()]
    baselines = [name for name in BASELINES if (table["method"] == name).any()]
    if not trained or not baselines:
        return ""
    unbeaten = unbeaten_baselines(table, BASELINES)
    if unbeaten.empty:
        return f"By mean PSNR, all {len(trained)} trained methods beat both trivial baselines in all settings."
    lines = []
    for key, part in unbeaten.groupby(["budget", "setting", "baseline"], sort=False):
        budget, setting, baseline = (str(name) for name in key)
        names = [f"{title(row['method'])} ({row['psnr_mean']:.2f})" for row in part.to_dict("records")]
        who = "any method" if len(names) == len(trained) else ", ".join(names)
        what = f"“{title(baseline)}” ({_baseline(table, baseline, setting):.2f} dB)"
        lines.append(f"- {budget}, {SETTINGS[setting]}: {what} is not beaten by {who}.")
    count = int((~table["method"].isin(BASELINES)).sum())
    beaten = count - len(unbeaten.groupby(["method", "budget", "setting"]))
    head = f"By mean PSNR, {beaten} of {count} rows of trained methods beat both trivial baselines."
    return "\n".join([head, "", *lines])


def page_body(
    scores: pd.DataFrame,
    tests: pd.DataFrame,
    costs: Mapping[str, Mapping[str, Any]],
    facts: Sequence[Mapping[str, Any]],
    name: str,
    lpips: str,
    volume: Sequence[int],
    note: str = "",
    slices: bool = True,
) -> str:
    """Return what stands on the page below its facts.

    Args:
        scores: the table of ``scores.csv``.
        tests: of ``paired_tests``.
        costs: method → its costs.
        facts: ``training.json`` of each run.
        name: of the page's files, without ending.
        lpips: network of LPIPS, or ``none``.
        volume: shape of the volumes whose completion was timed.
        note: what else is to be said, for example why a method does not beat a baseline.
        slices: whether there is the figure of a subject's slice.
    """
    table = quality_table(scores)
    ranges = ", ".join(f"{value:g}" for value in sorted(scores["data_range"].unique()))
    distance = "LPIPS was not measured" if lpips == "none" else f"LPIPS with {lpips}, mean over slices with foreground"
    return f"""## Quality

Means ± standard deviations over test subjects; a subject's value is the mean over its synthesised images and over
seeds. Data range {ranges}; SSIM with Wang's Gaussian window in 3D; {distance}.
Foreground is where any measured sequence is above 0. All networks see the same slices, each with its neighbours, and
end in {OUTPUT_ACTIVATION}; what they make is clipped to the data range. From several sources, Pix2Pix and Seq2Seq take
the mean of their translations.

{format_quality(table)}

{baseline_verdict(table)}
{chr(10) + note + chr(10) if note else ""}
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
{" x ".join(map(str, volume))} voxels with one sequence missing, through the interface that all methods share; the
inferer of the bundles is faster. Memory is the peak of the process over what Python and the libraries take.

{format_costs(costs)}

Wall-clock seconds of a training, images included, means; whatever else the machine did at the time is in them.

{_trainings(facts)}"""


def _trainings(facts: Sequence[Mapping[str, Any]]) -> str:
    trainings = pd.DataFrame([fact for fact in facts if fact["budget"] != UNTRAINED])
    if trainings.empty:
        return ""
    rows = []
    for (method, budget), part in trainings.groupby(["method", "budget"], sort=False):
        means = [f"{part[name].mean():.0f}" for name in ("steps", "seconds")]
        rows.append([title(method), budget, str(len(part)), *means])
    return markdown_table(["Method", "Budget", "Trainings", "Steps", "Seconds"], rows)


def _baseline(table: pd.DataFrame, method: str, setting: str) -> float:
    return table.loc[(table["method"] == method) & (table["setting"] == setting), "psnr_mean"].iloc[0]


def _value(row: Mapping[str, Any], measure: str) -> str:
    mean, deviation, digits = row[f"{measure}_mean"], row[f"{measure}_sd"], _COLUMNS[measure][1]
    if math.isnan(mean):
        return "n/a"
    return f"{mean:.{digits}f}" if math.isnan(deviation) else f"{mean:.{digits}f} ± {deviation:.{digits}f}"


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3g}"


def _p(value: float) -> str:
    if math.isnan(value):
        return "n/a"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
