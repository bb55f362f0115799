# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Logits and probabilities of a classifier, and the engine that measures how good they are on labelled images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from ignite.metrics import Accuracy, Loss, Metric
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator
from monai.handlers import ROCAUC
from monai.inferers import Inferer
from monai.networks.utils import eval_mode
from torch.utils.data import Dataset

from seq2seq_mri.losses.classification import ClassificationLoss
from seq2seq_mri.training.classifier_images import ClassifierImages
from seq2seq_mri.training.trainer import autocast

__all__ = [
    "LogitInferer",
    "class_probabilities",
    "classifier_evaluator",
    "decision_and_label",
    "logits_and_label",
    "predict_probabilities",
    "score_and_label",
]


class LogitInferer(Inferer):
    """Calls a network on a batch of whole images, and gives its logits in float32.

    Args:
        autocast_dtype: ``"bfloat16"`` to compute in mixed precision, or ``None`` for float32.
    """

    def __init__(self, autocast_dtype: str | None = None) -> None:
        self.autocast_dtype = autocast_dtype

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: object, **kwargs: object
    ) -> torch.Tensor:
        """Return logits ``[B, num_classes]`` of ``inputs`` ``[B, C, *spatial]``."""
        with autocast(inputs.device, self.autocast_dtype):
            logits = network(inputs, *args, **kwargs)
        return logits.float()


def classifier_evaluator(
    images: ClassifierImages,
    network: torch.nn.Module,
    loss: ClassificationLoss,
    *,
    batch_size: int = 2,
    device: torch.device | str = "cpu",
    autocast_dtype: str | None = None,
    num_workers: int = 0,
) -> SupervisedEvaluator:
    """Return MONAI's engine that measures a classifier on labelled images.

    Its metrics are ``auc`` (binary tasks; area under the ROC curve), ``accuracy`` (binary: at a probability of one
    half) and ``validation_loss`` (as ``loss``). The first decides which epoch of a training is best; of epochs with the
    same value it is the earliest.

    Args:
        images: what to measure on.
        network: gives logits ``[B, num_classes]``.
        loss: of logits and labels.
        batch_size: images at a time; makes no difference to the result but rounding.
        device: where to compute.
        autocast_dtype: ``"bfloat16"`` or ``None``.
        num_workers: processes that load images.

    Raises:
        ValueError: when the task is binary and all labels are equal, which leaves the AUC undefined.
    """
    binary = loss.num_classes == 1
    metrics: dict[str, Metric] = {
        "accuracy": Accuracy(output_transform=decision_and_label if binary else logits_and_label),
        "validation_loss": Loss(loss, output_transform=logits_and_label),
    }
    if binary:
        if len(set(images.labels.tolist())) < 2:
            raise ValueError(
                f"All {len(images)} subjects of the validation data set have label {images.labels[0]}; the AUC "
                "needs both classes. Stratify the split by the label."
            )
        metrics["auc"] = ROCAUC(output_transform=score_and_label)
    name = "auc" if binary else "accuracy"
    return SupervisedEvaluator(
        device=torch.device(device),
        val_data_loader=DataLoader(images, batch_size=batch_size, num_workers=num_workers),
        network=network,
        inferer=LogitInferer(autocast_dtype),
        key_val_metric={name: metrics.pop(name)},
        additional_metrics=metrics,
        decollate=False,
    )


def class_probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Return probabilities in [0, 1]: ``[B]`` of class 1 for logits ``[B, 1]``, else ``[B, K]`` that add up to 1."""
    return torch.sigmoid(logits[:, 0]) if logits.shape[1] == 1 else torch.softmax(logits, dim=1)


def predict_probabilities(
    network: torch.nn.Module,
    dataset: Dataset,
    *,
    batch_size: int = 2,
    device: torch.device | str = "cpu",
    autocast_dtype: str | None = None,
    num_workers: int = 0,
) -> np.ndarray:
    """Return a classifier's probabilities of each image of a data set, in its order.

    Args:
        network: gives logits ``[B, num_classes]``; it is moved to ``device``, and is in the mode of evaluation during
            the call.
        dataset: items with ``image`` (``[C, *spatial]``) and ``subject``; labels are not looked at.
        batch_size, device, autocast_dtype, num_workers: as in :func:`classifier_evaluator`.

    Returns:
        float32 ``[N]``, the probability of class 1, for a binary task (one logit); else ``[N, num_classes]``.
    """
    loader = DataLoader(dataset, batch_size=batch_size, num_workers=num_workers)
    inferer = LogitInferer(autocast_dtype)
    with eval_mode(network.to(device)), torch.inference_mode():
        logits = (inferer(batch["image"].to(device), network) for batch in loader)
        return np.concatenate([class_probabilities(one).cpu().numpy() for one in logits])


def logits_and_label(output: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits ``[B, num_classes]`` and labels ``[B]`` of an engine's output, for a metric."""
    return output["pred"], output["label"]


def decision_and_label(output: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what a binary classifier decides at a probability of one half, 0 or 1, and labels, both ``[B]``."""
    return (output["pred"][:, 0] > 0).long(), output["label"]


def score_and_label(output: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a number that is larger for likelier cases of a binary task, and labels, both ``[B]``."""
    # Logits have the order of the probabilities, which become equal to 1 for large ones.
    return output["pred"][:, 0], output["label"]
