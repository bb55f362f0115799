# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Training one classifier: a fold of a cross-validation, or a point of a learning curve.

The settings are the paper's where it gives them: Adam with a learning rate of 1e-3, 50 epochs, batches of 2 volumes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from ignite.engine import Events
from monai.data import DataLoader
from monai.engines import SupervisedTrainer
from monai.handlers import ValidationHandler

from seq2seq_mri.evaluation.classification.classifier_evaluator import (
    LogitInferer,
    classifier_evaluator,
    key_metric_name,
)
from seq2seq_mri.files import atomic_path, check_writable_directory
from seq2seq_mri.losses.classification import ClassificationLoss, balanced_class_weights
from seq2seq_mri.training.checkpoint import TrainingCheckpoint, load_weights
from seq2seq_mri.training.handlers import EpochSeed, LossProgressBar, TrainingHistory
from seq2seq_mri.training.labelled_images import LabelledImages

__all__ = ["FiniteLoss", "FittedClassifier", "classifier_trainer", "fit_classifier"]


class FittedClassifier(NamedTuple):
    """A trained classifier: the network with the best epoch's weights, in the mode of evaluation."""

    network: torch.nn.Module
    #: File of the best epoch's weights.
    weights: Path
    #: The best epoch, counted from 1.
    epoch: int
    #: Name of the metric that chose it, ``"auc"`` or ``"accuracy"``.
    metric: str
    #: Its value on the validation data.
    value: float


class FiniteLoss:
    """Stops a training when a loss is not finite, and gives the loss to other handlers as a plain number."""

    def attach(self, engine: Any) -> None:
        """Look at the loss after every iteration."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        """Check an iteration's loss.

        Raises:
            ValueError: when it is not finite.
        """
        loss = engine.state.output["loss"].detach().item()
        if not math.isfinite(loss):
            raise ValueError(
                f"The loss is {loss} in iteration {engine.state.iteration}; lower the learning rate, or check the "
                f"images of {', '.join(engine.state.batch.get('subject', []))}."
            )
        # MONAI's keys are members of an enumeration, which a checkpoint of the history could not be read back with.
        engine.state.output = {**{str(name): value for name, value in engine.state.output.items()}, "loss": loss}


def classifier_trainer(
    images: LabelledImages,
    network: torch.nn.Module,
    loss: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    max_epochs: int = 50,
    batch_size: int = 2,
    device: torch.device | str = "cpu",
    autocast_dtype: str | None = None,
    num_workers: int = 0,
    handlers: Sequence = (),
) -> SupervisedTrainer:
    """Return MONAI's engine that trains a classifier on labelled images, in another order in every epoch.

    A last batch of a single image, which has no variance to normalise by, is left out; it is another image in every
    epoch.

    Args:
        images: what to train on.
        network: gives logits ``[B, num_classes]``; on ``device``.
        loss: of logits and labels.
        optimizer: of the network.
        max_epochs: passes over the images.
        batch_size: images of a step.
        device: where to compute.
        autocast_dtype: ``"bfloat16"`` or ``None``.
        num_workers: processes that load images.
        handlers: of the engine; they come after :class:`FiniteLoss`.
    """
    return SupervisedTrainer(
        device=torch.device(device),
        max_epochs=max_epochs,
        train_data_loader=DataLoader(
            images,
            batch_size=batch_size,
            shuffle=True,
            drop_last=len(images) > 1 and len(images) % batch_size == 1,
            num_workers=num_workers,
        ),
        network=network,
        optimizer=optimizer,
        loss_function=loss,
        inferer=LogitInferer(autocast_dtype),
        train_handlers=[FiniteLoss(), *handlers],
        decollate=False,
        optim_set_to_none=True,
    )


def fit_classifier(
    training: Any,
    validation: Any,
    *,
    network: Callable[[], torch.nn.Module],
    output_dir: str | Path,
    num_classes: int = 1,
    max_epochs: int = 50,
    batch_size: int = 2,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.0,
    class_weights: Literal["balanced"] | Sequence[float] | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    autocast_dtype: str | None = None,
    num_workers: int = 0,
    experiment: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> FittedClassifier:
    """Train a classifier, and return it with the weights of the epoch that was best on the validation data.

    Everything random, the first weights too, follows from ``seed``: on a CPU two trainings with equal arguments give
    equal weights. A training that was interrupted goes on after its last epoch, with the same result as one that was
    not; one that is finished is not repeated. ``output_dir`` receives ``settings.json`` (the arguments and a digest of
    the subjects and labels), ``history.csv`` (every epoch), ``best.pt`` (weights), ``last.pt`` (for a resume; removed
    at the end) and ``finished.json`` (the best epoch and its metric).

    Args:
        training: data set of items ``{"image": [C, *spatial], "label": whole number, "subject": name}``, see
            :class:`LabelledImages`. One with ``set_epoch`` is told the epoch.
        validation: likewise; chooses the best epoch, and is not trained on.
        network: builds the network, for example ``partial(build_classifier, spatial_dims=3, in_channels=2)``, or in a
            config ``"_mode_": "callable"``. A function, so that no training starts from the weights of another.
        output_dir: folder of this training.
        num_classes: 1 for a binary task (one logit; the best epoch has the largest AUC), else the number of classes
            (the best epoch has the largest accuracy).
        max_epochs: passes over the training data.
        batch_size: images of a step.
        learning_rate: of Adam.
        weight_decay: of Adam.
        class_weights: ``"balanced"`` for :func:`balanced_class_weights` of the
            training labels, a weight for each class (two for a binary task), or ``None`` for equal ones.
        seed: of everything random. It is set globally, and again at the start of each epoch.
        device: where to train.
        autocast_dtype: ``"bfloat16"`` or ``None``.
        num_workers: processes that load images.
        experiment: what else, in terms of JSON, a training must have in common with this to be taken up, for example
            the channels of the images.
        progress: whether to show a progress bar over the iterations of each epoch.

    Raises:
        ValueError: when a data set is empty, has one class only, shares a subject with the other, or has an image that
            is not finite; when ``network`` is no function; when ``output_dir`` holds another training.
    """
    if isinstance(network, torch.nn.Module):
        raise ValueError(
            "network is a network; give a function that builds one, so that every training starts from new weights."
        )
    if max_epochs < 1 or batch_size < 1:
        raise ValueError(f"max_epochs is {max_epochs} and batch_size {batch_size}; both must be at least 1.")
    images = LabelledImages(training, num_classes, "training")
    held_out = LabelledImages(validation, num_classes, "validation")
    _check_split(images, held_out)
    weights = balanced_class_weights(images.labels, num_classes) if class_weights == "balanced" else class_weights
    loss = ClassificationLoss(num_classes, weights)
    directory = check_writable_directory(output_dir)
    settings = {
        "num_classes": num_classes,
        "max_epochs": max_epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "class_weights": [round(weight, 6) for weight in loss.weights.tolist()],
        "seed": seed,
        "autocast_dtype": autocast_dtype,
        "training": _digest(images),
        "validation": _digest(held_out),
        "experiment": dict(experiment or {}),
    }
    _take_up(directory, settings)

    torch.manual_seed(seed)
    model = network().to(device)
    best = directory / "best.pt"
    finished = directory / "finished.json"
    if not finished.is_file():
        loading: dict[str, Any] = {
            "batch_size": batch_size,
            "device": device,
            "autocast_dtype": autocast_dtype,
            "num_workers": num_workers,
        }
        evaluator = classifier_evaluator(held_out, model, loss, **loading)
        optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate, weight_decay=weight_decay)
        history = TrainingHistory(directory, optimizer, evaluator)
        checkpoint = TrainingCheckpoint(directory, model, optimizer, evaluator=evaluator, history=history)
        seeding = EpochSeed(seed, training if hasattr(training, "set_epoch") else None)
        bars = [LossProgressBar()] if progress else []
        trainer = classifier_trainer(
            images,
            model,
            loss,
            optimizer,
            max_epochs=max_epochs,
            # The order matters: each handler uses the results of those before it.
            handlers=[seeding, *bars, ValidationHandler(1, evaluator), history, checkpoint],
            **loading,
        )
        for engine in (trainer, evaluator):
            # A protocol has many trainings; their results stand in its tables, and each training's in history.csv.
            engine.logger.setLevel(logging.WARNING)
        checkpoint.prepare(trainer, resume=checkpoint.last.exists())
        if trainer.state.epoch < max_epochs:
            trainer.run()
        _write_json(finished, {"epoch": evaluator.state.best_metric_epoch, "value": evaluator.state.best_metric})
    # It has the optimizer's state too, several times the size of the weights, for each fold.
    (directory / "last.pt").unlink(missing_ok=True)
    result = _read_json(finished)
    load_weights(model, best)
    return FittedClassifier(
        model.eval(), best, int(result["epoch"]), key_metric_name(num_classes), float(result["value"])
    )


def _check_split(training: LabelledImages, validation: LabelledImages) -> None:
    if len(set(training.labels.tolist())) < 2:
        raise ValueError(
            f"All {len(training)} subjects of the training data set have label {training.labels[0]}; a classifier "
            "needs at least two classes. Stratify the split by the label."
        )
    shared = sorted(set(training.subjects) & set(validation.subjects))
    if shared:
        raise ValueError(
            f"{len(shared)} subjects are both in the training and in the validation data set, {shared[0]} for example; "
            "each may be in one of them only."
        )


def _digest(images: LabelledImages) -> str:
    content = json.dumps([images.subjects, images.labels.tolist()])
    return f"{len(images)} subjects, sha256 {hashlib.sha256(content.encode()).hexdigest()[:16]}"


def _take_up(directory: Path, settings: dict[str, Any]) -> None:
    """Check that a training which ``directory`` holds has the same settings, or write them when it holds none."""
    path = directory / "settings.json"
    if path.is_file():
        stored, given = _read_json(path), json.loads(json.dumps(settings))
        different = [
            f"{name} {stored.get(name)!r} instead of {value!r}"
            for name, value in given.items()
            if stored.get(name) != value
        ]
        if different:
            raise ValueError(
                f"{directory} holds a training with other settings: {'; '.join(different)}. Give another output "
                "directory, or remove it."
            )
        return
    if any((directory / name).exists() for name in ("last.pt", "best.pt", "finished.json")):
        raise ValueError(f"{directory} holds a training of another kind; give another output directory, or remove it.")
    _write_json(path, settings)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged; remove {path.parent} and train again.") from error
