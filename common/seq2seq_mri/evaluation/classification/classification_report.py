# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Handler that writes the results of evaluating a classifier: predictions, metrics, ROC curve, Grad-CAM."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events

from seq2seq_mri.evaluation.classification.classification_metrics import (
    fold_metrics,
    predictions_table,
    youden_threshold,
)
from seq2seq_mri.evaluation.classification.gradcam import ExplainedCases
from seq2seq_mri.evaluation.classification.roc_figure import roc_curves
from seq2seq_mri.evaluation.records import write_records
from seq2seq_mri.files import unlock_directory
from seq2seq_mri.plots.style import save_figure
from seq2seq_mri.training.distributed import claim_output

__all__ = ["ClassificationReport"]

logger = logging.getLogger(__name__)

_LEAST_FOR_ROC = 2  # cases of a label; fewer have no confidence interval


class ClassificationReport:
    """Writes ``predictions.csv``, ``metrics.csv``, ``roc.png`` and ``gradcam.png`` of a binary classifier.

    It is both the ``report`` of a :class:`SubjectClassifier`, which gives it every subject, and a handler, which writes
    the files when all are done. The threshold of sensitivity, specificity and the like is Youden's on the validation
    section, which has chosen the best epoch, too; the tested section plays no part in it. In the tables the tested
    section is called ``testing``, whatever its name in the datalist.

    Args:
        output_dir: where to write.
        inputs: names of the classifier's channels.
        sequences: the sequence table.
        validation: entries of the validation section, with ``"patient"`` and ``"label"``, 0 and 1.
        testing: entries of the tested section, likewise.
        figure_subjects: most tested subjects in ``gradcam.png``; half of them with label 1, as far as there are.
        layer, spacing: of the Grad-CAM's figure, see :class:`ExplainedCases`.
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
        self.output_dir = claim_output(output_dir)
        self.inputs = "+".join(inputs)
        self.cases = ExplainedCases(inputs, sequences, layer, spacing)
        self.overwrite = overwrite
        self._entries = {entry["subject"]: ("validation", entry) for entry in validation}
        shared = [entry["subject"] for entry in testing if entry["subject"] in self._entries]
        if shared:
            raise ValueError(
                f"Subject {shared[0]} is in the validation section, which chooses epoch and threshold, and cannot be "
                "tested; evaluate another --section."
            )
        self._entries |= {entry["subject"]: ("testing", entry) for entry in testing}
        labels = Counter(int(entry["label"]) for entry in testing)
        # Half of the figure for each label, and what the other label leaves.
        self._room = {n: max((figure_subjects + n) // 2, figure_subjects - labels[1 - n]) for n in (0, 1)}
        self.rows: list[dict[str, Any]] = []
        if (self.output_dir / "predictions.csv").exists() and not overwrite:
            raise FileExistsError(
                f"{self.output_dir / 'predictions.csv'} exists; give another --output_dir, or --overwrite true."
            )

    def attach(self, engine: Engine) -> None:
        """Write the files when all subjects are done."""
        engine.add_event_handler(Events.COMPLETED, self.write)
        engine.add_event_handler(Events.COMPLETED, unlock_directory, self.output_dir)

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
        case = {"inputs": self.inputs, "patient": entry["patient"], "subject": subject, "section": section}
        self.rows.append({**case, "repeat": 0, "fold": 0, "label": label, "probability": probability})
        if section == "testing" and self._room[label] > 0:
            self._room[label] -= 1
            self.cases.add(subject, sample["image"], network, f"label {label}\nprobability {probability:.2f}")

    def write(self, engine: Engine) -> None:
        """Write tables and figures.

        Raises:
            ValueError: when no subject was tested, or the validation section has subjects of one label only.
        """
        validation = [row for row in self.rows if row["section"] == "validation"]
        if len(validation) == len(self.rows):
            if getattr(engine, "failures", None):
                return  # the engine lists them, which says more than what follows from them
            raise ValueError("No subject was tested, so there are no tables to write.")
        threshold = youden_threshold(*([row[name] for row in validation] for name in ("label", "probability")))
        predictions = predictions_table({**row, "threshold": threshold} for row in self.rows)
        metrics = fold_metrics(predictions)
        write_records(self.output_dir / "predictions.csv", predictions, overwrite=self.overwrite)
        write_records(self.output_dir / "metrics.csv", metrics, overwrite=self.overwrite)
        logger.info("Tested subjects\n%s", metrics.to_string(index=False))
        tested = metrics.iloc[0]
        if min(tested["positives"], tested["n"] - tested["positives"]) < _LEAST_FOR_ROC:
            logger.warning("No ROC curve: it needs %d tested subjects of each label.", _LEAST_FOR_ROC)
            (self.output_dir / "roc.png").unlink(missing_ok=True)  # of an earlier evaluation
        else:
            save_figure(roc_curves(predictions), self.output_dir / "roc.png", overwrite=self.overwrite)
        if len(self.cases):
            save_figure(self.cases.figure(), self.output_dir / "gradcam.png", overwrite=self.overwrite)
        logger.info("Tables and figures are in %s.", self.output_dir)
