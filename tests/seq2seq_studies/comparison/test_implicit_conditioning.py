# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Losses of networks that complete what is missing: closed forms, and what may not matter to them."""

from __future__ import annotations

import pytest
import torch

from seq2seq_studies.comparison.implicit_conditioning import ImplicitConditioningLoss, SelectiveAdversarialLoss

TABLE = {"t1": 1, "dce": 3, "t2": 1}
MEASURED = torch.tensor([[True, True, True], [True, False, True], [True, False, False]])
AVAILABLE = torch.tensor([[True, False, False], [False, False, True], [True, False, False]])


def images() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.rand(3, 5, 2, 6, 7), torch.rand(3, 5, 2, 6, 7)


@pytest.mark.parametrize("measure", ["l1", "mse"])
@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_mean_over_hidden_sequences(measure: str, weight: float) -> None:
    prediction, truth = images()
    difference = (prediction - truth).abs() if measure == "l1" else (prediction - truth).square()
    t1, dce, t2 = difference[:, 0], difference[:, 1:4], difference[:, 4]
    hidden = torch.stack([(dce[0].mean() + t2[0].mean()) / 2, t1[1].mean(), torch.tensor(0.0)])
    available = torch.stack([t1[0].mean(), t2[1].mean(), t1[2].mean()])
    loss = ImplicitConditioningLoss(TABLE, measure, lambda_available=weight)(prediction, truth, AVAILABLE, MEASURED)
    torch.testing.assert_close(loss, hidden + weight * available)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_what_was_not_measured_does_not_matter(weight: float) -> None:
    prediction, truth = images()
    prediction.requires_grad_()
    loss = ImplicitConditioningLoss(TABLE, lambda_available=weight)
    expected = loss(prediction, truth, AVAILABLE, MEASURED)
    not_measured = ~MEASURED.repeat_interleave(torch.tensor([1, 3, 1]), 1)
    changed = truth.clone()
    changed[not_measured] = float("nan")
    output = loss(prediction, changed, AVAILABLE, MEASURED)
    torch.testing.assert_close(output, expected)
    output.sum().backward()
    counting = (MEASURED if weight else MEASURED & ~AVAILABLE).repeat_interleave(torch.tensor([1, 3, 1]), 1)
    assert torch.equal(prediction.grad.flatten(2).abs().sum(2) > 0, counting)


def test_arguments_that_cannot_be_used() -> None:
    with pytest.raises(ValueError, match="Unknown reconstruction loss 'l3'"):
        ImplicitConditioningLoss(TABLE, "l3")
    with pytest.raises(ValueError, match="lambda_available is -1"):
        ImplicitConditioningLoss(TABLE, lambda_available=-1)
    prediction, truth = images()
    with pytest.raises(ValueError, match="must be equal, with 5 timepoints"):
        ImplicitConditioningLoss(TABLE)(prediction, truth[:, :4], AVAILABLE, MEASURED)
    with pytest.raises(ValueError, match="available to the network that is not measured"):
        ImplicitConditioningLoss(TABLE)(prediction, truth, MEASURED, AVAILABLE)


def test_selective_adversarial_loss() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 3, 4, 5)
    of_real, of_false = (logits - 1).square().mean((2, 3)), logits.square().mean((2, 3))
    loss = SelectiveAdversarialLoss()
    expected = torch.stack([of_real[0].mean(), of_real[1, [0, 2]].mean(), of_real[2, 0]])
    torch.testing.assert_close(loss.generator(logits, MEASURED), expected)
    torch.testing.assert_close(loss.discriminator(logits, MEASURED, MEASURED), expected)
    expected = torch.stack(
        [(of_real[0, 0] + of_false[0, 1] + of_false[0, 2]) / 3, (of_false[1, 0] + of_real[1, 2]) / 2, of_real[2, 0]]
    )
    torch.testing.assert_close(loss.discriminator(logits, AVAILABLE, MEASURED), expected)
