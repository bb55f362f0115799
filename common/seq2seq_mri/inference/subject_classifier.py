# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Classifies subjects one by one, and writes the table of probabilities and a Grad-CAM picture of each subject."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import torch
from ignite.engine import Engine, Events

from seq2seq_mri.evaluation.classification.classifier_evaluator import class_probabilities
from seq2seq_mri.evaluation.classification.gradcam import ExplainedCases
from seq2seq_mri.evaluation.records import read_records, write_records
from seq2seq_mri.files import unlock_directory
from seq2seq_mri.inference.subject_evaluator import SubjectEvaluator
from seq2seq_mri.plots.style import save_figure
from seq2seq_mri.training.distributed import claim_output

__all__ = ["PredictionReport", "SubjectClassifier"]

logger = logging.getLogger(__name__)

_EXISTING = ("error", "skip", "overwrite")
_LISTED = 10


class _Report(Protocol):
    def add(self, sample: Mapping[str, Any], output: Mapping[str, Any], network: torch.nn.Module) -> None: ...


class SubjectClassifier(SubjectEvaluator):
    """Classifies each subject by a network with one logit.

    Output per subject: ``pred``, the logit ``[1]``, and ``probability``, that of label 1, a number in [0, 1].

    Args:
        report: is told every subject's probability, and may draw it: a :class:`PredictionReport` or
            :class:`ClassificationReport`; or ``None``.
        **kwargs: of :class:`SubjectEvaluator`.
    """

    def __init__(self, report: _Report | None = None, **kwargs: Any) -> None:
        self.report = report
        super().__init__(**kwargs)

    def evaluate_subject(self, sample: dict[str, Any]) -> dict[str, Any]:
        """Classify one subject by its ``image``, ``[C, *spatial]`` without batch axis.

        Raises:
            TypeError: when the network gives anything but one logit.
            ValueError: when the logit is not finite.
        """
        image = torch.as_tensor(sample["image"]).as_subclass(torch.Tensor)[None].to(self.state.device)
        logits = self.inferer(image, self.network)
        if logits.shape != (1, 1):
            raise TypeError(
                f"The network gives {tuple(logits.shape)[1:]} logits for a subject; a binary task has one, num_classes "
                "1 in network_def."
            )
        if not bool(logits.isfinite().all()):
            raise ValueError(f"The classifier's logit is {float(logits)}; check the values of the subject's images.")
        output = {"pred": logits[0].cpu(), "probability": float(class_probabilities(logits)[0])}
        if self.report is not None:
            self.report.add(sample, output, self.network)
        return output


class PredictionReport:
    """Writes ``predictions.csv`` (subject, probability), and for each subject ``<subject>/<subject>_gradcam.png``.

    It is both the ``report`` of a :class:`SubjectClassifier` and one of its handlers. The table is written after every
    subject, so that a job which was stopped can go on; one of an earlier inference is kept and added to.

    Args:
        output_dir: where to write.
        inputs: names of the classifier's channels.
        sequences: the sequence table.
        figures: whether to draw the subjects.
        layer: of the Grad-CAM, see :func:`gradcam_map`.
        spacing: voxel sizes along X, Y, Z in millimetres, for the figures; None: as if they were equal.
        existing: what is done with subjects that the table has already: ``"error"``, ``"skip"`` or ``"overwrite"``.

    Raises:
        ValueError: when the directory cannot be written, or holds a ``predictions.csv`` of another form, an input is
            unknown, or ``existing`` is none of these.
    """

    def __init__(
        self,
        output_dir: str | Path,
        inputs: Sequence[str],
        sequences: Mapping[str, int],
        figures: bool = True,
        layer: str = "layer4",
        spacing: Sequence[float] | None = None,
        existing: str = "error",
    ) -> None:
        if existing not in _EXISTING:
            raise ValueError(f"existing is {existing!r}; give one of {', '.join(_EXISTING)}.")
        self.output_dir = claim_output(output_dir)
        self.figures = figures
        self.existing = existing
        self._how_to_explain = inputs, sequences, layer, spacing
        ExplainedCases(*self._how_to_explain)  # unknown inputs are found now
        self.table = self.output_dir / "predictions.csv"
        self.probabilities: dict[str, float] = {}
        if self.table.exists():
            earlier = read_records(self.table, ["subject"], ["probability"])
            self.probabilities = dict(zip(earlier["subject"], earlier["probability"], strict=True))

    def subjects_to_classify(self, subjects: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Return the subjects, ``[{"subject": "p1", "t1": "path", ...}, ...]``, that are to be classified.

        Raises:
            FileExistsError: when ``existing`` is ``"error"`` and the table has one of them; it lists them.
        """
        done = [entry["subject"] for entry in subjects if entry["subject"] in self.probabilities]
        if done and self.existing == "error":
            listed = ", ".join(done[:_LISTED]) + (" …" if len(done) > _LISTED else "")
            raise FileExistsError(
                f"{self.table} has {len(done)} of these subjects already ({listed}); give another --output_dir, or "
                "--existing skip or overwrite."
            )
        if not done or self.existing == "overwrite":
            return list(subjects)
        left = [entry for entry in subjects if entry["subject"] not in self.probabilities]
        logger.info("%d subjects are in %s already, %d are left.", len(done), self.table, len(left))
        return left

    def attach(self, engine: Engine) -> None:
        """Say at the end where the table is."""
        engine.add_event_handler(
            Events.COMPLETED,
            lambda: logger.info("Probabilities of %d subjects are in %s.", len(self.probabilities), self.table),
        )
        engine.add_event_handler(Events.COMPLETED, unlock_directory, self.output_dir)

    def add(self, sample: Mapping[str, Any], output: Mapping[str, Any], network: torch.nn.Module) -> None:
        """Draw one subject (``subject``, ``image`` ``[C, *spatial]``), and write the table with its ``probability``."""
        subject, probability = str(sample["subject"]), float(output["probability"])
        if self.figures:
            cases = ExplainedCases(*self._how_to_explain)
            cases.add(subject, sample["image"], network, f"probability {probability:.2f}")
            save_figure(cases.figure(), self.output_dir / subject / f"{subject}_gradcam.png", overwrite=True)
        self.probabilities[subject] = probability
        rows = sorted(self.probabilities.items())
        write_records(self.table, pd.DataFrame(rows, columns=["subject", "probability"]), overwrite=True)
