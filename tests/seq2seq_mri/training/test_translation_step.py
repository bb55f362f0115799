# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The batched losses of a step against a loop over subjects and pairs that follows Eq. 1, 2 and 3 one by one."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from engine_parts import tiny_generator
from torch import nn

from seq2seq_mri.losses.generator_loss import Seq2SeqLoss
from seq2seq_mri.networks.discriminator import SequenceDiscriminators
from seq2seq_mri.networks.generator import Seq2SeqGenerator
from seq2seq_mri.training.pairs import choose_cycles, choose_pairs
from seq2seq_mri.training.translation_step import TranslationStep

SINGLE = {"t1": 1, "t2": 1, "flair": 1}
MIXED = {"t1": 1, "dce": 3}
MISSING = {
    3: torch.tensor([[True, True, True], [False, True, True], [False, False, True]]),
    2: torch.tensor([[True, True], [True, False], [False, True]]),
}
WEIGHTS = {"reconstruction": 10.0, "perceptual": 0.3, "cycle": 4.0, "adversarial": 0.7}
SEED = 11


class SquaredDifference(nn.Module):
    """Stands in for the perceptual network."""

    def forward(self, prediction: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        return (prediction - truth).square().flatten(1).mean(1)


def make_step(
    sequences: dict[str, int], spatial_dims: int = 2, *, cycle: bool = True, adversarial: bool = True, **policies: str
) -> TranslationStep:
    loss = Seq2SeqLoss(
        lambda_reconstruction=WEIGHTS["reconstruction"],
        lambda_perceptual=0.0,
        lambda_cycle=WEIGHTS["cycle"] * cycle,
        lambda_adversarial=WEIGHTS["adversarial"] * adversarial,
    )
    loss.lambda_perceptual, loss.perceptual = WEIGHTS["perceptual"], SquaredDifference()
    # In double precision the order of additions does not matter; the loss terms themselves are float32.
    generator = tiny_generator(sequences, spatial_dims).double()
    discriminators = SequenceDiscriminators(spatial_dims, sequences, generator.in_channels, channels=4, num_layers=1)
    return TranslationStep(generator, loss, discriminators=discriminators.double() if adversarial else None, **policies)


def make_image(sequences: dict[str, int], batch: int = 3, spatial_dims: int = 2) -> torch.Tensor:
    size = (13, 10, 3) if spatial_dims == 2 else (9, 10, 7)
    image = torch.rand(batch, sum(sequences.values()), *size, generator=torch.Generator().manual_seed(0))
    return image.double()


def one_image(
    image: torch.Tensor, sequences: dict[str, int], subject: int, index: int, spatial_dims: int
) -> torch.Tensor:
    """Return ``[1, T, C, *spatial]``."""
    timepoints = list(sequences.values())
    first = sum(timepoints[:index])
    frames = image[subject, first : first + timepoints[index]]
    return (frames.movedim(-1, 1) if spatial_dims == 2 else frames[:, None])[None]


def slow_terms(step: TranslationStep, image: torch.Tensor, wanted: torch.Tensor, cycles: torch.Tensor) -> dict:
    """Compute every term by one call of the generator for one image at a time, Σ weight · value / (B S²)."""
    generator, sequences = step.generator, dict(step.generator.sequences)
    names, count = list(sequences), len(sequences)

    def translate(source: torch.Tensor, target: int) -> torch.Tensor:
        return generator(source, torch.eye(count, dtype=source.dtype)[target : target + 1])

    terms: dict[str, torch.Tensor] = {}

    def add(name: str, weight: torch.Tensor, value: torch.Tensor) -> None:
        terms[name] = terms.get(name, 0) + weight * value / (len(image) * count**2)

    for subject, i, j in itertools.product(range(len(image)), range(count), range(count)):
        weight, cycle = wanted[subject, i, j], cycles[subject, i, j]
        if not weight and not cycle:
            continue
        source = one_image(image, sequences, subject, i, generator.spatial_dims)
        prediction = translate(source, j)
        if weight:
            truth = one_image(image, sequences, subject, j, generator.spatial_dims)
            add("reconstruction", weight, (prediction - truth).abs().mean())
            add("perceptual", weight, (prediction - truth).square().mean())
        if cycle and step.loss.lambda_cycle > 0:
            add("cycle", cycle, (translate(prediction, i) - source).abs().mean())
        if cycle and step.discriminators is not None:
            add("adversarial", cycle, (step.discriminators(prediction, names[j]) - 1).square().mean())
    return terms


def assert_equals_the_loop(step: TranslationStep, image: torch.Tensor, available: torch.Tensor) -> None:
    missing = ~available.repeat_interleave(torch.tensor(list(step.generator.sequences.values())), dim=1)
    image = image.masked_fill(missing[:, :, None, None, None], torch.nan)  # which must not be looked at
    torch.manual_seed(SEED)
    wanted = choose_pairs(available, step.pairs)
    cycles = choose_cycles(wanted, step.cycles)
    if step.loss.lambda_cycle == 0 and step.loss.lambda_adversarial == 0:
        cycles = torch.zeros_like(cycles)
    expected = slow_terms(step, image, wanted, cycles)
    total = sum(WEIGHTS[name] * term for name, term in expected.items())
    parameters = list(step.generator.parameters())
    gradients = torch.autograd.grad(total, parameters)

    torch.manual_seed(SEED)
    output = step(image, available)
    assert output.terms.keys() == expected.keys()
    for name, term in expected.items():
        assert not output.terms[name].requires_grad
        torch.testing.assert_close(output.terms[name].double(), term.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(output.loss.double(), total, rtol=1e-5, atol=1e-6)
    for mine, theirs in zip(torch.autograd.grad(output.loss, parameters), gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("table", [SINGLE, MIXED])
@pytest.mark.parametrize("pairs", ["all", "one_to_all", "random"])
@pytest.mark.parametrize(
    ("cycles", "terms"),
    [
        ("random", {"adversarial": False}),
        ("all", {"adversarial": False}),
        ("all", {"cycle": False}),
        ("random", {}),
        ("random", {"cycle": False, "adversarial": False}),
    ],
)
def test_equals_the_loop(table, pairs, cycles, terms) -> None:
    step = make_step(table, pairs=pairs, cycles=cycles, **terms)
    assert_equals_the_loop(step, make_image(table), MISSING[len(table)])


def test_equals_the_loop_in_3d() -> None:
    step = make_step(MIXED, spatial_dims=3, pairs="all", cycles="random")
    assert_equals_the_loop(step, make_image(MIXED, batch=2, spatial_dims=3), MISSING[2][:2])


@pytest.mark.parametrize("only", ["t1", "dce"])
def test_cycles_alone_may_need_a_number_of_timepoints(only) -> None:
    """A subject's one sequence has to be sent through the other, which has no truth to compare with."""
    step = make_step(MIXED, adversarial=False)
    available = torch.tensor([[name == only for name in MIXED]])
    assert_equals_the_loop(step, make_image(MIXED, batch=1), available)


def test_a_sequence_without_signal_in_its_patch_is_missing_there() -> None:
    step = make_step(MIXED, pairs="all", cycles="all")
    image = make_image(MIXED)
    image[0, 0] = 0.0
    image[1, 1:3] = 0.4  # one of the three timepoints has signal left
    image[2, 1:] = 0.0
    image[2, 0] = torch.nan
    available = torch.tensor([[True, True], [True, True], [False, True]])
    assert step.signal(image, available).tolist() == [[False, True], [True, True], [False, False]]
    output = step(image, step.signal(image, available))
    assert output.loss.isfinite()
    used = [torch.stack([group.subject, group.source], dim=1) for group in output.translations]
    assert torch.cat(used).unique(dim=0).tolist() == [[0, 1], [1, 0], [1, 1]]
    nothing = step(image[2:], step.signal(image[2:], available[2:]))
    assert (float(nothing.loss), nothing.terms, nothing.translations) == (0, {}, [])


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("kind", ["empty", "one voxel", "flat"])
def test_gradients_of_patches_with_hardly_any_signal_are_bounded(kind, autocast) -> None:
    """Of a network deep enough: without care they are 1e20 in float32, and not a number in bfloat16."""
    torch.manual_seed(0)
    generator = Seq2SeqGenerator(2, SINGLE, 3, (8, 16), num_res_blocks=4, lstm_layers=1, weight_code_channels=2)
    step = TranslationStep(generator, Seq2SeqLoss(10.0, 0.0, 10.0), pairs="all")
    image = torch.rand(2, 3, 24, 24, 3)
    image[0] = 0.5 if kind == "flat" else 0.0
    image[1, 0] = 0.0
    if kind == "one voxel":
        image[0, :, 11, 7, 1] = 1.0
        image[1, 0, 3, 4, 1] = 0.01
    available = torch.ones(2, 3, dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        filtered, unfiltered = step(image, step.signal(image, available)), step(image, available)
    for loss, bound in ((filtered.loss, 1e3), (unfiltered.loss, 1e4)):
        gradients = torch.autograd.grad(loss, list(generator.parameters()))
        assert 1e-3 < torch.nn.utils.get_total_norm(gradients) < bound


def test_every_source_is_encoded_once_and_every_pair_decoded_once(monkeypatch) -> None:
    step = make_step(SINGLE, pairs="all", cycle=False, adversarial=False)
    rows = {"encode": 0, "decode": 0}

    def counted(name: str, original: Callable) -> Callable:
        def call(first: torch.Tensor, *others) -> torch.Tensor:
            rows[name] += len(first)
            return original(first, *others)

        return call

    for name in rows:
        monkeypatch.setattr(step.generator, name, counted(name, getattr(step.generator, name)))
    output = step(make_image(SINGLE), MISSING[3])
    assert rows == {"encode": 3 + 2 + 1, "decode": 9 + 4 + 1}
    assert [len(group.prediction) for group in output.translations] == [14]


def test_adversarial_weight_needs_discriminators() -> None:
    with pytest.raises(ValueError, match="there are no discriminators; add them or set it to 0"):
        TranslationStep(tiny_generator(SINGLE), Seq2SeqLoss(lambda_perceptual=0.0, lambda_adversarial=1.0))
