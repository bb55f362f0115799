# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Cross entropy with class weights, against the formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from seq2seq_mri.losses.classification import ClassificationLoss, balanced_class_weights


@pytest.mark.parametrize("num_classes", [1, 4])
def test_balanced_weights_are_those_of_scikit_learn(num_classes: int) -> None:
    labels = np.random.default_rng(0).choice(max(2, num_classes), 50, p=None if num_classes > 1 else [0.8, 0.2])
    expected = compute_class_weight("balanced", classes=np.unique(labels), y=labels)
    weights = balanced_class_weights(labels, num_classes)
    np.testing.assert_allclose(weights, expected)
    assert np.mean(np.asarray(weights)[labels]) == pytest.approx(1)


def test_weight_of_an_absent_class() -> None:
    assert balanced_class_weights([0, 0, 0, 3], 5) == pytest.approx([4 / 6, 1, 1, 2, 1])


@pytest.mark.parametrize(("num_classes", "weights"), [(1, None), (1, [0.5, 3.0]), (3, None), (3, [0.5, 3.0, 1.5])])
def test_formula(num_classes: int, weights) -> None:
    logits, labels = np.random.default_rng(1).normal(size=(4, num_classes)), [1, 0, 1, 1]
    scores = np.exp(logits if num_classes > 1 else np.hstack([np.zeros_like(logits), logits]))
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    expected = np.mean([-(weights or [1] * 3)[y] * np.log(p[y]) for p, y in zip(probabilities, labels, strict=True)])
    loss = ClassificationLoss(num_classes, weights)(torch.tensor(logits, dtype=torch.float32), torch.tensor(labels))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="3 class weights for 2 classes"):
        ClassificationLoss(1, [1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="give positive numbers"):
        ClassificationLoss(1, [1.0, 0.0])
    with pytest.raises(ValueError, match=r"logits of shape \(2, 2\); with num_classes 1 it must be \[B, 1\]"):
        ClassificationLoss(1)(torch.zeros(2, 2), torch.zeros(2, dtype=torch.long))
