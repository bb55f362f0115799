# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import pytest
import torch

from seq2seq_mri.losses import generator_loss
from seq2seq_mri.losses.generator_loss import Seq2SeqLoss


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 1, 3, 17, 16, generator=generator), torch.rand(2, 1, 3, 17, 16, generator=generator)


def test_equation_1_with_the_papers_weights(vgg19_file, pair):
    loss = Seq2SeqLoss(perceptual_weights=vgg19_file)
    with torch.no_grad():
        terms = loss.translation(*pair)
        expected = 10 * (pair[0] - pair[1]).abs().mean((1, 2, 3, 4)) + 0.01 * loss.perceptual(*pair)
    assert list(terms) == ["reconstruction", "perceptual"]
    torch.testing.assert_close(loss.total(terms), expected)


def test_all_terms_add_up(pair):
    loss = Seq2SeqLoss(2, 0, 3, 0.5)
    logits = torch.randn(2, 1, 4, 4)
    terms = {
        **loss.translation(*pair),
        "cycle": loss.cycle(*pair),
        "adversarial": loss.adversarial(logits),
    }
    difference = (pair[0] - pair[1]).abs().mean((1, 2, 3, 4))
    expected = 2 * difference + 3 * difference + 0.5 * ((logits - 1) ** 2).mean((1, 2, 3))
    torch.testing.assert_close(loss.total(terms), expected)
    means = {name: value.mean() for name, value in terms.items()}
    torch.testing.assert_close(loss.total(means), expected.mean())


def test_discriminator(pair):
    logits = torch.randn(2, 1, 4, 4)
    loss = Seq2SeqLoss(lambda_perceptual=0)
    torch.testing.assert_close(loss.discriminator(logits, real=True), ((logits - 1) ** 2).mean((1, 2, 3)))
    torch.testing.assert_close(loss.discriminator(logits, real=False), (logits**2).mean((1, 2, 3)))


def test_weight_zero_builds_no_perceptual_network(monkeypatch, pair):
    def refuse(*arguments):
        raise RuntimeError("must not be built")

    monkeypatch.setattr(generator_loss, "SequencePerceptualLoss", refuse)
    loss = Seq2SeqLoss(lambda_perceptual=0)
    assert loss.perceptual is None
    assert not list(loss.parameters())
    assert list(loss.translation(*pair)) == ["reconstruction"]
    with pytest.raises(RuntimeError, match="must not be built"):
        Seq2SeqLoss()


def test_the_other_measure_is_used_by_reconstruction_and_cycle(pair):
    loss = Seq2SeqLoss(lambda_perceptual=0, reconstruction="mse")
    expected = (pair[0] - pair[1]).square().mean((1, 2, 3, 4))
    torch.testing.assert_close(loss.translation(*pair)["reconstruction"], expected)
    torch.testing.assert_close(loss.cycle(*pair), expected)


@pytest.mark.parametrize("term", ["reconstruction", "perceptual", "cycle", "adversarial"])
@pytest.mark.parametrize("weight", [-1, float("nan"), float("inf")])
def test_impossible_weights(term, weight):
    with pytest.raises(ValueError, match=f"lambda_{term} is {weight}"):
        Seq2SeqLoss(**{"lambda_perceptual": 0, f"lambda_{term}": weight})


def test_unknown_terms():
    loss = Seq2SeqLoss(lambda_perceptual=0)
    with pytest.raises(ValueError, match="style; known are reconstruction"):
        loss.total({"style": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"\(none\)"):
        loss.total({})
