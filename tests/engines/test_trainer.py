# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The training engine: it learns, trains both sides, and stops with a clear message."""

from __future__ import annotations

import copy
import logging

import pytest
import torch
from engine_parts import tiny_generator
from monai.engines.utils import IterationEvents

from seq2seq_mri.engines.trainer import Seq2SeqTrainer, autocast
from seq2seq_mri.engines.translation_step import TranslationStep
from seq2seq_mri.losses.generator_loss import Seq2SeqLoss
from seq2seq_mri.networks.discriminator import SequenceDiscriminators

SEQUENCES = {"t1": 1, "t2": 1, "flair": 1}


def smooth_batch() -> dict:
    """A batch of two subjects, one of which lacks a sequence; sequences are contrasts of one anatomy."""
    x, y = torch.meshgrid(torch.linspace(-1, 1, 16), torch.linspace(-1, 1, 16), indexing="ij")
    anatomy = torch.stack([torch.exp(-4 * ((x - shift).square() + y.square())) for shift in (0.0, 0.3)])
    image = torch.stack([anatomy, 1 - anatomy, 0.5 * anatomy], dim=1)[..., None].repeat(1, 1, 1, 1, 3)
    return {
        "image": image,
        "available": torch.tensor([[True, True, True], [True, False, True]]),
        "subject": ["p1", "p2"],
    }


def make_trainer(
    batch: dict | None = None, epochs: int = 1, learning_rate: float = 1e-2, **arguments
) -> Seq2SeqTrainer:
    generator = tiny_generator(SEQUENCES)
    loss = Seq2SeqLoss(lambda_perceptual=0, lambda_cycle=0, lambda_adversarial=arguments.pop("lambda_adversarial", 0.0))
    discriminators = arguments.pop("discriminators", None)
    step = TranslationStep(generator, loss, pairs="all", discriminators=discriminators)
    optimizer = arguments.pop("optimizer", torch.optim.Adam)(generator.parameters(), lr=learning_rate)
    return Seq2SeqTrainer("cpu", epochs, [batch or smooth_batch()], step, optimizer, **arguments)


def make_discriminators() -> SequenceDiscriminators:
    torch.manual_seed(1)
    return SequenceDiscriminators(2, SEQUENCES, in_channels=3, channels=4, num_layers=1)


def weights(module: torch.nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def losses_of(trainer: Seq2SeqTrainer) -> list[float]:
    losses: list[float] = []
    trainer.add_event_handler(
        IterationEvents.MODEL_COMPLETED, lambda engine: losses.append(engine.state.output["loss"])
    )
    trainer.run()
    return losses


def test_training_learns_a_batch() -> None:
    losses = losses_of(make_trainer(epochs=60))
    assert len(losses) == 60
    assert losses[-1] < 0.3 * losses[0]


def test_output_has_the_terms_and_the_images() -> None:
    discriminators = make_discriminators()
    trainer = make_trainer(
        discriminators=discriminators,
        lambda_adversarial=0.5,
        discriminator_optimizer=torch.optim.Adam(discriminators.parameters()),
    )
    trainer.run()
    output = trainer.state.output
    numbers = {name: value for name, value in output.items() if isinstance(value, float)}
    assert numbers.keys() == {"loss", "reconstruction", "adversarial", "discriminator"}
    assert numbers["loss"] == pytest.approx(10 * numbers["reconstruction"] + 0.5 * numbers["adversarial"], rel=1e-5)
    assert output["image"].shape == (2, 3, 16, 16, 3)
    assert [len(group.prediction) for group in output["translation"].translations] == [9 + 4]


def test_one_update_of_each_side() -> None:
    """Gradient descent on Eq. 2 for the D_j, one image at a time; the generator's own step comes first."""
    discriminators = make_discriminators()
    reference = copy.deepcopy(discriminators)
    rate = 0.1
    trainer = make_trainer(
        discriminators=discriminators,
        lambda_adversarial=0.5,
        discriminator_optimizer=torch.optim.SGD(discriminators.parameters(), lr=rate),
        optimizer=torch.optim.SGD,
    )
    generator = copy.deepcopy(trainer.network)
    batch = smooth_batch()
    trainer.run()

    step = TranslationStep(generator, trainer.step.loss, pairs="all", discriminators=reference)
    output = step(batch["image"], batch["available"])
    before = weights(generator)
    gradients = torch.autograd.grad(output.loss, list(generator.parameters()))
    for old, gradient, new in zip(before, gradients, trainer.network.parameters(), strict=True):
        torch.testing.assert_close(old - 1e-2 * gradient, new.detach())

    (group,) = output.translations
    total = torch.zeros(())
    for index, name in enumerate(SEQUENCES):
        real = [batch["image"][b, index].permute(2, 0, 1)[None, None] for b in range(2) if batch["available"][b, index]]
        fake = [group.prediction[k : k + 1].detach() for k in range(13) if group.target[k] == index]
        total = total + torch.stack([(reference(image, name) - 1).square().mean() for image in real]).mean()
        total = total + torch.stack([reference(image, name).square().mean() for image in fake]).mean()
    assert trainer.state.output["discriminator"] == pytest.approx(total.item(), rel=1e-5)
    before = weights(reference)
    gradients = torch.autograd.grad(total, list(reference.parameters()))
    assert all(bool(gradient.any()) for gradient in gradients if gradient.ndim > 1)
    for old, gradient, new in zip(before, gradients, discriminators.parameters(), strict=True):
        torch.testing.assert_close(old - rate * gradient, new.detach(), rtol=1e-4, atol=1e-6)


def test_discriminators_without_weight_are_left_alone() -> None:
    discriminators = make_discriminators()
    before = weights(discriminators)
    trainer = make_trainer(discriminators=discriminators)
    trainer.run()
    assert all(map(torch.equal, before, weights(discriminators)))
    assert "discriminator" not in trainer.state.output


def test_discriminators_need_an_optimizer() -> None:
    with pytest.raises(ValueError, match="give discriminator_optimizer"):
        make_trainer(discriminators=make_discriminators(), lambda_adversarial=1.0)


def test_a_loss_that_is_not_finite_stops_the_training() -> None:
    batch = smooth_batch()
    batch["image"][0, 0, 3, 4, 1] = torch.nan
    batch["subject"] = ["p1", "p1"]
    trainer = make_trainer(batch)
    before = weights(trainer.network)
    with pytest.raises(ValueError, match=r"not finite in iteration 1 \(reconstruction nan\).*images of p1\."):
        trainer.run()
    assert all(map(torch.equal, before, weights(trainer.network)))


def test_bfloat16_autocast_is_close_to_float32() -> None:
    full, half = (losses_of(make_trainer(epochs=3, autocast_dtype=dtype)) for dtype in (None, "bfloat16"))
    assert half != full
    assert half == pytest.approx(full, rel=0.05)


def test_autocast_keeps_parameters_in_float32_and_trains_the_discriminators() -> None:
    discriminators = make_discriminators()
    before = weights(discriminators)
    trainer = make_trainer(
        discriminators=discriminators,
        lambda_adversarial=1.0,
        discriminator_optimizer=torch.optim.Adam(discriminators.parameters()),
        autocast_dtype="bfloat16",
    )
    trainer.run()
    assert {parameter.dtype for parameter in trainer.network.parameters()} == {torch.float32}
    assert not any(map(torch.equal, before, weights(discriminators)))


def test_other_autocast_types_are_refused() -> None:
    with pytest.raises(ValueError, match="Autocast to 'float16' is not supported; choose bfloat16, or null"):
        autocast(torch.device("cpu"), "float16")


@pytest.mark.parametrize("clip", [None, 0.01])
def test_gradient_clip_bounds_the_update(clip) -> None:
    trainer = make_trainer(optimizer=torch.optim.SGD, learning_rate=1.0, gradient_clip=clip)
    before = weights(trainer.network)
    trainer.run()
    after = weights(trainer.network)
    norm = torch.stack([(new - old).square().sum() for old, new in zip(before, after, strict=True)]).sum().sqrt()
    assert norm == pytest.approx(clip, rel=1e-3) if clip else norm > 0.1


def test_a_finished_training_is_left_as_it_is(caplog) -> None:
    trainer = make_trainer(epochs=2)
    trainer.run()
    before = weights(trainer.network)
    with caplog.at_level(logging.INFO, logger=trainer.logger.name):
        trainer.run()
    assert "Epoch 2 of 2 is done; raise max_epochs to go on." in caplog.text
    assert all(map(torch.equal, before, weights(trainer.network)))
    trainer.state.max_epochs = 3
    trainer.run()
    assert trainer.state.epoch == 3
    assert not all(map(torch.equal, before, weights(trainer.network)))
