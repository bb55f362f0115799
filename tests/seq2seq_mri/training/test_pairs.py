# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Which translations are trained: against the sets that Eq. 1 and Eq. 3 allow, enumerated one by one."""

from __future__ import annotations

import itertools

import pytest
import torch

from seq2seq_mri.training.pairs import choose_cycles, choose_pairs

Pairs = frozenset[tuple[int, int]]
DRAWS = 3000


def allowed_pairs(mask: list[bool], policy: str) -> set[Pairs]:
    """Return every set of pairs that a policy may choose for one subject."""
    available = [index for index, present in enumerate(mask) if present]
    if policy == "all" or not available:
        return {frozenset(itertools.product(available, available))}
    if policy == "one_to_all":
        return {frozenset((source, target) for target in available) for source in available}
    if len(available) == 1:
        return {frozenset([(available[0], available[0])])}
    return {frozenset([(source, source), (source, other)]) for source, other in itertools.permutations(available, 2)}


def equally_frequent(draws: torch.Tensor) -> torch.Tensor:
    """Return the choices that occur among the draws, after checking that all are about equally frequent."""
    choices, counts = draws.unique(dim=0, return_counts=True)
    assert counts.min() > 0.75 * len(draws) / len(choices)
    return choices


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("policy", ["all", "one_to_all", "random"])
def test_pairs_are_the_allowed_ones_and_their_expected_sum_is_that_of_eq_1(policy, count) -> None:
    """For every set of sequences that a subject may have, none included, all of them in one batch."""
    torch.manual_seed(0)
    masks = torch.tensor(list(itertools.product([False, True], repeat=count)))
    draws = choose_pairs(masks.repeat(DRAWS, 1), policy).unflatten(0, (DRAWS, len(masks)))
    for index, mask in enumerate(masks):
        choices = equally_frequent(draws[:, index])
        sets = [frozenset(map(tuple, torch.nonzero(choice).tolist())) for choice in choices]
        assert set(sets) == allowed_pairs(mask.tolist(), policy)
        assert len(set(sets)) == len(sets)
        torch.testing.assert_close(choices.mean(dim=0), torch.outer(mask.float(), mask.float()))


@pytest.mark.parametrize(
    "mask", [(True, True, False, True), (False, True, False, False), (True, True), (True,), (False, False)]
)
@pytest.mark.parametrize("pairs", ["all", "one_to_all", "random"])
@pytest.mark.parametrize("policy", ["all", "random"])
def test_cycles_go_through_every_other_sequence_and_their_expected_sum_is_that_of_eq_3(mask, pairs, policy) -> None:
    """From each available sequence, through every other of the table, available or not."""
    torch.manual_seed(9)
    cycles = choose_cycles(choose_pairs(torch.tensor([mask] * DRAWS), pairs), policy)
    if pairs == "all":  # each source chooses for itself: the choices of one are equally frequent, not of all together
        found = torch.stack([equally_frequent(row).mean(dim=0) for row in cycles.unbind(1)])
    else:
        found = equally_frequent(cycles).mean(dim=0)
    torch.testing.assert_close(found, torch.tensor(mask).float()[:, None] * (1 - torch.eye(len(mask))))
    if policy == "random":
        assert (cycles > 0).sum(dim=2).max() <= 1


def test_unknown_policies() -> None:
    with pytest.raises(ValueError, match="Unknown pairs policy 'some'; choose random, one_to_all or all"):
        choose_pairs(torch.ones(1, 2, dtype=torch.bool), "some")
    with pytest.raises(ValueError, match="Unknown cycle policy 'some'"):
        choose_cycles(torch.ones(1, 2, 2), "some")
