# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Cross entropy with class weights, against the formula."""

from __future__ import annotations

import math

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


@pytest.mark.parametrize("weights", [None, [0.5, 3.0]])
def test_binary_formula(weights) -> None:
    logits, labels = [-1.2, 0.3, 2.0], [1, 0, 1]
    terms = []
    for logit, label in zip(logits, labels, strict=True):
        probability = 1 / (1 + math.exp(-logit))
        entropy = -math.log(probability if label else 1 - probability)
        terms.append(entropy * (weights or [1, 1])[label])
    loss = ClassificationLoss(1, weights)(torch.tensor(logits)[:, None], torch.tensor(labels))
    assert loss.item() == pytest.approx(sum(terms) / 3, rel=1e-5)


@pytest.mark.parametrize("weights", [None, [0.5, 3.0, 1.5]])
def test_formula_of_several_classes(weights) -> None:
    logits, labels = np.random.default_rng(1).normal(size=(4, 3)), [2, 0, 1, 1]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = np.mean([-(weights or [1] * 3)[y] * math.log(p[y]) for p, y in zip(probabilities, labels, strict=True)])
    loss = ClassificationLoss(3, weights)(torch.tensor(logits, dtype=torch.float32), torch.tensor(labels))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_weights_count_in_a_batch_of_one_class() -> None:
    logits, labels = torch.tensor([[0.4], [-1.0]]), torch.tensor([1, 1])
    torch.testing.assert_close(
        ClassificationLoss(1, [1.0, 4.0])(logits, labels), 4 * ClassificationLoss(1)(logits, labels)
    )


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="3 class weights for 2 classes"):
        ClassificationLoss(1, [1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="give positive numbers"):
        ClassificationLoss(1, [1.0, 0.0])
    with pytest.raises(ValueError, match=r"logits of shape \(2, 2\); with num_classes 1 it must be \[B, 1\]"):
        ClassificationLoss(1)(torch.zeros(2, 2), torch.zeros(2, dtype=torch.long))
