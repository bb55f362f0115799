# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Synthesised sequences as NIfTI files, with a report of what they were made from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from monai.deploy.core import Image, Operator, OperatorSpec

from operators.bundle_configuration import BundleConfiguration
from operators.subject_operator import Subject
from seq2seq_mri.io.save import save_volume, sequence_file

__all__ = ["NOTICE", "NiftiOperator"]

NOTICE = "Synthetic, for research only: not for diagnosis or any other clinical use."


class NiftiOperator(Operator):
    """Writes ``SUBJECT/SUBJECT_TARGET.nii.gz``, float32, and ``SUBJECT/SUBJECT_synthesis.json``.

    Named inputs:
        subject: a :class:`~operators.subject_operator.Subject`.
        images: target → ``Image``, see :class:`~operators.synthesis_operator.SynthesisOperator`.

    Args:
        fragment: the application.
        folder: where to write.
        bundle: of the generator, for the report and for the times and b-values of timepoints.
    """

    def __init__(self, fragment: Any, *args: Any, folder: Path, bundle: BundleConfiguration, **kwargs: Any) -> None:
        self.folder = folder
        self.bundle = bundle
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the inputs."""
        spec.input("subject")
        spec.input("images")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Write all images of the subject."""
        subject: Subject = op_input.receive("subject")
        images: dict[str, Image] = op_input.receive("images")
        times, b_values = self.bundle.content("times", {}), self.bundle.content("b_values", {})
        folder = self.folder / subject.name
        for target, image in images.items():
            first = next(iter(subject.files.values()))
            # The header of a NIfTI source is copied, as monai.bundle run does.
            like = image.metadata()["affine"] if subject.series else _first(first)
            save_volume(
                folder / sequence_file(subject.name, target),
                image.asnumpy(),
                like,
                times=times.get(target),
                b_values=b_values.get(target),
            )
        report = {
            "notice": NOTICE,
            "subject": subject.name,
            "model": self.bundle.description(),
            "inputs": subject.inputs(),
            "not_taken": [{"series": str(part), "because": reason} for part, reason in subject.left],
            "synthesised": [
                {"sequence": target, "sources": image.metadata()["sources"]} for target, image in images.items()
            ],
        }
        path = folder / f"{subject.name}_synthesis.json"
        path.write_text(json.dumps(report, indent=4) + "\n", encoding="utf-8")


def _first(files: Any) -> str:
    return files[0] if isinstance(files, list) else files
