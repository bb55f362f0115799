# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What the evaluation of a classifier leaves on disk: predictions, metrics, ROC curve, Grad-CAM."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from ignite.engine import Events

from seq2seq_mri.evaluation.classification.classification_metrics import youden_threshold
from seq2seq_mri.evaluation.classification.classification_tables import (
    fold_metrics,
    predictions_table,
    write_fold_metrics,
    write_predictions,
)
from seq2seq_mri.evaluation.classification.explained_cases import ExplainedCases
from seq2seq_mri.evaluation.classification.roc_figure import roc_curves
from seq2seq_mri.files import check_writable_directory
from seq2seq_mri.plots.style import save_figure

__all__ = ["ClassificationReport"]

logger = logging.getLogger(__name__)

_LEAST_FOR_ROC = 2  # cases of a label; fewer have no confidence interval


class ClassificationReport:
    """Writes ``predictions.csv``, ``metrics.csv``, ``roc.png`` and ``gradcam.png`` of a binary classifier.

    It is both the ``report`` of a :class:`SubjectClassifier`, which gives it
    every subject, and a handler, which writes the files when all are done. The threshold of sensitivity, specificity
    and the like is Youden's on the validation section, which has chosen the best epoch, too; the tested section plays
    no part in it. In the tables the tested section is called ``testing``, whatever its name in the datalist.

    Args:
        output_dir: where to write.
        inputs: names of the classifier's channels.
        sequences: the sequence table.
        validation: entries of the validation section, with ``"patient"`` and ``"label"``, 0 and 1.
        testing: entries of the tested section, likewise.
        figure_subjects: most tested subjects in ``gradcam.png``; half of them with label 1, as far as there are.
        layer: of the Grad-CAM, see :func:`gradcam_map`.
        spacing: voxel sizes along X, Y, Z in millimetres, for the figure; None: as if they were equal.
        overwrite: whether files of an earlier evaluation may be replaced.

    Raises:
        FileExistsError: when the directory holds an evaluation and ``overwrite`` is not set.
        ValueError: when a subject is in both sections, an input is unknown, or the directory cannot be written.
    """

    def __init__(
        self,
        output_dir: str | Path,
        inputs: Sequence[str],
        sequences: Mapping[str, int],
        validation: Sequence[Mapping[str, Any]],
        testing: Sequence[Mapping[str, Any]],
        figure_subjects: int = 6,
        layer: str = "layer4",
        spacing: Sequence[float] | None = None,
        overwrite: bool = False,
    ) -> None:
        self.output_dir = check_writable_directory(output_dir)
        self.inputs = "+".join([inputs] if isinstance(inputs, str) else inputs)
        self.cases = ExplainedCases(inputs, sequences, layer, spacing)
        self.figure_subjects = figure_subjects
        self.overwrite = overwrite
        self._entries = {entry["subject"]: ("validation", entry) for entry in validation}
        shared = [entry["subject"] for entry in testing if entry["subject"] in self._entries]
        if shared:
            raise ValueError(
                f"Subject {shared[0]} is in the validation section, which chooses epoch and threshold, and cannot be "
                "tested; evaluate another --section."
            )
        self._entries |= {entry["subject"]: ("testing", entry) for entry in testing}
        self._drawn: Counter[int] = Counter()
        self.rows: list[dict[str, Any]] = []
        if (self.output_dir / "predictions.csv").exists() and not overwrite:
            raise FileExistsError(
                f"{self.output_dir / 'predictions.csv'} exists; give another --output_dir, or --overwrite true."
            )

    def attach(self, engine: Any) -> None:
        """Write the files when all subjects are done."""
        engine.add_event_handler(Events.COMPLETED, self.write)

    def add(self, sample: Mapping[str, Any], output: Mapping[str, Any], network: torch.nn.Module) -> None:
        """Take in one subject, and explain it if there is room for it in the figure.

        Args:
            sample: with ``subject`` and ``image``, ``[C, *spatial]``.
            output: with ``probability``.
            network: the classifier.
        """
        subject = str(sample["subject"])
        section, entry = self._entries[subject]
        label, probability = int(entry["label"]), float(output["probability"])
        self.rows.append(
            {
                "inputs": self.inputs,
                "patient": entry["patient"],
                "subject": subject,
                "section": section,
                "repeat": 0,
                "fold": 0,
                "label": label,
                "probability": probability,
            }
        )
        if section == "testing" and self._drawn[label] < self._room_for(label):
            self._drawn[label] += 1
            self.cases.add(subject, sample["image"], network, f"label {label}\nprobability {probability:.2f}")

    def write(self, engine: Any = None) -> None:
        """Write tables and figures.

        Raises:
            ValueError: when no subject was tested, or the validation section has subjects of one label only.
        """
        if engine is not None and engine.failures and not any(row["section"] == "testing" for row in self.rows):
            return  # the engine lists them, which says more than what follows from them
        validation = [row for row in self.rows if row["section"] == "validation"]
        if len(validation) == len(self.rows):
            raise ValueError("No subject was tested, so there are no tables to write.")
        threshold = youden_threshold(*zip(*((row["label"], row["probability"]) for row in validation), strict=True))
        predictions = predictions_table({**row, "threshold": threshold} for row in self.rows)
        metrics = fold_metrics(predictions)
        write_predictions(self.output_dir / "predictions.csv", predictions, overwrite=self.overwrite)
        write_fold_metrics(self.output_dir / "metrics.csv", metrics, overwrite=self.overwrite)
        logger.info("Tested subjects\n%s", metrics.to_string(index=False))
        self._draw_roc(predictions)
        if len(self.cases):
            save_figure(self.cases.figure(), self.output_dir / "gradcam.png", overwrite=self.overwrite)
        logger.info("Tables and figures are in %s.", self.output_dir)

    def _room_for(self, label: int) -> int:
        """Return how many subjects of a label are drawn."""
        labels = Counter(int(entry["label"]) for section, entry in self._entries.values() if section == "testing")
        half = (self.figure_subjects + label) // 2
        return max(half, self.figure_subjects - labels[1 - label])

    def _draw_roc(self, predictions: pd.DataFrame) -> None:
        counts = predictions[predictions["section"] == "testing"]["label"].value_counts()
        if min(counts.get(0, 0), counts.get(1, 0)) < _LEAST_FOR_ROC:
            logger.warning("No ROC curve: it needs %d tested subjects of each label.", _LEAST_FOR_ROC)
            (self.output_dir / "roc.png").unlink(missing_ok=True)  # of an earlier evaluation
            return
        save_figure(roc_curves(predictions), self.output_dir / "roc.png", overwrite=self.overwrite)
