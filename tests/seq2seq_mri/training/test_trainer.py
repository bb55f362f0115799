# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The training engine: it learns, trains both sides, and stops with a clear message."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from functools import partial

import pytest
import torch
from engine_parts import tiny_generator
from ignite.engine import Events
from monai.engines.utils import IterationEvents
from torch.nn.utils import parameters_to_vector

from seq2seq_mri.losses.generator_loss import Seq2SeqLoss
from seq2seq_mri.networks.discriminator import SequenceDiscriminators
from seq2seq_mri.training.handlers import loss_terms
from seq2seq_mri.training.trainer import MOST_SKIPPED, Seq2SeqTrainer, autocast
from seq2seq_mri.training.translation_step import TranslationStep

SEQUENCES = {"t1": 1, "t2": 1, "flair": 1}
ADAM = partial(torch.optim.Adam, lr=1e-2)


def smooth_batch() -> dict:
    """A batch of two subjects, one of which lacks a sequence; sequences are contrasts of one anatomy."""
    x, y = torch.meshgrid(torch.linspace(-1, 1, 16), torch.linspace(-1, 1, 16), indexing="ij")
    anatomy = torch.stack([torch.exp(-4 * ((x - shift).square() + y.square())) for shift in (0.0, 0.3)])
    image = torch.stack([anatomy, 1 - anatomy, 0.5 * anatomy], dim=1)[..., None].repeat(1, 1, 1, 1, 3)
    available = torch.tensor([[True, True, True], [True, False, True]])
    return {"image": image, "available": available, "subject": ["p1", "p2"]}


def make_trainer(
    batch: dict | None = None,
    epochs: int = 1,
    lambda_adversarial: float = 0.0,
    optimizer: Callable = ADAM,
    **arguments,
) -> Seq2SeqTrainer:
    """Return a trainer of a tiny generator and discriminators, with an optimizer of the same kind for both."""
    generator = tiny_generator(SEQUENCES)
    discriminators = SequenceDiscriminators(2, SEQUENCES, in_channels=3, channels=4, num_layers=1)
    loss = Seq2SeqLoss(lambda_perceptual=0, lambda_cycle=0, lambda_adversarial=lambda_adversarial)
    step = TranslationStep(generator, loss, pairs="all", cycles="all", discriminators=discriminators)
    optimizers = {
        "optimizer": optimizer(generator.parameters()),
        "discriminator_optimizer": optimizer(discriminators.parameters()),
    }
    data = [batch or smooth_batch()]
    return Seq2SeqTrainer(step, device="cpu", max_epochs=epochs, train_data_loader=data, **(optimizers | arguments))


def weights(module: torch.nn.Module) -> torch.Tensor:
    return parameters_to_vector(module.parameters()).detach().clone()


def losses_of(trainer: Seq2SeqTrainer) -> list[float]:
    losses: list[float] = []
    trainer.add_event_handler(
        IterationEvents.MODEL_COMPLETED, lambda engine: losses.append(float(engine.state.output["loss"]))
    )
    trainer.run()
    return losses


def test_training_learns_a_batch_and_leaves_discriminators_without_weight_alone() -> None:
    trainer = make_trainer(epochs=60)
    before = weights(trainer.step.discriminators)
    losses = losses_of(trainer)
    assert len(losses) == 60
    assert losses[-1] < 0.3 * losses[0]
    assert torch.equal(before, weights(trainer.step.discriminators))
    assert "discriminator" not in trainer.state.output


def test_output_has_the_terms_and_the_images() -> None:
    trainer = make_trainer(lambda_adversarial=0.5)
    trainer.run()
    output = trainer.state.output
    numbers = loss_terms(output)
    assert numbers.keys() == {"loss", "reconstruction", "adversarial", "discriminator", "gradient_norm", "skipped"}
    assert (numbers["skipped"], int(trainer.skipped)) == (0, 0)
    assert numbers["loss"] == pytest.approx(10 * numbers["reconstruction"] + 0.5 * numbers["adversarial"], rel=1e-5)
    assert output["image"].shape == (2, 3, 16, 16, 3)
    # All pairs of three sequences, and from each of the two that the other subject has to all three.
    assert [len(group.prediction) for group in output["translation"].translations] == [9 + 6]


def test_one_update_of_each_side() -> None:
    """Gradient descent on Eq. 2 for the D_j, one image at a time; the generator's own step comes first."""
    rate, batch = 0.1, smooth_batch()
    trainer = make_trainer(
        lambda_adversarial=0.5, optimizer=partial(torch.optim.SGD, lr=rate), gradient_clip=None, batch=batch
    )
    generator, reference = copy.deepcopy(trainer.network), copy.deepcopy(trainer.step.discriminators)
    trainer.run()

    step = TranslationStep(generator, trainer.step.loss, pairs="all", cycles="all", discriminators=reference)
    step(batch["image"], batch["available"]).loss.backward()
    gradient = parameters_to_vector([parameter.grad for parameter in generator.parameters()])
    torch.testing.assert_close(weights(trainer.network), weights(generator) - rate * gradient)
    torch.testing.assert_close(trainer.state.output["gradient_norm"], gradient.norm())

    total = torch.zeros(())
    for target, name in enumerate(SEQUENCES):
        having = [b for b in range(2) if batch["available"][b, target]]
        real = [batch["image"][b, target].permute(2, 0, 1)[None, None] for b in having]
        fake = [
            generator(batch["image"][b, i].permute(2, 0, 1)[None, None], torch.eye(3)[target : target + 1]).detach()
            for b in range(2)
            for i in range(3)
            if batch["available"][b, i] and i != target  # a reconstruction of itself is no fake: j ≠ i
        ]
        total = total + torch.stack([(reference(image, name) - 1).square().mean() for image in real]).mean()
        total = total + torch.stack([reference(image, name).square().mean() for image in fake]).mean()
    assert float(trainer.state.output["discriminator"]) == pytest.approx(total.item(), rel=1e-5)
    gradients = torch.autograd.grad(total, list(reference.parameters()))
    assert all(bool(gradient.any()) for gradient in gradients if gradient.ndim > 1)
    expected = weights(reference) - rate * parameters_to_vector(gradients)
    torch.testing.assert_close(weights(trainer.step.discriminators), expected, rtol=1e-4, atol=1e-6)


def test_a_discriminator_without_real_images_beside_translations_is_not_moved_by_its_momentum() -> None:
    """No subject of the second batch has t2, so that its D would see nothing but translations."""
    trainer = make_trainer(lambda_adversarial=1.0, epochs=2)
    seen = []

    def leave_out_t2(engine) -> None:
        seen.append([weights(trainer.step.discriminators[name]) for name in SEQUENCES])
        engine.state.dataloader[0]["available"] = torch.tensor([[True, False, True], [True, False, True]])

    trainer.add_event_handler(Events.EPOCH_COMPLETED, leave_out_t2)
    trainer.run()
    assert list(map(torch.equal, *seen)) == [False, True, False]


@pytest.mark.parametrize("fused", [True, False])
def test_a_step_without_a_finite_gradient_is_skipped_and_several_in_a_row_stop_the_training(fused) -> None:
    trainer = make_trainer(epochs=MOST_SKIPPED + 5, optimizer=partial(ADAM, fused=fused))
    good, bad = smooth_batch(), smooth_batch()
    bad["image"][0, 0, 3, 4, 1] = torch.nan
    bad["subject"] = ["p1", "p1"]
    # One bad batch, then a good one, and then nothing but bad ones.
    batches = [good, bad, good] + [bad] * MOST_SKIPPED
    seen = []

    def look(engine) -> None:
        state = [value.flatten() for part in trainer.optimizer.state.values() for value in part.values()]
        seen.append((float(engine.state.output["skipped"]), weights(trainer.network), torch.cat(state)))

    trainer.add_event_handler(IterationEvents.MODEL_COMPLETED, look)
    trainer.add_event_handler(
        Events.EPOCH_STARTED,
        lambda engine: engine.state.dataloader.__setitem__(0, batches[engine.state.epoch - 1]),
    )
    message = rf"not finite in {MOST_SKIPPED} steps in a row, up to iteration {MOST_SKIPPED + 3} with images of p1\."
    with pytest.raises(ValueError, match=message):
        trainer.run()
    assert [skipped for skipped, _, _ in seen] == [0, 1, 0] + [1] * (MOST_SKIPPED - 1)
    assert int(trainer.skipped) == MOST_SKIPPED + 1
    (_, first, first_state), (_, second, second_state), (_, third, _) = seen[:3]
    assert torch.equal(first, second)
    assert torch.equal(first_state, second_state)  # Adam's moments and its count of steps
    assert not torch.equal(second, third)
    assert torch.equal(third, weights(trainer.network))
    assert all(torch.cat([values, state]).isfinite().all() for _, values, state in seen)


def test_a_discriminator_whose_gradient_is_not_finite_is_counted_too() -> None:
    trainer = make_trainer(lambda_adversarial=0.5, epochs=2)
    trainer.step.loss.discriminator = lambda logits, real: logits.flatten(1).mean(1) * float("inf")
    before = weights(trainer.step.discriminators), weights(trainer.network)
    trainer.run()
    assert int(trainer.skipped) == 2
    assert torch.equal(before[0], weights(trainer.step.discriminators))
    assert not torch.equal(before[1], weights(trainer.network))  # its own gradient is finite


def test_a_batch_without_any_signal_teaches_nothing() -> None:
    trainer = make_trainer(smooth_batch() | {"image": torch.zeros(2, 3, 16, 16, 3)})
    before = weights(trainer.network)
    trainer.run()
    assert torch.equal(before, weights(trainer.network))
    assert loss_terms(trainer.state.output) == {"loss": 0, "gradient_norm": 0, "skipped": 0}


def test_bfloat16_autocast_is_close_to_float32_keeps_parameters_and_trains_the_discriminators() -> None:
    full, half = (
        make_trainer(epochs=3, optimizer=partial(ADAM, lr=1e-3), lambda_adversarial=0.1, autocast_dtype=dtype)
        for dtype in (None, "bfloat16")
    )
    before, expected, found = weights(half.step.discriminators), losses_of(full), losses_of(half)
    assert found != expected
    assert found == pytest.approx(expected, rel=0.05)
    assert weights(half.network).dtype == torch.float32
    assert not torch.equal(before, weights(half.step.discriminators))


def test_what_cannot_be_trained_is_refused() -> None:
    with pytest.raises(ValueError, match="give discriminator_optimizer"):
        make_trainer(lambda_adversarial=1.0, discriminator_optimizer=None)
    with pytest.raises(ValueError, match="Autocast to 'float16' is not supported; choose bfloat16, or null"):
        autocast(torch.device("cpu"), "float16")


@pytest.mark.parametrize("clip", [None, 0.01])
def test_gradient_clip_bounds_the_update(clip) -> None:
    trainer = make_trainer(optimizer=partial(torch.optim.SGD, lr=1.0), gradient_clip=clip)
    assert make_trainer().gradient_clip == 1.0  # by default
    before = weights(trainer.network)
    trainer.run()
    norm = (weights(trainer.network) - before).norm()
    assert norm == pytest.approx(clip, rel=1e-3) if clip else norm > 0.1


def test_a_finished_training_is_left_as_it_is(caplog) -> None:
    trainer = make_trainer(epochs=2)
    trainer.run()
    before = weights(trainer.network)
    with caplog.at_level(logging.INFO, logger=trainer.logger.name):
        trainer.run()
    assert "Epoch 2 of 2 is done; raise max_epochs to go on." in caplog.text
    assert torch.equal(before, weights(trainer.network))
