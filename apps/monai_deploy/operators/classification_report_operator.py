# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What the classifier says of a subject, as a JSON file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from monai.deploy.core import Operator, OperatorSpec

from operators.bundle_configuration import BundleConfiguration
from operators.subject_operator import Subject

__all__ = ["ClassificationReportOperator"]

_NOTICE = "For research only: no decision about a patient may rest on this."


class ClassificationReportOperator(Operator):
    """Writes ``SUBJECT/SUBJECT_classification.json``: probability, inputs, models, notice.

    Named inputs:
        subject: a :class:`~operators.subject_operator.Subject`.
        probability: of label 1, in [0, 1].

    Args:
        fragment: the application.
        folder: where to write.
        bundle: the classifier's.
        generator: the one whose maps the classifier takes.
    """

    def __init__(
        self,
        fragment: Any,
        *args: Any,
        folder: Path,
        bundle: BundleConfiguration,
        generator: BundleConfiguration,
        **kwargs: Any,
    ) -> None:
        self.folder = folder
        self.bundle = bundle
        self.generator = generator
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the inputs."""
        spec.input("subject")
        spec.input("probability")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Write the report."""
        subject: Subject = op_input.receive("subject")
        report = {
            "notice": _NOTICE,
            "subject": subject.name,
            "probability": op_input.receive("probability"),
            "probability_of": "label 1",
            "classifier": self.bundle.description() | {"channels": list(self.bundle.content("inputs"))},
            "generator": self.generator.description(),
            "inputs": subject.inputs(),
            "not_taken": [{"series": str(part), "because": reason} for part, reason in subject.left],
        }
        path = self.folder / subject.name / f"{subject.name}_classification.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(report, indent=4) + "\n", encoding="utf-8")
