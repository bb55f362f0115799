# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Trains a network on chosen channels and predicts other subjects: the classifier of the studies."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seq2seq_mri.evaluation.classification.classifier_evaluator import predict_probabilities
from seq2seq_mri.training.classifier_images import ClassifierImages
from seq2seq_mri.transforms.select_channels import SelectChannelsd, count_channels
from seq2seq_studies.classification.classifier_training import ClassifierSettings, fit_classifier
from seq2seq_studies.classification.cross_validation import Entry

__all__ = ["ClassifierFit"]


@dataclass
class ClassifierFit:
    """A :data:`FitPredict` that trains a network on chosen channels.

    Each training has a folder of its own below ``output_dir``, named after its subjects, seed and settings, so that an
    interrupted one goes on where it was. It is removed when the predictions are made.

    Args:
        samples: the images and maps of every subject, see :class:`SampleLookup`; keys ``image``, ``differentiation``
            and ``available`` as :class:`SelectChannelsd` reads them.
        sequences: the sequence table.
        network: builds a network for a number of input channels: ``network(in_channels=2)``.
        output_dir: where trainings are.
        augmentation: random transforms of ``image``, for training only.
        device: where to train and to predict.
        num_workers: processes that load images.
        settings: those of :class:`ClassifierSettings`, which those of a call replace.
    """

    samples: Mapping[str, Mapping[str, Any]]
    sequences: Mapping[str, int]
    network: Callable[..., torch.nn.Module]
    output_dir: str | os.PathLike
    augmentation: Sequence[Callable] = ()
    device: torch.device | str = "cpu"
    num_workers: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __call__(
        self,
        training: Sequence[Entry],
        validation: Sequence[Entry],
        tested: Sequence[Entry],
        seed: int,
        *,
        channels: Sequence[str],
        **settings: Any,
    ) -> np.ndarray:
        """Train on ``training``, keep the epoch that is best on ``validation``, and predict ``tested``.

        Args:
            training: entries with labels.
            validation: likewise.
            tested: entries whose labels are not looked at.
            seed: of the training.
            channels: names of images and maps, ``["t1gd", "t1gd_md"]``.
            settings: of :class:`ClassifierSettings`, in place of those given before.

        Returns:
            Probabilities ``[n]`` of label 1, or ``[n, classes]``.
        """
        chosen = {**self.settings, **settings}
        select = SelectChannelsd(channels, self.sequences)
        images = partial(ClassifierImages, samples=self.samples, transform=select)
        trained_on = [_names(training), _names(validation), seed, chosen, {"channels": list(channels)}]
        directory = Path(self.output_dir) / _digest(trained_on)
        network = fit_classifier(
            images(training),
            images(validation),
            partial(self.network, in_channels=count_channels(channels, self.sequences)),
            directory,
            ClassifierSettings(**chosen, seed=seed, device=self.device, num_workers=self.num_workers),
            self.augmentation,
        )
        how = {name: chosen[name] for name in ("batch_size", "autocast_dtype") if name in chosen}
        probabilities = predict_probabilities(
            network, images(tested), device=self.device, num_workers=self.num_workers, **how
        )
        shutil.rmtree(directory)
        return probabilities


def _names(entries: Sequence[Entry]) -> list:
    return [[entry["subject"], entry["label"]] for entry in entries]


def _digest(content: list) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]
