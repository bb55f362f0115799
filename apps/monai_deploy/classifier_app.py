# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""MONAI Deploy application: the probability that a classifier of images and imaging-differentiation maps gives a study.

``python classifier_app.py -i STUDY -o OUTPUT -m bundles/differentiation_classifier``, with the generator's bundle
``seq2seq_brats`` beside that of the classifier; ``python classifier_app.py --help`` lists the options.
"""

from __future__ import annotations

from pathlib import Path

from monai.deploy.conditions import CountCondition
from monai.deploy.core import Application

from command_line import Folders, Options, parse, prepare_package, run_application


class ClassifierApplication(Application):
    """Study → available sequences → imaging-differentiation maps and probability → report.

    Args:
        options: of the command line.
        bundle: folder of the classifier's bundle.
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
        from operators.classification_operator import ClassificationOperator
        from operators.classification_report_operator import ClassificationReportOperator
        from operators.subject_operator import SubjectOperator

        bundle = BundleConfiguration(self.bundle, self.choices.overrides())
        generator = BundleConfiguration(Path(bundle.content("generator_dir")))
        subject = SubjectOperator(
            self,
            CountCondition(self, 1),
            study=self.folders.study,
            links=self.folders.links,
            sequences=bundle.sequences,
            rules=self.choices.rules_of(generator.name),
            chosen=self.choices.sequences,
            name="subject",
        )
        classification = ClassificationOperator(self, bundle=bundle, name="classification")
        report = ClassificationReportOperator(
            self, folder=self.folders.results, bundle=bundle, generator=generator, name="report"
        )
        self.add_flow(subject, classification, {("subject", "subject")})
        self.add_flow(subject, report, {("subject", "subject")})
        self.add_flow(classification, report, {("probability", "probability")})


if __name__ == "__main__":
    chosen_options = parse("The probability that a classifier with M_d gives an MRI study. Research only.")
    prepare_package(chosen_options)
    run_application(ClassifierApplication, chosen_options, classifier=True)
