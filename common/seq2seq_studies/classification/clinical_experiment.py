# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The clinical experiments: compares input combinations of a classifier, images with and without M_d.

Source: Han et al., Medical Image Analysis 2024, Table 4 (MGMT promoter methylation, nested cross-validation) and Fig. 7
(pathological complete response, one division).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seq2seq_mri.evaluation.classification.roc_figure import roc_curves
from seq2seq_mri.evaluation.records import write_records
from seq2seq_mri.plots.style import save_figure
from seq2seq_studies.classification.cross_validation import Fold
from seq2seq_studies.classification.fold_summary import fold_metrics_forest, mean_roc_curves
from seq2seq_studies.classification.input_comparison import compare_inputs, format_input_comparison
from seq2seq_studies.classification.run_folds import FitPredict, ProtocolTables, Settings, run_folds
from seq2seq_studies.study_run import write_text

__all__ = ["ClinicalExperiment"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClinicalExperiment:
    """Compares input combinations of a classifier on the same folds, and pairs of them by a paired test.

    Args:
        output_dir: receives the tables of :func:`run_folds` (``predictions.csv``,
            ``metrics.csv``, ``candidates.csv``, ``summary.csv``), ``comparison.csv`` (each pair's difference of the AUC
            with DeLong's and a bootstrap interval), ``results.md`` with both tables, ``roc.png`` and ``metrics.png``. A
            finished fold is not computed again.
        folds: who is trained, validated and tested on, from ``cross_validation``.
        fit: the classifier, such as :class:`ClassifierFit`.
        inputs: name → channels, ``{"T1Gd": ["t1gd"], "T1Gd + M_d": ["t1gd", "t1gd_md"]}``.
        pairs: (without, with) names of the combinations to compare.
        candidates: name → settings among which the inner folds choose; None: there is nothing to choose.
        label: name of the label, for the record.
        seed: of the trainings and of the bootstrap.
        settings: what else the results depend on (epochs, generator); recorded, and compared when results are resumed.

    Raises:
        ValueError: when a pair has a name that is not among the inputs.
    """

    output_dir: str | os.PathLike
    folds: Sequence[Fold]
    fit: FitPredict
    inputs: Mapping[str, Sequence[str]]
    pairs: Sequence[Sequence[str]]
    candidates: Settings | None = None
    label: str | None = None
    seed: int = 0
    settings: Mapping[str, object] | None = None

    def __post_init__(self) -> None:
        for name in (name for pair in self.pairs for name in pair):
            if name not in self.inputs:
                raise ValueError(f"There are no inputs '{name}' to compare; choose from {', '.join(self.inputs)}.")

    def run(self) -> ProtocolTables:
        """Run the folds, or what is left of them, and write tables and figures.

        Raises:
            ValueError: when ``output_dir`` holds another experiment, and as :func:`run_folds`.
        """
        folder = Path(self.output_dir)
        tables = run_folds(
            self.folds,
            self.fit,
            self.candidates,
            folder,
            self.seed,
            inputs={name: {"channels": list(channels)} for name, channels in self.inputs.items()},
            label=self.label,
            settings=self.settings,
        )
        comparison = compare_inputs(tables.predictions, self.pairs, seed=self.seed)
        write_records(folder / "comparison.csv", comparison, overwrite=True)
        text = format_input_comparison(comparison)
        logger.info(f"What is added to the AUC, over all tested subjects:\n{text}")
        summary = (folder / "summary.md").read_text(encoding="utf-8")
        write_text(folder / "results.md", f"{summary}\n{text}")
        draw = mean_roc_curves if len(self.folds) > 1 else roc_curves
        save_figure(draw(tables.predictions, title=self.label or ""), folder / "roc.png", overwrite=True)
        save_figure(fold_metrics_forest(tables.metrics), folder / "metrics.png", overwrite=True)
        return tables
