# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""MONAI Deploy application: the missing sequences of a brain or breast MRI study, synthesised.

``python app.py -i STUDY -o OUTPUT -m bundles/seq2seq_brats``; ``python app.py --help`` lists the options.
"""

from __future__ import annotations

from pathlib import Path

from monai.deploy.conditions import CountCondition
from monai.deploy.core import Application

from command_line import Folders, Options, parse, prepare_package, run_application


class SynthesisApplication(Application):
    """Study → available sequences → synthesised sequences → NIfTI and derived DICOM series.

    Args:
        options: of the command line.
        bundle: folder of the generator's bundle.
        folders: where to read and write.
    """

    def __init__(self, options: Options, bundle: Path, folders: Folders) -> None:
        super().__init__()
        self.choices = options
        self.bundle = bundle
        self.folders = folders

    def compose(self) -> None:
        """Connect the operators."""
        from operators.bundle_configuration import BundleConfiguration
        from operators.derived_series_operator import DerivedSeriesOperator
        from operators.nifti_operator import NiftiOperator
        from operators.subject_operator import SubjectOperator
        from operators.synthesis_operator import SynthesisOperator

        bundle = BundleConfiguration(self.bundle, self.choices.overrides())
        subject = SubjectOperator(
            self,
            CountCondition(self, 1),
            study=self.folders.study,
            links=self.folders.links,
            sequences=bundle.sequences,
            rules=self.choices.rules_of(bundle.name),
            chosen=self.choices.sequences,
            name="subject",
        )
        synthesis = SynthesisOperator(
            self,
            bundle=bundle,
            targets=self.choices.targets,
            output=None if self.choices.overwrite else Path(self.choices.context.output_path),
            name="synthesis",
        )
        nifti = NiftiOperator(self, folder=self.folders.results, bundle=bundle, name="nifti")
        series = DerivedSeriesOperator(self, folder=self.folders.results, bundle=bundle, name="derived_series")
        self.add_flow(subject, synthesis, {("subject", "subject")})
        for writer in (nifti, series):
            self.add_flow(subject, writer, {("subject", "subject")})
            self.add_flow(synthesis, writer, {("images", "images")})


if __name__ == "__main__":
    chosen_options = parse("The missing sequences of an MRI study, synthesised. Research only.", synthesis=True)
    prepare_package(chosen_options)
    run_application(SynthesisApplication, chosen_options, classifier=False)
