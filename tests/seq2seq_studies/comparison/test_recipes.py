# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The losses of each method, compared with their sums written out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from seq2seq_studies.comparison.implicit_conditioning import hide_by_curriculum, hide_sequences
from seq2seq_studies.comparison.methods import METHODS


@pytest.fixture
def batch(random_batches) -> tuple[torch.Tensor, torch.Tensor]:
    return random_batches(0)


@pytest.mark.parametrize("method", METHODS)
def test_losses_have_gradients_for_what_they_train(method, tiny_recipe, batch) -> None:
    recipe = tiny_recipe(method)
    torch.manual_seed(1)
    recipe.generator_loss(*batch, 0).backward()
    assert any(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in recipe.network.parameters())
    if recipe.discriminator is None:
        assert recipe.discriminator_loss() is None
        return
    recipe.network.zero_grad(set_to_none=True)
    recipe.discriminator.zero_grad(set_to_none=True)
    recipe.discriminator_loss().backward()
    assert any(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in recipe.discriminator.parameters())
    assert all(weight.grad is None for weight in recipe.network.parameters())


def test_pix2pix_trains_the_networks_of_the_drawn_sources_alone(tiny_recipe, batch) -> None:
    image, measured = batch
    recipe = tiny_recipe("pix2pix")
    torch.manual_seed(2)
    available = hide_sequences(measured, 3, 3)
    torch.manual_seed(2)
    loss = recipe.generator_loss(image, measured, 0)
    loss.backward()

    network, expected, judged, used = recipe.network, 0.0, 0.0, set()
    for index, (source, target) in enumerate(network.pairs):
        rows = [row for row in range(2) if available[row, source] and measured[row, target]]
        if rows:
            used.add(index)
            given, truth = (image[rows, place].movedim(-1, 1) for place in (source, target))
            made = network.networks[index](given)
            real, fake = (
                recipe.discriminator[index](given[:, None], shown[:, None]) for shown in (truth, made.detach())
            )
            expected += 100 * (made - truth).abs().mean() + (fake - 1).square().mean()
            judged += ((real - 1).square().mean() + fake.square().mean()) / 2
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(recipe.discriminator_loss(), judged)
    trained = {index for index, one in enumerate(network.networks) if next(one.parameters()).grad is not None}
    assert trained == used


def test_mm_gan_looks_at_what_was_hidden(tiny_recipe, batch) -> None:
    image, measured = batch
    recipe = tiny_recipe("mm_gan", seed=3)
    recipe.network.eval()
    available = hide_by_curriculum(measured, 0, 1, seed=3)
    truth = image.movedim(-1, 2)
    predicted = recipe.network.predict(truth, available)
    completed = torch.where(available[:, :, None, None, None], truth, predicted)
    completed[1, 2] = 0  # never measured
    hidden = measured & ~available
    assert hidden.sum(1).tolist() == [1, 1]
    differences = (predicted - truth).abs().mean((2, 3, 4))
    scores = recipe.discriminator(truth, completed)
    adversarial = [(scores[row, measured[row]] - 1).square().mean() for row in range(2)]
    expected = 0.9 * differences[hidden].mean() + 0.1 * torch.stack(adversarial).mean()
    torch.testing.assert_close(recipe.generator_loss(image, measured, 0), expected)
    wanted = [(scores[row, measured[row]] - available[row, measured[row], None, None].float()) for row in range(2)]
    real = recipe.discriminator(truth, truth)
    judged = [(wanted[row].square().mean() + (real[row, measured[row]] - 1).square().mean()) / 2 for row in range(2)]
    torch.testing.assert_close(recipe.discriminator_loss(), torch.stack(judged).mean())


def test_resvit_reproduces_what_it_is_given(tiny_recipe, batch) -> None:
    image, measured = batch
    recipe = tiny_recipe("resvit", seed=5)
    recipe.network.eval()
    available = hide_by_curriculum(measured, 0, 0, seed=5)
    truth = image.movedim(-1, 2)
    predicted = recipe.network.predict(truth, available)
    differences = (predicted - truth).abs().mean((2, 3, 4))
    hidden = measured & ~available
    lines = [differences[row, hidden[row]].mean() + differences[row, available[row]].mean() for row in range(2)]
    completed = torch.where(available[:, :, None, None, None], truth, predicted)
    completed[1, 2] = 0
    given = truth * available[:, :, None, None, None]
    scores = recipe.discriminator(given, completed)
    expected = 100 * torch.stack(lines).mean() + (scores - 1).square().mean()
    torch.testing.assert_close(recipe.generator_loss(image, measured, 0), expected)
    judged = ((recipe.discriminator(given, truth) - 1).square().mean() + scores.square().mean()) / 2
    torch.testing.assert_close(recipe.discriminator_loss(), judged)


def test_seq2seq_trains_a_pair_as_the_bundle_does(tiny_recipe, batch) -> None:
    image, measured = batch
    recipe = tiny_recipe("seq2seq_c")
    torch.manual_seed(4)
    loss = recipe.generator_loss(image, measured, 0)
    torch.manual_seed(4)
    output = recipe.step(image, measured)
    torch.testing.assert_close(loss, 10 * output.terms["reconstruction"])
    group, expected = output.translations[0], torch.zeros(())
    for row, (subject, source, target) in enumerate(zip(group.subject, group.source, group.target, strict=True)):
        count = int(measured[subject].sum())
        # One over the probability of the pair, so that the expectation is the sum over all pairs (Eq. 1).
        weight = count if source == target else count * (count - 1)
        expected = expected + weight * F.l1_loss(group.prediction[row, 0], image[subject, target].movedim(-1, 0))
    torch.testing.assert_close(output.terms["reconstruction"], expected / (len(image) * measured.shape[1] ** 2))


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_of_one_sequence_is_no_error(method, tiny_recipe) -> None:
    recipe = tiny_recipe(method)
    measured = torch.tensor([[True, False, False, False]])
    image = torch.rand(1, 4, 32, 32, 1) * measured[:, :, None, None, None]
    assert torch.isfinite(recipe.generator_loss(image, measured, 0))
    judged = recipe.discriminator_loss()
    assert judged is None or torch.isfinite(judged)
