# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""From a subject's sequences to the probability of its label."""

from __future__ import annotations

from typing import Any

import torch
from monai.deploy.core import OperatorSpec
from monai.deploy.operators import InferenceOperator

from operators.bundle_configuration import BundleConfiguration
from operators.subject_operator import Subject

__all__ = ["ClassificationOperator"]


class ClassificationOperator(InferenceOperator):
    """Classifies with a classifier's bundle, whose preprocessing computes the imaging-differentiation maps.

    Named input:
        subject: a :class:`~operators.subject_operator.Subject`.

    Named output:
        probability: of label 1, in [0, 1].

    Args:
        fragment: the application.
        bundle: the classifier's.

    Raises:
        FileNotFoundError: when the generator's bundle is not beside it.
        ValueError: when weights belong to another network.
    """

    def __init__(self, fragment: Any, *args: Any, bundle: BundleConfiguration, **kwargs: Any) -> None:
        self.network = bundle.network
        self.device = torch.device(bundle.content("device"))
        self.preprocessing = bundle.content("preprocessing")
        self.postprocessing = bundle.content("postprocessing")
        self.inferer = bundle.content("inferer")
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare input and output."""
        spec.input("subject")
        spec.output("probability")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Classify the subject."""
        subject: Subject = op_input.receive("subject")
        sample = self.pre_process({"subject": subject.name, **subject.files})
        probability = float(self.post_process({"pred": self.predict(sample["image"])})["pred"])
        if not 0 <= probability <= 1:
            raise ValueError(f"The probability of {subject.name} is {probability}; check the values of its images.")
        op_output.emit(probability, "probability")

    def pre_process(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        """Load the sequences, add the maps, and bring both to the form that the network takes."""
        return self.preprocessing(data)

    def predict(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the logit ``[1]`` of a prepared image ``[C, X, Y, Z]``."""
        with torch.inference_mode():
            return self.inferer(data.as_subclass(torch.Tensor)[None].to(self.device), self.network)[0].cpu()

    def post_process(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the probability in the place of the logit."""
        return self.postprocessing(data)
