# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The generator's loss against Eq. 1, 2 and 3, term by term."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seq2seq_mri.losses import generator_loss
from seq2seq_mri.losses.generator_loss import Seq2SeqLoss


@pytest.fixture
def pair() -> tuple[torch.Tensor, ...]:
    return torch.rand(2, 2, 1, 3, 17, 16, generator=torch.Generator().manual_seed(0)).unbind()


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(3, 1, 5, 7, generator=torch.Generator().manual_seed(0))


def test_equation_1_with_the_papers_weights(vgg19_file, pair):
    loss = Seq2SeqLoss(perceptual_weights=vgg19_file)
    with torch.no_grad():
        terms = loss.translation(*pair)
        expected = 10 * (pair[0] - pair[1]).abs().mean((1, 2, 3, 4)) + 0.01 * loss.perceptual(*pair)
    assert list(terms) == ["reconstruction", "perceptual"]
    torch.testing.assert_close(loss.total(terms), expected)


def test_equation_2_with_negative_logits_unchanged(logits):
    """A leaky ReLU before the square, MONAI's default, would shrink the negative half of these logits."""
    loss = Seq2SeqLoss(lambda_perceptual=0)
    assert (logits < 0).any()
    torch.testing.assert_close(loss.adversarial(logits), ((logits - 1) ** 2).mean((1, 2, 3)))
    torch.testing.assert_close(loss.discriminator(logits, real=True), ((logits - 1) ** 2).mean((1, 2, 3)))
    torch.testing.assert_close(loss.discriminator(logits, real=False), (logits**2).mean((1, 2, 3)))


def test_all_terms_add_up(pair, logits):
    loss = Seq2SeqLoss(2, 0, 3, 0.5)
    terms = loss.translation(*pair)
    terms |= {"cycle": loss.reconstruction(*pair), "adversarial": loss.adversarial(logits[:2])}
    difference = (pair[0] - pair[1]).abs().mean((1, 2, 3, 4))
    expected = 2 * difference + 3 * difference + 0.5 * ((logits[:2] - 1) ** 2).mean((1, 2, 3))
    torch.testing.assert_close(loss.total(terms), expected)


def test_weight_zero_builds_no_perceptual_network(monkeypatch, pair):
    monkeypatch.setattr(generator_loss, "SequencePerceptualLoss", None)
    assert list(Seq2SeqLoss(lambda_perceptual=0).translation(*pair)) == ["reconstruction"]
    assert list(Seq2SeqLoss(lambda_reconstruction=0, lambda_perceptual=0).translation(*pair)) == []


def smooth_l1(difference: np.ndarray) -> np.ndarray:
    size = np.abs(difference)
    return np.where(size < 1, 0.5 * size**2, size - 0.5)


@pytest.mark.parametrize(("measure", "formula"), [("l1", np.abs), ("smooth_l1", smooth_l1), ("mse", np.square)])
@pytest.mark.parametrize("shape", [(2, 1, 3, 7, 5), (3, 4, 1, 5, 3, 9)])
def test_reconstruction_equals_its_formula_per_sample(measure, formula, shape):
    random = np.random.default_rng(0)
    prediction, truth = 3 * random.normal(size=shape), random.normal(size=shape)
    expected = [formula(p - t).mean() for p, t in zip(prediction, truth, strict=True)]
    loss = Seq2SeqLoss(lambda_perceptual=0, reconstruction=measure)
    found = loss.reconstruction(torch.tensor(prediction), torch.tensor(truth))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


def test_half_precision_is_averaged_in_single():
    prediction = torch.full((1, 1, 1, 300, 300), 0.25, dtype=torch.bfloat16)
    found = Seq2SeqLoss(lambda_perceptual=0).reconstruction(prediction, torch.zeros_like(prediction))
    assert found.dtype == torch.float32
    assert found.item() == 0.25


@pytest.mark.parametrize(
    ("term", "weight"),
    [("reconstruction", -1), ("perceptual", float("nan")), ("cycle", float("inf")), ("adversarial", -1)],
)
def test_impossible_weights(term, weight):
    with pytest.raises(ValueError, match=f"lambda_{term} is {weight}"):
        Seq2SeqLoss(**{"lambda_perceptual": 0, f"lambda_{term}": weight})


def test_other_mistakes():
    with pytest.raises(ValueError, match="'huber'; choose one of l1, smooth_l1, mse"):
        Seq2SeqLoss(lambda_perceptual=0, reconstruction="huber")
    with pytest.raises(ValueError, match="the weights of all terms are 0"):
        Seq2SeqLoss(0, 0, 0, 0).total({})
