# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Table 2 as a page in Markdown: the numbers come from the image quality beside it, and what made them stands above."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

import pandas as pd

from seq2seq_mri.evaluation.contribution.contribution_table import CohortContribution, format_contribution
from seq2seq_mri.evaluation.contribution.stability_figure import contribution_stability
from seq2seq_mri.evaluation.image_quality.image_quality import Region
from seq2seq_mri.evaluation.machine import describe_machine
from seq2seq_mri.evaluation.page import write_results_page
from seq2seq_mri.evaluation.records import write_records
from seq2seq_mri.plots.style import save_figure

__all__ = ["write_page"]

_REGIONS = {
    "foreground": "in the foreground",
    "whole": "in the whole volume",
    "central_crop": "in the central crop",
}


def write_page(
    path: str | os.PathLike,
    command: str,
    data: str,
    cohorts: Sequence[CohortContribution],
    metrics: Mapping[str, pd.DataFrame],
    region: Region,
    seed: int,
) -> None:
    """Write the page, and the image quality of all subjects (``.csv``) and the figure (``.png``) of the same name.

    Args:
        path: the Markdown file; replaced when it exists.
        command: what makes the page.
        data: what was evaluated, and by which weights.
        cohorts: the table of each cohort.
        metrics: cohort → its image-quality table.
        region: where PSNR and SSIM were measured.
        seed: of the bootstrap.
    """
    path = Path(path)
    image_quality = pd.concat(metrics, names=["cohort"]).reset_index(level="cohort")
    write_records(path.with_suffix(".csv"), image_quality, overwrite=True)
    save_figure(contribution_stability(cohorts), path.with_suffix(".png"), overwrite=True)
    subjects = ", ".join(f"{metrics[cohort.name]['subject'].nunique()} subjects of {cohort.name}" for cohort in cohorts)
    tables_text = "\n\n".join(map(format_contribution, cohorts))
    body = f"""C_t (totipotency) is high where a sequence generates the others well, C_d (imaging differentiation) where
the others generate it badly; rank 1 is the highest. Both are sums over the other sequences, divided by the
number of sequences, of A (Eq. 4 of the paper), the sum of the standard scores of {_measures(metrics)}
{_REGIONS[region]}. n is the number of subjects that have the sequence and another one.

The intervals are percentiles of a bootstrap over subjects, all pairs of a subject together; with few subjects they are
too narrow. They say how much depends on which subjects were measured, not how much depends on the generator: weights
from another training may rank otherwise. A pair that no subject of a bootstrap sample has counts as an average one, as
it does in a cohort; a sequence without any pair has no rank there.

![C_t, C_d and their ranks]({path.with_suffix(".png").name})

*Points: C_t and C_d. Lines: {100 * cohorts[0].confidence:g} % intervals. Cells: the percentage of bootstrap samples \
in which a sequence (row)
has a rank (column); its rank in the cohort is framed.*

{tables_text}
"""
    facts = [{"date": f"{datetime.now(timezone.utc):%Y-%m-%d}", "machine": describe_machine("cpu")}]
    budget = f"{cohorts[0].samples} bootstrap samples of {subjects}; nothing is trained here"
    title = "How well each sequence generates the others, and how hard it is to generate"
    write_results_page(path, title, command, data, facts, budget, f"{seed} (bootstrap)", body)


def _measures(metrics: Mapping[str, pd.DataFrame]) -> str:
    if all(table["lpips"].notna().any() for table in metrics.values()):
        return "PSNR, SSIM and LPIPS"
    without = [name for name, table in metrics.items() if table["lpips"].isna().all()]
    if len(without) == len(metrics):
        return "PSNR and SSIM (LPIPS was not measured, so A is a sum of two, not three)"
    return f"PSNR, SSIM and LPIPS (not measured in {', '.join(without)}, where A is a sum of two)"
