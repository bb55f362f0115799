# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Trains a network on chosen channels, keeps its best epoch, and predicts other subjects: the studies' classifier.

A training that was stopped goes on where it was. The settings are the paper's where it gives them: Adam with a learning
rate of 1e-3, 50 epochs, batches of 2 volumes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from monai.data import DataLoader
from monai.engines import SupervisedTrainer
from monai.handlers import ValidationHandler

from seq2seq_mri.evaluation.classification.classifier_evaluator import (
    LogitInferer,
    classifier_evaluator,
    predict_probabilities,
)
from seq2seq_mri.files import check_writable_directory
from seq2seq_mri.losses.classification import ClassificationLoss, balanced_class_weights
from seq2seq_mri.training.checkpoint import TrainingCheckpoint, load_weights
from seq2seq_mri.training.classifier_images import ClassifierImages
from seq2seq_mri.training.handlers import EpochSeed, FiniteLoss, TrainingHistory
from seq2seq_mri.training.subject_dataset import SubjectDataset
from seq2seq_mri.transforms.select_channels import SelectChannelsd, count_channels
from seq2seq_studies.classification.cross_validation import Entry
from seq2seq_studies.study_run import write_json

__all__ = ["ClassifierFit", "ClassifierSettings", "fit_classifier"]


@dataclass(frozen=True)
class ClassifierSettings:
    """How a classifier is trained.

    Attributes:
        num_classes: 1 for a binary task (one logit; the best epoch has the largest AUC), else the number of classes
            (the best epoch has the largest accuracy).
        max_epochs: passes over the training data.
        batch_size: images of a step.
        learning_rate: of Adam.
        weight_decay: of Adam.
        class_weights: ``"balanced"`` for :func:`balanced_class_weights` of the training labels, a weight for each class
            (two for a binary task), or ``None`` for equal ones.
        seed: of everything random. It is set globally, and again at the start of each epoch.
        autocast_dtype: ``"bfloat16"`` or ``None``.
        device: where to train.
        num_workers: processes that load images.
    """

    num_classes: int = 1
    max_epochs: int = 50
    batch_size: int = 2
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    class_weights: Literal["balanced"] | Sequence[float] | None = None
    seed: int = 0
    autocast_dtype: str | None = None
    device: torch.device | str = "cpu"
    num_workers: int = 0


def fit_classifier(
    training: ClassifierImages,
    validation: ClassifierImages,
    network: Callable[[], torch.nn.Module],
    output_dir: str | Path,
    settings: ClassifierSettings,
    augmentation: Sequence[Callable] = (),
) -> torch.nn.Module:
    """Return a classifier with the weights of the epoch that was best on the validation data, for inference.

    Everything random, the first weights too, follows from the seed: on a CPU two trainings with equal arguments give
    equal weights. A training that was interrupted goes on after its last epoch, with the same result as one that was
    not; one that is finished is not repeated. ``output_dir`` receives ``history.csv`` (every epoch), ``best.pt``
    (weights), ``last.pt`` (for a resume; removed at the end) and ``finished.json`` (the best epoch, counted from 1, and
    its metric).

    Args:
        training: what to train on.
        validation: chooses the best epoch, and is not trained on.
        network: builds the network, for example ``partial(build_classifier, spatial_dims=3, in_channels=2)``. A
            function, so that no training starts from the weights of another.
        output_dir: folder of this training and of no other; :class:`ClassifierFit` names it after all that it is made
            of.
        settings: how to train.
        augmentation: random transforms of the images to train on.

    Raises:
        ValueError: when a data set has one class only, or a loss is not finite.
    """
    if len(set(training.labels.tolist())) < 2:
        raise ValueError(
            f"All {len(training)} subjects of the training data set have label {training.labels[0]}; a classifier "
            "needs at least two classes. Stratify the split by the label."
        )
    weights = settings.class_weights
    if weights == "balanced":
        weights = balanced_class_weights(training.labels, settings.num_classes)
    loss = ClassificationLoss(settings.num_classes, weights)
    directory = check_writable_directory(output_dir)
    torch.manual_seed(settings.seed)
    model = network().to(settings.device)
    if not (directory / "finished.json").is_file():
        augmented = SubjectDataset(training, augmentation, seed=settings.seed)  # type: ignore[arg-type]
        _train(model, loss, augmented, validation, directory, settings)
    # It has the optimizer's state too, several times the size of the weights, for each fold.
    (directory / "last.pt").unlink(missing_ok=True)
    return load_weights(model, directory / "best.pt").eval()


def _train(
    network: torch.nn.Module,
    loss: ClassificationLoss,
    training: SubjectDataset,
    validation: ClassifierImages,
    directory: Path,
    settings: ClassifierSettings,
) -> None:
    how: dict[str, Any] = {"device": torch.device(settings.device), "num_workers": settings.num_workers}
    how |= {"batch_size": settings.batch_size, "autocast_dtype": settings.autocast_dtype}
    evaluator = classifier_evaluator(validation, network, loss, **how)
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    history = TrainingHistory(directory, optimizer, evaluator)
    checkpoint = TrainingCheckpoint(directory, network, optimizer, evaluator=evaluator, history=history)
    trainer = SupervisedTrainer(
        device=how["device"],
        max_epochs=settings.max_epochs,
        train_data_loader=DataLoader(
            training,
            batch_size=settings.batch_size,
            shuffle=True,
            # A single image has no variance to normalise by. In every epoch it is another one that is left out.
            drop_last=len(training) > 1 and len(training) % settings.batch_size == 1,
            num_workers=settings.num_workers,
        ),
        network=network,
        optimizer=optimizer,
        loss_function=loss,
        inferer=LogitInferer(settings.autocast_dtype),
        # The order matters: each handler uses the results of those before it.
        train_handlers=[
            FiniteLoss(),
            EpochSeed(settings.seed, training),
            ValidationHandler(1, evaluator),
            history,
            checkpoint,
        ],
        decollate=False,
        optim_set_to_none=True,
    )
    for engine in (trainer, evaluator):
        # A protocol has many trainings; their results stand in its tables, and each training's in history.csv.
        engine.logger.setLevel(logging.WARNING)
    checkpoint.prepare(trainer, resume=checkpoint.last.exists())
    if trainer.state.epoch < settings.max_epochs:
        trainer.run()
    best = {"epoch": evaluator.state.best_metric_epoch, "value": evaluator.state.best_metric}
    write_json(directory / "finished.json", best)


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

    samples: Mapping[str, Mapping[str, object]]
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
