# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The probability that a classifier gives a subject."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monailabel.interfaces.tasks.infer_v2 import InferType

from lib.bundle_task import BundleTask

__all__ = ["ClassificationTask"]


class ClassificationTask(BundleTask):
    """Gives the probability of label 1 with a classifier bundle; its generator bundle lies beside it.

    A request may have, beside MONAI Label's ``image``, ``device`` and ``model_filename``, ``sequences``: sequence → id
    of its image (default: told by names). The answer is JSON, there is no image.

    Args:
        bundle: the bundle's folder.
        trainings: see :class:`BundleTask`.
    """

    def __init__(self, bundle: Path, trainings: Path) -> None:
        super().__init__(bundle, InferType.CLASSIFICATION, trainings)

    @staticmethod
    def result(data: dict[str, Any]) -> dict[str, Any]:
        """Return the probability, in the form of MONAI Label's classifications."""
        probability = float(data["pred"].reshape(-1)[0])
        return {"prediction": [{"idx": 1, "label": "label 1", "score": probability}]}
