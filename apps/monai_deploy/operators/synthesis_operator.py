# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""From a subject's sequences to those that it lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.deploy.core import Image, OperatorSpec
from monai.deploy.operators import InferenceOperator
from monai.deploy.operators.monai_bundle_inference_operator import filter_compose

from operators.bundle_configuration import BundleConfiguration
from operators.subject_operator import Subject
from seq2seq_mri.inference.evaluator import synthesised_sequences
from seq2seq_mri.io.save import sequence_file
from seq2seq_mri.sequences import marked_sequences, sequence_index

__all__ = ["SynthesisOperator"]


class SynthesisOperator(InferenceOperator):
    """Synthesises sequences with a generator's bundle: its preprocessing, inferer, network and postprocessing.

    Named input:
        subject: a :class:`~operators.subject_operator.Subject`.

    Named output:
        images: target → ``Image`` of float32 ``[T, X, Y, Z]`` on the grid of the subject's first sequence, with
        ``affine`` (voxels to millimetres, RAS+) and ``sources`` (names of sequences) in its metadata.

    Args:
        fragment: the application.
        bundle: the generator's.
        targets: ``"missing"``, ``"all"``, or names with commas between.
        output: where results will be put; one that is there already is an error before time is spent. None: they may be
            replaced.

    Raises:
        ValueError: when a target is unknown, or the weights belong to another network.
    """

    def __init__(
        self,
        fragment: Any,
        *args: Any,
        bundle: BundleConfiguration,
        targets: str = "missing",
        output: Path | None = None,
        **kwargs: Any,
    ) -> None:
        self.bundle = bundle
        self.output = output
        self.targets: str | list[str] = targets
        if targets not in ("missing", "all"):
            self.targets = [name.strip() for name in targets.split(",")]
            for name in self.targets:
                sequence_index(bundle.sequences, name)
        self.network = bundle.network
        self.device = torch.device(bundle.content("device"))
        self.preprocessing = bundle.content("preprocessing")
        # What the next operators write must not be written here.
        self.postprocessing = filter_compose(bundle.content("postprocessing"), ["SaveImage"])
        self.inferer = bundle.content("inferer")
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare input and output."""
        spec.input("subject")
        spec.output("images")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Synthesise all targets."""
        subject: Subject = op_input.receive("subject")
        sample = self.pre_process({"subject": subject.name, **subject.files})
        available = marked_sequences(self.bundle.sequences, sample["available"])
        targets = synthesised_sequences(self.bundle.sequences, available, self.targets)
        if not targets:
            raise ValueError(f"{subject.name} lacks no sequence; name what is to be synthesised by --targets.")
        self._check_new(subject.name, targets)
        images = {}
        for target in targets:
            prediction = self.post_process({**sample, "pred": self.predict(sample["image"], target)})["pred"]
            images[target] = Image(
                prediction.detach().cpu().numpy().astype(np.float32, copy=False),
                {
                    "affine": np.asarray(prediction.affine, dtype=np.float64),
                    "sources": [name for name in available if name != target],
                },
            )
        op_output.emit(images, "images")

    def _check_new(self, subject: str, targets: list[str]) -> None:
        for target in targets if self.output is not None else []:
            path = self.output / subject / sequence_file(subject, target)
            if path.exists():
                raise FileExistsError(f"{path} exists; give another output folder, or --overwrite.")

    def pre_process(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        """Load the sequences, and bring them to the form that the network takes."""
        return self.preprocessing(data)

    def predict(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the target ``args[0]``, ``[T, X, Y, Z]``, of a prepared image ``[ΣT, X, Y, Z]``."""
        with torch.inference_mode():
            return self.inferer(data[None].to(self.device), self.network, target=args[0])[0]

    def post_process(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        """Bring the prediction back to the grid of the subject's first sequence."""
        return self.postprocessing(data)
