# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The loss of the classifiers: cross entropy, binary or over several classes, with a weight for each class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import nn

__all__ = ["ClassificationLoss", "balanced_class_weights"]


def balanced_class_weights(labels: ArrayLike, num_classes: int = 1) -> list[float]:
    """Return weights with which every class counts the same: w_c = N / (K n_c).

    N is the number of labels, n_c that of class c, and K the number of classes that occur. The mean of the weights over
    the labels is 1, so that the scale of the loss does not change. A class that does not occur has weight 1.

    Args:
        labels: whole numbers from 0 on, ``[N]``.
        num_classes: 1 for a binary task, which has two weights.
    """
    counts = np.bincount(np.asarray(labels, dtype=np.int64), minlength=max(2, num_classes))
    present = np.count_nonzero(counts)
    return [float(counts.sum() / (present * count)) if count else 1.0 for count in counts]


class ClassificationLoss(nn.Module):
    """Mean over a batch of w_y times the cross entropy of each sample, in nats; y is its label.

    The mean is over the number of samples, not over their weights as in :func:`torch.nn.functional.cross_entropy`: in
    small batches, which are often of one class only, the weights would cancel.

    Args:
        num_classes: 1 for a binary task (logits ``[B, 1]``, labels 0 and 1), else the number of classes.
        class_weights: a positive weight for each class (two for a binary task), or ``None`` for equal ones.

    Raises:
        ValueError: when there is another number of weights, or one is not positive.
    """

    def __init__(self, num_classes: int = 1, class_weights: Sequence[float] | None = None) -> None:
        super().__init__()
        count = max(2, num_classes)
        weights = torch.ones(count) if class_weights is None else torch.as_tensor(class_weights, dtype=torch.float32)
        if weights.shape != (count,):
            raise ValueError(f"There are {len(weights)} class weights for {count} classes; give one for each.")
        if not bool(((weights > 0) & weights.isfinite()).all()):
            raise ValueError(f"The class weights are {weights.tolist()}; give positive numbers.")
        self.num_classes = num_classes
        self.weights: torch.Tensor
        self.register_buffer("weights", weights)

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss, a number, of logits ``[B, num_classes]`` and labels, int64 ``[B]``.

        Raises:
            ValueError: when the network does not give ``num_classes`` logits.
        """
        if logits.ndim != 2 or logits.shape[1] != self.num_classes:
            raise ValueError(
                f"The network gives logits of shape {tuple(logits.shape)}; with num_classes {self.num_classes} it must "
                f"be [B, {self.num_classes}]."
            )
        if self.num_classes == 1:
            entropy = F.binary_cross_entropy_with_logits(logits[:, 0], labels.to(logits.dtype), reduction="none")
        else:
            entropy = F.cross_entropy(logits, labels, reduction="none")
        return (self.weights.to(logits.device)[labels] * entropy).mean()
