# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""How often each choice of hidden sequences occurs, and the losses of what was hidden, against closed forms."""

from __future__ import annotations

from collections import Counter
from math import comb

import pytest
import torch
from scipy.stats import chisquare

from seq2seq_studies.comparison.implicit_conditioning import (
    hide_by_curriculum,
    hide_sequences,
    implicit_conditioning_loss,
    selective_adversarial_loss,
)

DRAWS = 4000
MEASURED = torch.tensor([[True, True, True], [True, False, True], [True, False, False]])
AVAILABLE = torch.tensor([[True, False, False], [False, False, True], [True, False, False]])


def all_measured(subjects: int) -> torch.Tensor:
    return torch.ones(subjects, 4, dtype=torch.bool)


@pytest.mark.parametrize(("fewest", "most"), [(1, 1), (1, 2), (2, 3), (1, 3), (3, 3)])
def test_every_choice_is_equally_likely(fewest, most) -> None:
    available = hide_sequences(all_measured(DRAWS), fewest, most, torch.Generator().manual_seed(0))
    choices = Counter(map(tuple, available.tolist()))
    assert len(choices) == sum(comb(4, number) for number in range(fewest, most + 1))
    assert {4 - sum(choice) for choice in choices} == set(range(fewest, most + 1))
    assert chisquare(list(choices.values())).pvalue > 1e-3


@pytest.mark.parametrize(
    ("stage", "step", "most"), [(5, 0, 1), (5, 4, 1), (5, 5, 2), (5, 9, 2), (5, 10, 3), (5, 10_000, 3), (0, 0, 3)]
)
def test_curriculum_of_numbers_of_missing_sequences(stage, step, most) -> None:
    missing = (~hide_by_curriculum(all_measured(200), step, stage)).sum(1)
    assert set(missing.tolist()) == set(range(1, most + 1))


def test_only_measured_sequences_are_hidden_and_one_stays() -> None:
    measured = torch.tensor([[True, False, True, True], [False, True, False, True], [False, False, True, False]])
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        available = hide_sequences(measured, 2, 3, generator)
        assert not (available & ~measured).any()
        assert available.sum(1).tolist() == [1, 1, 1]
        assert (measured & ~hide_sequences(measured, 1, 1, generator)).sum(1).tolist() == [1, 1, 0]


def test_draws_depend_on_seed_and_step_only() -> None:
    first = [hide_by_curriculum(all_measured(20), step, 0, seed=1) for step in range(3)]
    torch.manual_seed(5)
    again = [hide_by_curriculum(all_measured(20), step, 0, seed=1) for step in (2, 1, 0)][::-1]
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], hide_by_curriculum(all_measured(20), 0, 0, seed=2))


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_mean_over_hidden_sequences_and_what_was_not_measured_does_not_matter(weight) -> None:
    torch.manual_seed(0)
    prediction, truth = torch.rand(3, 5, 2, 6, 7, requires_grad=True), torch.rand(3, 5, 2, 6, 7)
    difference = (prediction - truth).abs()
    t1, dce, t2 = difference[:, 0], difference[:, 1:4], difference[:, 4]
    hidden = torch.stack([(dce[0].mean() + t2[0].mean()) / 2, t1[1].mean(), torch.tensor(0.0)])
    available = torch.stack([t1[0].mean(), t2[1].mean(), t1[2].mean()])
    truth[~MEASURED.repeat_interleave(torch.tensor([1, 3, 1]), 1)] = float("nan")
    loss = implicit_conditioning_loss(prediction, truth, AVAILABLE, MEASURED, (1, 3, 1), weight)
    torch.testing.assert_close(loss, hidden + weight * available)
    loss.sum().backward()
    counting = (MEASURED if weight else MEASURED & ~AVAILABLE).repeat_interleave(torch.tensor([1, 3, 1]), 1)
    assert torch.equal(prediction.grad.flatten(2).abs().sum(2) > 0, counting)


def test_selective_adversarial_loss() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 3, 4, 5)
    of_real, of_false = (logits - 1).square().mean((2, 3)), logits.square().mean((2, 3))
    expected = torch.stack([of_real[0].mean(), of_real[1, [0, 2]].mean(), of_real[2, 0]])
    torch.testing.assert_close(selective_adversarial_loss(logits, MEASURED, MEASURED), expected)
    expected = torch.stack(
        [(of_real[0, 0] + of_false[0, 1] + of_false[0, 2]) / 3, (of_false[1, 0] + of_real[1, 2]) / 2, of_real[2, 0]]
    )
    torch.testing.assert_close(selective_adversarial_loss(logits, AVAILABLE, MEASURED), expected)
