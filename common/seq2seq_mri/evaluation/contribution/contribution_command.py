# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The command ``python -m seq2seq_mri contribution_table``: Table 2."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pandas as pd

from seq2seq_mri.evaluation.contribution.contribution_bootstrap import bootstrap_contribution, check_bootstrap
from seq2seq_mri.evaluation.contribution.contribution_evaluation import name_evaluations, read_evaluation
from seq2seq_mri.evaluation.contribution.contribution_page import write_page
from seq2seq_mri.evaluation.contribution.contribution_table import (
    CohortContribution,
    cohort_contribution,
    format_contribution,
)
from seq2seq_mri.evaluation.contribution.stability_figure import contribution_stability
from seq2seq_mri.evaluation.image_quality.image_quality import Region
from seq2seq_mri.evaluation.page import command_line
from seq2seq_mri.evaluation.records import write_records
from seq2seq_mri.files import atomic_path, check_writable_directory
from seq2seq_mri.io.datalists.datalist import names_in_list
from seq2seq_mri.plots.style import save_figure

__all__ = ["contribution_table"]


def contribution_table(
    evaluation_dirs: str | Sequence[str],
    output_dir: str | os.PathLike,
    names: str | Sequence[str] | None = None,
    region: Region = "foreground",
    samples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
    overwrite: bool = False,
    page: str | os.PathLike | None = None,
    data: str | None = None,
) -> str:
    """Rank the sequences of cohorts by C_t and C_d, with intervals, and say how often each rank occurs.

    C_t (totipotency) is high for a sequence that generates the others well, C_d (imaging differentiation) for one that
    the others generate badly. Both come from what a bundle's evaluation measured; subjects are resampled with
    replacement, to see how far scores and ranks depend on who was measured. Source: Han et al., Medical Image Analysis
    2024, Eq. 4 and Table 2.

    Subjects that lack sequences are welcome. A pair of sequences that no subject of a bootstrap sample has counts there
    as an average one, as it does in the evaluation's own contribution.csv; a sequence without any pair has no rank.

    OUTPUT_DIR receives contribution_table.csv and contribution_table.md (scores, intervals and ranks),
    rank_frequencies.csv (how often each sequence has each rank; rank 0 is none) and contribution_table.png.

    Args:
        evaluation_dirs: folders of evaluations (metrics.csv and adjacency.csv), one for each cohort, with commas.
        output_dir: folder for the results; made when absent.
        names: what to call the cohorts, with commas; by default as the folders, or as the folder around one that is
            called evaluation.
        region: foreground, whole or central_crop, where PSNR and SSIM are taken from; as the evaluation's own --region.
        samples: number of bootstrap samples.
        confidence: coverage of the intervals.
        seed: of the bootstrap.
        overwrite: whether results of an earlier run in output_dir may be replaced.
        page: Markdown file to write the results to as a page, with its CSV and figure beside it.
        data: what the page says about the data, for example the commands that simulated and evaluated it.

    Returns:
        The tables in Markdown.

    Raises:
        ValueError: when an option is wrong, or an evaluation has one subject or a table that is not valid.
        FileNotFoundError: when a folder has no evaluation.
        FileExistsError: when output_dir has results and overwrite is false.
    """
    options = dict(locals())
    check_bootstrap(samples, seed, confidence)
    directories = names_in_list(evaluation_dirs)
    cohorts: list[CohortContribution] = []
    metrics: dict[str, pd.DataFrame] = {}
    for name, directory in zip(name_evaluations(directories, names_in_list(names)), directories, strict=True):
        metrics[name], sequences = read_evaluation(directory)
        try:
            bootstrap = bootstrap_contribution(metrics[name], sequences, region, samples, seed)
        except ValueError as error:
            raise ValueError(f"{directory}: {error}") from error
        cohorts.append(cohort_contribution(name, bootstrap, confidence))
    text = _write_results(output_dir, cohorts, overwrite)
    if page is not None:
        about = data or "; ".join(f"{name}: {directory}" for name, directory in zip(metrics, directories, strict=True))
        write_page(page, command_line(contribution_table, options), about, cohorts, metrics, region, seed)
    return text


def _write_results(output_dir: str | os.PathLike, cohorts: Sequence[CohortContribution], overwrite: bool) -> str:
    """Write tables and figure of all cohorts, and return the tables in Markdown."""
    folder = check_writable_directory(output_dir)
    files = [folder / f"contribution_table{ending}" for ending in (".csv", ".md", ".png")]
    for file in (*files, folder / "rank_frequencies.csv"):
        if file.exists() and not overwrite:
            raise FileExistsError(f"{file} exists; give another output_dir, or --overwrite.")
    table, markdown, figure = files
    for path, tables in (
        (table, {cohort.name: cohort.table for cohort in cohorts}),
        (folder / "rank_frequencies.csv", {cohort.name: cohort.frequencies for cohort in cohorts}),
    ):
        write_records(path, pd.concat(tables, names=["cohort"]).reset_index(level="cohort"), overwrite=overwrite)
    text = "\n\n".join(map(format_contribution, cohorts))
    with atomic_path(markdown, overwrite=overwrite) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    save_figure(contribution_stability(cohorts), figure, overwrite=overwrite)
    return text
