# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Handler that writes a generator's evaluation: tables and figures of the cohort, and figures of single subjects."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from ignite.engine import Events
from matplotlib.figure import Figure

from seq2seq_mri.evaluation.contribution.contribution import adjacency_matrix, contribution
from seq2seq_mri.evaluation.contribution.contribution_figure import adjacency_heatmap, ranking_bars
from seq2seq_mri.evaluation.differentiation.differentiation_figure import differentiation_overlay, differentiation_strip
from seq2seq_mri.evaluation.enhancement.enhancement import enhancement_error, enhancement_table, relative_enhancement
from seq2seq_mri.evaluation.enhancement.enhancement_figure import enhancement_curves
from seq2seq_mri.evaluation.image_quality.image_quality import QUALITY_COLUMNS, Region, check_region
from seq2seq_mri.evaluation.image_quality.quality_figure import metrics_boxplot
from seq2seq_mri.evaluation.image_quality.quality_table import format_summary, metrics_table
from seq2seq_mri.evaluation.image_quality.translation_grid import translation_grid
from seq2seq_mri.evaluation.records import build_records, write_records
from seq2seq_mri.files import unlock_directory
from seq2seq_mri.inference.evaluator import lesion_mask, unique_mask
from seq2seq_mri.inference.subject_evaluator import SubjectEvaluator
from seq2seq_mri.plots.frames import frame_axes
from seq2seq_mri.plots.slices import SliceView, informative_slice
from seq2seq_mri.plots.style import save_figure
from seq2seq_mri.sequences import channel_slices, check_sequences, marked_sequences
from seq2seq_mri.training.distributed import claim_output, gather_rows, rank, world_size

__all__ = ["EvaluationReport"]

logger = logging.getLogger(__name__)


class EvaluationReport:
    """Writes ``metrics.csv``, ``adjacency.csv``, ``contribution.csv`` and the figures of an evaluation.

    For subjects with a ``lesion`` mask, the figures show a slice through it, and how the lesion's signal changes along
    each 4D sequence is written to ``enhancement.csv``. The images are those that were evaluated: a lesion that is
    brighter than the percentile at which they were clipped seems to enhance less.

    It is both the ``report`` of a :class:`TranslationEvaluator`, which gives it every
    subject, and a handler, which writes the tables when all are done. Under ``torchrun`` each process draws its
    subjects, and process 0 writes the tables of all.

    Args:
        output_dir: where to write.
        sequences: the sequence table.
        region: where the PSNR and SSIM are measured that rank the sequences and that figures show: ``"foreground"``,
            ``"whole"`` or ``"central_crop"``, see :func:`image_quality`.
        figure_subjects: most subjects to draw, over all processes.
        overwrite: whether files of an earlier evaluation may be replaced.
        times: for dynamic sequences the time of each timepoint in seconds from the first; they name timepoints.
        b_values: for diffusion sequences the b-value of each timepoint in s/mm², likewise.

    Raises:
        FileExistsError: when the directory holds an evaluation and ``overwrite`` is not set.
        ValueError: when the directory cannot be written, the region is unknown, or ``times`` or ``b_values`` do not
            fit the sequence table.
    """

    def __init__(
        self,
        output_dir: str | Path,
        sequences: Mapping[str, int],
        region: Region = "foreground",
        figure_subjects: int = 10,
        overwrite: bool = False,
        times: Mapping[str, Sequence[float]] | None = None,
        b_values: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        self.output_dir = claim_output(output_dir)
        self.sequences = check_sequences(sequences)
        check_region(region)
        self.region = region
        self.figure_subjects = figure_subjects
        self.overwrite = overwrite
        self.times = times
        self.b_values = b_values
        self.frames = frame_axes(self.sequences, times, b_values)
        if (self.output_dir / "metrics.csv").exists() and not overwrite:
            raise FileExistsError(
                f"{self.output_dir / 'metrics.csv'} exists; give another --output_dir, or --overwrite true."
            )
        self.rows: list[dict[str, Any]] = []
        self.differentiation_rows: list[dict[str, Any]] = []
        self.curves: list[dict[str, Any]] = []
        self._subjects = 0

    def attach(self, engine: SubjectEvaluator) -> None:
        """Write the tables when all subjects are done."""
        engine.add_event_handler(Events.COMPLETED, self.write)
        engine.add_event_handler(Events.COMPLETED, unlock_directory, self.output_dir)

    def add(
        self,
        sample: Mapping[str, Any],
        output: Mapping[str, Any],
        truth: Mapping[str, torch.Tensor],
        translated: Mapping[tuple[str, str], torch.Tensor],
    ) -> None:
        """Take in one subject, and draw it.

        Args:
            sample: the subject's sample.
            output: the evaluator's output for it.
            truth: every sequence's image ``[T, X, Y, Z]`` in [0, 1], RAS.
            translated: every (source, target)'s synthesised image, of the same shape.
        """
        self.rows += output["rows"]
        self.differentiation_rows += output.get("differentiation_rows", [])
        # Processes take subjects in turn, so this is the subject's place among those of all.
        is_drawn = self._subjects * world_size() + rank() < self.figure_subjects
        self._subjects += 1
        lesion = lesion_mask(sample)
        if lesion is not None:
            self._follow(str(sample["subject"]), lesion, truth, translated, is_drawn)
        if is_drawn:
            self._draw(sample, output, truth, translated, None if lesion is None else informative_slice(lesion, lesion))

    def _follow(
        self,
        subject: str,
        lesion: torch.Tensor,
        truth: Mapping[str, torch.Tensor],
        translated: Mapping[tuple[str, str], torch.Tensor],
        is_drawn: bool,
    ) -> None:
        """Note the relative enhancement of a lesion in every 4D target, measured and from each source."""
        for target in dict.fromkeys(target for source, target in translated if source != target):
            if self.sequences[target] == 1:
                continue
            real = relative_enhancement(truth[target], lesion)
            if not np.isfinite(real).all():
                logger.warning("%s: the lesion has no signal at the first timepoint of %s; no curve.", subject, target)
                continue
            synthesised = {
                source: relative_enhancement(image, lesion)
                for (source, made), image in translated.items()
                if made == target != source
            }
            names = {"subject": subject, "target": target, "real": real}
            self.curves += [names | {"source": source, "synthesised": one} for source, one in synthesised.items()]
            if is_drawn:
                axis, sequences = self.frames[target], list(self.sequences)
                figure = enhancement_curves(real, synthesised, target, axis=axis, sequences=sequences, subject=subject)
                self._save(figure, f"{subject}_enhancement_{target}.png")

    def _draw(
        self,
        sample: Mapping[str, Any],
        output: Mapping[str, Any],
        truth: Mapping[str, torch.Tensor],
        translated: Mapping[tuple[str, str], torch.Tensor],
        slice_index: int | None,
    ) -> None:
        """Draw a subject's translations and M_d."""
        subject = str(sample["subject"])
        known = marked_sequences(self.sequences, sample["measured"])
        measured = {name: truth[name] if name in known else None for name in self.sequences}
        view = SliceView(subject, slice_index, [float(size) for size in sample["image"].pixdim])
        rows = output["rows"]
        psnr = {(row["source"], row["target"]): row[QUALITY_COLUMNS[self.region][0]] for row in rows}
        quality: dict[str, Any] = {"psnr": psnr, "region": self.region, "data_range": rows[0]["data_range"]}
        figure = translation_grid(measured, translated, frames=self.frames, **quality, view=view)
        self._save(figure, f"{subject}_translations.png")
        if "differentiation" not in output:
            return
        targets = output["targets"]
        held = channel_slices({name: self.sequences[name] for name in targets})
        maps = {name: output["differentiation"][held[name]] for name in targets}
        regions = {name: unique_mask(sample, self.sequences, name) for name in targets}
        drawn = {name: region for name, region in regions.items() if region is not None}
        anatomy = {name: truth[name] for name in targets}
        self._save(
            differentiation_overlay(anatomy, maps, regions=drawn, frames=self.frames, view=view),
            f"{subject}_differentiation.png",
        )
        for name in targets:
            if self.sequences[name] > 1:
                strip = differentiation_strip(
                    anatomy[name], maps[name], name, axis=self.frames[name], region=regions[name], view=view
                )
                self._save(strip, f"{subject}_differentiation_{name}.png")

    def write(self, engine: SubjectEvaluator | None = None) -> None:
        """Write the tables and the figures over all subjects; process 0 only.

        Raises:
            ValueError: when no subject had a pair of sequences, and none failed.
        """
        rows = gather_rows(self.rows)
        differentiation_rows = gather_rows(self.differentiation_rows)
        curves = gather_rows(self.curves)
        if rank() != 0:
            return
        if not rows:
            if engine is not None and engine.failures:
                return  # the engine lists them, which says more than what follows from them
            raise ValueError("No pair of sequences was measured in any subject, so there are no tables to write.")
        table = metrics_table(rows, self.sequences)
        self._write("metrics", table)
        logger.info("Image quality\n%s", format_summary(table))
        self._save(metrics_boxplot(table, columns=(*QUALITY_COLUMNS[self.region], "lpips")), "metrics.png")
        adjacency = adjacency_matrix(table, self.sequences, self.region)
        ranking = contribution(adjacency)
        self._write("adjacency", adjacency.reset_index())
        self._write("contribution", ranking)
        self._save(adjacency_heatmap(adjacency), "adjacency.png")
        self._save(ranking_bars(ranking), "contribution.png")
        logger.info("Contribution of the sequences\n%s", ranking.to_string(index=False))
        if differentiation_rows:
            areas = build_records(differentiation_rows, ("subject", "sequence"), ("auc",), self.sequences)
            self._write("differentiation", areas)
            means = areas.groupby("sequence", sort=False)["auc"].mean()
            logger.info("M_d against what only that sequence shows, mean voxel AUC\n%s", means.to_string())
        if curves:
            enhancement = enhancement_table(curves, self.sequences, self.times, self.b_values)
            self._write("enhancement", enhancement)
            error = enhancement_error(enhancement)
            logger.info("Relative enhancement of the lesions, mean absolute error\n%s", error.to_string())
        logger.info("Tables and figures are in %s.", self.output_dir)

    def _write(self, name: str, table: pd.DataFrame) -> None:
        write_records(self.output_dir / f"{name}.csv", table, overwrite=self.overwrite)

    def _save(self, figure: Figure, name: str) -> None:
        save_figure(figure, self.output_dir / "figures" / name, overwrite=self.overwrite)
