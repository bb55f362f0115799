# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""One training step, its losses, and what a checkpoint keeps of it, on the GPU as on the CPU."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from agreement import GRADIENT, gradients, no_waiting, relative_error
from small_generator import small

from seq2seq_mri.losses.classification import ClassificationLoss
from seq2seq_mri.losses.generator_loss import Seq2SeqLoss
from seq2seq_mri.networks.discriminator import SequenceDiscriminators
from seq2seq_mri.training.checkpoint import TrainingCheckpoint, load_weights, save_weights
from seq2seq_mri.training.handlers import EpochSeed
from seq2seq_mri.training.trainer import autocast
from seq2seq_mri.training.translation_step import TranslationStep
from seq2seq_studies.comparison.implicit_conditioning import implicit_conditioning_loss, selective_adversarial_loss

CPU = torch.device("cpu")
SEQUENCES = {"t1": 1, "dce": 3, "t2": 1}
AVAILABLE = torch.tensor([[True, True, True], [True, False, True], [False, True, False]])
#: Largest difference of a loss, as a fraction of it.
LOSS = {None: 1e-4, "bfloat16": 3e-2}


def step(dims: int, device: torch.device, dtype: str | None, perceptual_weights: Path | None) -> tuple:
    """Return loss and gradients of a step with every term, of all pairs and cycles."""
    generator = small(dims, SEQUENCES, in_channels=3 if dims == 2 else 1).to(device).train()
    discriminators = SequenceDiscriminators(dims, SEQUENCES, generator.in_channels, channels=4, num_layers=2).to(device)
    loss = Seq2SeqLoss(10.0, 0.01 if perceptual_weights else 0.0, 10.0, 1.0, perceptual_weights=perceptual_weights)
    image = torch.rand(3, 5, *((32, 28, 3) if dims == 2 else (20, 18, 12)), generator=torch.Generator().manual_seed(1))
    training = TranslationStep(generator, loss.to(device), pairs="all", cycles="all", discriminators=discriminators)
    with autocast(device, dtype):
        output = training(image.to(device), AVAILABLE)
    output.loss.backward()
    return output, gradients(generator), gradients(discriminators)


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
@pytest.mark.parametrize("dims", [2, 3])
def test_step_with_every_term(device: torch.device, vgg19_file, dims, dtype) -> None:
    weights = vgg19_file if dims == 2 else None
    torch.manual_seed(0)
    expected, *expected_gradients = step(dims, CPU, None, weights)
    torch.manual_seed(0)
    found, *found_gradients = step(dims, device, dtype, weights)
    assert found.loss.device.type == device.type
    terms = {"reconstruction", "cycle", "adversarial"} | ({"perceptual"} if weights else set())
    assert found.terms.keys() == expected.terms.keys() == terms
    for name, value in expected.terms.items():
        assert float(found.terms[name]) == pytest.approx(float(value), rel=LOSS[dtype]), name
    for found_gradient, expected_gradient in zip(found_gradients, expected_gradients, strict=True):
        assert relative_error(found_gradient, expected_gradient) < GRADIENT[dtype]


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_a_step_does_not_wait_for_the_gpu(device: torch.device, dtype) -> None:
    """Not in the third of three steps of the same choices."""
    generator = small(2, SEQUENCES, in_channels=3).to(device).train()
    training = TranslationStep(generator, Seq2SeqLoss(10.0, 0.0, 10.0).to(device), pairs="all", cycles="all")
    image = torch.rand(3, 5, 32, 28, 3, device=device)
    losses = []
    for turn in range(3):
        with no_waiting(device) if turn == 2 else nullcontext():
            with autocast(device, dtype):
                loss = training(image, AVAILABLE).loss
            loss.backward()
            losses.append(loss.detach())
    assert float(losses[2]) == pytest.approx(float(losses[0]), rel=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_losses_of_the_other_methods(device: torch.device, dtype) -> None:
    torch.manual_seed(0)
    prediction, truth, logits = torch.rand(3, 5, 1, 9, 11), torch.rand(3, 5, 1, 9, 11), torch.randn(3, 3, 4, 5)
    truth[1, 1:4] = float("nan")  # of a sequence that is not measured
    hidden = AVAILABLE & torch.tensor([True, False, False])
    labels, scores = torch.tensor([0, 1, 1]), torch.randn(3, 1)

    def losses(where: torch.device, dtype: torch.dtype) -> list[torch.Tensor]:
        made, score, judged = (value.to(where, dtype) for value in (prediction, scores, logits))
        given, measured = hidden.to(where), AVAILABLE.to(where)
        return [
            implicit_conditioning_loss(made, truth.to(where), given, measured, list(SEQUENCES.values()), 1.0),
            selective_adversarial_loss(judged, given, measured),
            ClassificationLoss(1, [0.5, 2.0])(score.float(), labels.to(where)),
        ]

    for found, expected in zip(losses(device, dtype), losses(CPU, torch.float32), strict=True):
        assert relative_error(found, expected) < (1e-5 if dtype == torch.float32 else 1e-2)


def test_a_checkpoint_moves_between_devices(device: torch.device, tmp_path) -> None:
    """Written with everything on the GPU, read into a training on the CPU, and back."""

    def training(where: torch.device) -> tuple:
        network = small(2, SEQUENCES).to(where)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
        network(torch.rand(1, 1, 2, 16, 16, device=where), torch.eye(3, device=where)[:1]).sum().backward()
        optimizer.step()
        return network, optimizer

    folder, state = tmp_path, SimpleNamespace(epoch=1, max_epochs=1, epoch_length=4, iteration=4)
    for number, (source, goal) in enumerate([(device, CPU), (CPU, device)]):
        folder = tmp_path / str(number)
        network, optimizer = training(source)
        TrainingCheckpoint(folder, network, optimizer).save(SimpleNamespace(state=state))
        other, other_optimizer = training(goal)
        TrainingCheckpoint(folder, other, other_optimizer).prepare(SimpleNamespace(state=state), resume=True)
        for name, value in other.state_dict().items():
            assert value.device.type == goal.type
            assert torch.equal(value.cpu(), network.state_dict()[name].cpu()), name
        kept, restored = (
            {key: value for part in which.state.values() for key, value in part.items()}
            for which in (optimizer, other_optimizer)
        )
        for key, value in restored.items():
            assert value.device.type == goal.type, key
            assert torch.equal(value.cpu(), kept[key].cpu()), key
        other_optimizer.step()  # with the moments on the device of the weights
        save_weights(network, folder / "weights.pt", dtype="bfloat16")
        load_weights(other, folder / "weights.pt")


def test_an_epoch_seeds_the_device(device: torch.device) -> None:
    """What is random on the device (dropout) is the same in an epoch that is repeated, so no state has to be saved."""
    draws = []
    for epoch in (1, 1, 2):
        EpochSeed(seed=0)(SimpleNamespace(state=SimpleNamespace(epoch=epoch)))
        draws.append(torch.nn.functional.dropout(torch.ones(100, device=device)).cpu())
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
