# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import pytest
import torch
from monai.networks.nets import PatchDiscriminator

from seq2seq_mri.losses.generator_loss import LeastSquaresAdversarialLoss


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(3, 1, 5, 7, generator=torch.Generator().manual_seed(0))


def test_equation_2_with_negative_logits_unchanged(logits):
    """A leaky ReLU before the square, MONAI's default, would shrink the negative half of these logits."""
    loss = LeastSquaresAdversarialLoss()
    assert (logits < 0).any()
    torch.testing.assert_close(loss.generator(logits), ((logits - 1) ** 2).mean((1, 2, 3)))
    torch.testing.assert_close(loss.discriminator(logits, real=True), ((logits - 1) ** 2).mean((1, 2, 3)))
    torch.testing.assert_close(loss.discriminator(logits, real=False), (logits**2).mean((1, 2, 3)))


def test_perfect_discriminator_and_fooled_discriminator():
    loss = LeastSquaresAdversarialLoss()
    ones, zeros = torch.ones(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)
    assert loss.discriminator(ones, real=True).sum() + loss.discriminator(zeros, real=False).sum() == 0
    assert loss.generator(ones).sum() == 0
    assert loss.generator(zeros).tolist() == [1, 1]


def test_a_step_along_the_gradient_fools_a_patch_discriminator():
    torch.manual_seed(0)
    network = PatchDiscriminator(spatial_dims=2, channels=4, in_channels=3, out_channels=1, num_layers_d=1)
    image = torch.rand(2, 3, 16, 16, requires_grad=True)
    loss = LeastSquaresAdversarialLoss()
    before = loss.generator(network(image)[-1])
    (gradient,) = torch.autograd.grad(before.sum(), image)
    after = loss.generator(network(image - 0.1 * gradient)[-1])
    assert before.shape == (2,)
    assert (after < before).all()
