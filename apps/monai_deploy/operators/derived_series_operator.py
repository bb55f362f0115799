# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Synthesised sequences as derived MR series of the DICOM study that they were made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai.deploy.core import Image, Operator, OperatorSpec

from operators.bundle_configuration import BundleConfiguration
from operators.subject_operator import Subject
from seq2seq_mri.io.dicom.derived_series import write_derived_mr_series

__all__ = ["DerivedSeriesOperator"]

# Numbers of derived series begin above those of scanners.
_FIRST_NUMBER = 9001


class DerivedSeriesOperator(Operator):
    """Writes a folder ``SUBJECT/SUBJECT_TARGET_dicom`` of MR images for each target; nothing for NIfTI input.

    Pixels times RescaleSlope are 1000 times the values of the network, which lie between 0 and 1.

    Named inputs:
        subject: a :class:`~operators.subject_operator.Subject`.
        images: target → ``Image``, see :class:`~operators.synthesis_operator.SynthesisOperator`.

    Args:
        fragment: the application.
        folder: where to write.
        bundle: of the generator, for the times and b-values of timepoints.
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
        """Write a series for each image."""
        subject: Subject = op_input.receive("subject")
        images: dict[str, Image] = op_input.receive("images")
        if not subject.series:
            return
        times, b_values = self.bundle.content("times", {}), self.bundle.content("b_values", {})
        names = list(self.bundle.sequences)
        for target, image in images.items():
            used = {name: parts for name, parts in subject.series.items() if name in image.metadata()["sources"]}
            write_derived_mr_series(
                image.asnumpy(),
                image.metadata()["affine"],
                [path for parts in used.values() for part in parts for path in part.files],
                self.folder / subject.name / f"{subject.name}_{target}_dicom",
                f"synthetic {target}, research only",
                series_number=_FIRST_NUMBER + names.index(target),
                times=times.get(target),
                b_values=b_values.get(target),
            )
