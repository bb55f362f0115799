# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""An engine that says of each subject how probable its label is."""

from __future__ import annotations

from typing import Any

import torch

from seq2seq_mri.evaluation.classification.classifier_evaluator import class_probabilities
from seq2seq_mri.inference.subject_evaluator import SubjectEvaluator

__all__ = ["SubjectClassifier"]


class SubjectClassifier(SubjectEvaluator):
    """Classifies each subject by a network with one logit.

    Output per subject: ``pred``, the logit ``[1]``, and ``probability``, that of label 1, a number in [0, 1].

    Args:
        report: a :class:`PredictionReport`, which is told every subject's probability; or ``None``.
        **kwargs: of :class:`SubjectEvaluator`.
    """

    def __init__(self, report: Any = None, **kwargs: Any) -> None:
        self.report = report
        super().__init__(**kwargs)

    def evaluate_subject(self, sample: dict[str, Any]) -> dict[str, Any]:
        """Classify one subject by its ``image``, ``[C, *spatial]`` without batch axis."""
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
