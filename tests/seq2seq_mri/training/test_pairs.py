# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Which translations are trained: against the sets that Eq. 1 and Eq. 3 allow, enumerated one by one."""

from __future__ import annotations

import itertools

import pytest
import torch
from scipy.stats import chisquare

from seq2seq_mri.training.pairs import choose_cycles, choose_pairs

Pairs = frozenset[tuple[int, int]]
MASKS = [mask for count in (1, 2, 4) for mask in itertools.product([False, True], repeat=count) if any(mask)]
DRAWS = 3000


def allowed_pairs(mask: tuple[bool, ...], policy: str) -> set[Pairs]:
    """Return every set of pairs that a policy may choose for one subject."""
    available = [index for index, present in enumerate(mask) if present]
    if policy == "all":
        return {frozenset(itertools.product(available, available))}
    if policy == "one_to_all":
        return {frozenset((source, target) for target in available) for source in available}
    if len(available) == 1:
        return {frozenset([(available[0], available[0])])}
    return {frozenset([(source, source), (source, other)]) for source, other in itertools.permutations(available, 2)}


def chosen(pairs: torch.Tensor) -> list[Pairs]:
    return [frozenset(map(tuple, torch.nonzero(subject).tolist())) for subject in pairs]


def assert_uniform(draws: list[Pairs], expected: set[Pairs]) -> None:
    """Every expected set occurs, none other, and all are about equally frequent."""
    assert set(draws) == expected
    assert chisquare([draws.count(one) for one in expected]).pvalue > 1e-3


@pytest.mark.parametrize("mask", MASKS, ids=str)
@pytest.mark.parametrize("policy", ["all", "one_to_all", "random"])
def test_pairs_are_among_the_allowed_ones(mask, policy) -> None:
    torch.manual_seed(0)
    pairs = choose_pairs(torch.tensor([mask] * 20), policy)
    assert pairs.shape == (20, len(mask), len(mask))
    assert set(chosen(pairs)) <= allowed_pairs(mask, policy)


@pytest.mark.parametrize("policy", ["one_to_all", "random"])
def test_pairs_are_equally_frequent(policy) -> None:
    torch.manual_seed(1)
    mask = (True, False, True, True)
    assert_uniform(chosen(choose_pairs(torch.tensor([mask] * DRAWS), policy)), allowed_pairs(mask, policy))


def test_subjects_of_a_batch_keep_their_own_sequences() -> None:
    torch.manual_seed(2)
    masks = [mask for mask in MASKS if len(mask) == 4]
    for policy in ("all", "one_to_all", "random"):
        for mask, pairs in zip(masks, chosen(choose_pairs(torch.tensor(masks), policy)), strict=True):
            assert pairs in allowed_pairs(mask, policy)


def test_random_cycles_go_through_one_other_sequence_available_or_not() -> None:
    torch.manual_seed(4)
    pairs = choose_pairs(torch.tensor([[False, True, False, False]] * DRAWS), "random")
    assert_uniform(chosen(choose_cycles(pairs, "random")), {frozenset([(1, between)]) for between in (0, 2, 3)})


@pytest.mark.parametrize("policy", ["random", "all"])
def test_a_single_sequence_has_no_cycle(policy) -> None:
    assert not choose_cycles(torch.ones(3, 1, 1), policy).any()


def expectation(draws: torch.Tensor) -> torch.Tensor:
    """The exact mean of equally frequent choices, each of which is among the draws."""
    return draws.unique(dim=0).mean(dim=0)


@pytest.mark.parametrize("mask", [mask for mask in MASKS if len(mask) < 4 or sum(mask) > 1], ids=str)
@pytest.mark.parametrize("policy", ["all", "one_to_all", "random"])
def test_the_expected_weight_of_every_available_pair_is_one(mask, policy) -> None:
    """The sum of Eq. 1, whatever a sample lacks and however few pairs are computed."""
    torch.manual_seed(8)
    available = torch.tensor(mask).float()
    found = expectation(choose_pairs(torch.tensor([mask] * DRAWS), policy))
    torch.testing.assert_close(found, available[:, None] * available[None])


@pytest.mark.parametrize("mask", [(True, True, False, True), (False, True, False, False), (True, True)], ids=str)
@pytest.mark.parametrize("pairs", ["all", "one_to_all", "random"])
@pytest.mark.parametrize("policy", ["all", "random"])
def test_the_expected_weight_of_every_cycle_is_one(mask, pairs, policy) -> None:
    """The sums of Eq. 2 and 3: from each available sequence through every other of the table."""
    torch.manual_seed(9)
    available = torch.tensor(mask).float()
    through = 1 - torch.eye(len(mask))
    sources = choose_pairs(torch.tensor([mask] * DRAWS), pairs)
    weights = choose_cycles(sources, policy)
    if pairs == "all":  # each source chooses for itself: the choices of one are equally frequent, not of all together
        found = torch.stack([expectation(weights[:, source]) for source in range(len(mask))])
    else:
        found = expectation(weights)
    torch.testing.assert_close(found, available[:, None] * through)


def test_a_sample_without_any_sequence_has_no_pair() -> None:
    available = torch.tensor([[False, False, False], [True, False, True]])
    for policy in ("all", "one_to_all", "random"):
        pairs = choose_pairs(available, policy)
        assert not pairs[0].any()
        assert pairs[1].any()
        assert not choose_cycles(pairs, "random")[0].any()


def test_a_generator_makes_choices_repeatable() -> None:
    available = torch.ones(40, 4, dtype=torch.bool)

    def draw(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        pairs = choose_pairs(available, "random", generator)
        return pairs, choose_cycles(pairs, "random", generator)

    torch.manual_seed(6)
    first = draw(0)
    torch.manual_seed(7)
    assert all(map(torch.equal, first, draw(0)))
    assert not any(map(torch.equal, first, draw(1)))


def test_errors() -> None:
    with pytest.raises(ValueError, match="Unknown pairs policy 'some'; choose random, one_to_all or all"):
        choose_pairs(torch.ones(1, 2, dtype=torch.bool), "some")
    with pytest.raises(ValueError, match="Unknown cycle policy 'some'"):
        choose_cycles(torch.ones(1, 2, 2), "some")
