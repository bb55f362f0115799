# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The command ``python -m seq2seq_mri contribution_table``, which ranks the sequences of cohorts (Table 2)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from datetime import datetime, timezone
from pathlib import Path

import pandas as pd

from seq2seq_mri.evaluation.contribution.contribution import read_adjacency
from seq2seq_mri.evaluation.contribution.contribution_bootstrap import bootstrap_contribution, check_bootstrap
from seq2seq_mri.evaluation.contribution.contribution_figure import contribution_stability
from seq2seq_mri.evaluation.contribution.contribution_table import (
    CohortContribution,
    cohort_contribution,
    format_contribution,
)
from seq2seq_mri.evaluation.image_quality.image_quality import Region
from seq2seq_mri.evaluation.image_quality.quality_table import read_metrics
from seq2seq_mri.evaluation.page import command_line, describe_machine, write_results_page
from seq2seq_mri.evaluation.records import write_records
from seq2seq_mri.files import atomic_path, check_writable_directory
from seq2seq_mri.io.datalists.datalist import names_in_list
from seq2seq_mri.plots.style import save_figure

__all__ = ["ContributionTable"]

_REGIONS = {"foreground": "foreground", "whole": "whole volume", "central_crop": "central crop"}


@dataclass
class ContributionTable:
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
    """

    evaluation_dirs: str | Sequence[str]
    output_dir: str | os.PathLike
    _: KW_ONLY
    names: str | Sequence[str] | None = None
    region: Region = "foreground"
    samples: int = 2000
    confidence: float = 0.95
    seed: int = 0
    overwrite: bool = False
    page: str | os.PathLike | None = None
    data: str | None = None

    def __call__(self) -> str:
        """Write tables and figure, and return the tables in Markdown.

        Raises:
            ValueError: when an option is wrong, or an evaluation has one subject or a table that is not valid.
            FileNotFoundError: when a folder has no evaluation.
            FileExistsError: when output_dir has results and overwrite is false.
        """
        check_bootstrap(self.samples, self.seed, self.confidence)
        directories = names_in_list(self.evaluation_dirs)
        cohorts: list[CohortContribution] = []
        metrics: dict[str, pd.DataFrame] = {}
        names = _name_evaluations(directories, names_in_list(self.names))
        for name, directory in zip(names, directories, strict=True):
            folder = Path(directory).expanduser()
            if not folder.is_dir():
                raise FileNotFoundError(
                    f"There is no folder {folder}; give the --evaluation_dir of a bundle's evaluation."
                )
            metrics[name] = read_metrics(folder / "metrics.csv")
            sequences = read_adjacency(folder / "adjacency.csv").index  # all, also those that no subject has
            try:
                bootstrap = bootstrap_contribution(metrics[name], sequences, self.region, self.samples, self.seed)
                cohorts.append(cohort_contribution(name, bootstrap, self.confidence))
            except ValueError as error:
                raise ValueError(f"{directory}: {error}") from error
        text = _write_results(self.output_dir, cohorts, self.overwrite)
        if self.page is not None:
            about = "; ".join(f"{name}: {directory}" for name, directory in zip(metrics, directories, strict=True))
            command = command_line("contribution_table", self)
            _write_page(Path(self.page), command, self.data or about, cohorts, metrics, self.region, self.seed)
        return text


def _name_evaluations(directories: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return a name for each evaluation: those given, or those of the folders.

    A bundle writes to OUTPUT_DIR/evaluation by default, which is named after OUTPUT_DIR.
    """
    if not directories:
        raise ValueError("There is no evaluation; give one folder or several, with commas between them.")
    if names and len(names) != len(directories):
        raise ValueError(f"There are {len(directories)} evaluations but {len(names)} names; give a name for each.")
    paths = [Path(directory).expanduser().resolve() for directory in directories]
    found = list(names) or [path.parent.name if path.name == "evaluation" else path.name for path in paths]
    for name in found:
        if found.count(name) > 1:
            raise ValueError(f"Two evaluations are named {name}; tell them apart by --names, with commas between them.")
    return found


def _write_results(output_dir: str | os.PathLike, cohorts: Sequence[CohortContribution], overwrite: bool) -> str:
    """Write tables and figure of all cohorts, and return the tables in Markdown."""
    folder = check_writable_directory(output_dir)
    table, markdown, figure = (folder / f"contribution_table{ending}" for ending in (".csv", ".md", ".png"))
    frequencies = folder / "rank_frequencies.csv"
    for file in (table, markdown, figure, frequencies):
        if file.exists() and not overwrite:
            raise FileExistsError(f"{file} exists; give another output_dir, or --overwrite.")
    _write_by_cohort(table, {cohort.name: cohort.table for cohort in cohorts})
    _write_by_cohort(frequencies, {cohort.name: cohort.frequencies for cohort in cohorts})
    text = "\n\n".join(map(format_contribution, cohorts))
    with atomic_path(markdown, overwrite=True) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    save_figure(contribution_stability(cohorts), figure, overwrite=True)
    return text


def _write_by_cohort(path: Path, tables: Mapping[str, pd.DataFrame]) -> None:
    write_records(path, pd.concat(tables, names=["cohort"]).reset_index(level="cohort"), overwrite=True)


def _write_page(
    path: Path,
    command: str,
    data: str,
    cohorts: Sequence[CohortContribution],
    metrics: Mapping[str, pd.DataFrame],
    region: Region,
    seed: int,
) -> None:
    """Write the page, and the image quality of all subjects (``.csv``) and the figure (``.png``) of the same name."""
    _write_by_cohort(path.with_suffix(".csv"), metrics)
    save_figure(contribution_stability(cohorts), path.with_suffix(".png"), overwrite=True)
    subjects = ", ".join(f"{metrics[cohort.name]['subject'].nunique()} subjects of {cohort.name}" for cohort in cohorts)
    tables_text = "\n\n".join(map(format_contribution, cohorts))
    body = f"""C_t (totipotency) is high where a sequence generates the others well, C_d (imaging differentiation) where
the others generate it badly; rank 1 is the highest. Both are sums over the other sequences, divided by the
number of sequences, of A (Eq. 4 of the paper), the sum of the standard scores of {_measures(metrics)}
in the {_REGIONS[region]}. n is the number of subjects that have the sequence and another one.

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
