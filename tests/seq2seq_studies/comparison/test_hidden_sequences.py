# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Hidden sequences: how often each choice occurs, against the closed form; what stays; seeds."""

from __future__ import annotations

from collections import Counter
from math import comb

import pytest
import torch
from scipy.stats import chisquare

from seq2seq_studies.comparison.hidden_sequences import MissingSequenceCurriculum, hide_sequences

DRAWS = 4000


def all_measured(subjects: int, sequences: int = 4) -> torch.Tensor:
    return torch.ones(subjects, sequences, dtype=torch.bool)


@pytest.mark.parametrize(("fewest", "most"), [(1, 1), (1, 2), (2, 3), (1, 3), (3, 3)])
def test_every_choice_is_equally_likely(fewest: int, most: int) -> None:
    available = hide_sequences(all_measured(DRAWS), fewest, most, torch.Generator().manual_seed(0))
    choices = Counter(map(tuple, available.tolist()))
    possible = sum(comb(4, number) for number in range(fewest, most + 1))
    assert len(choices) == possible
    assert chisquare(list(choices.values())).pvalue > 1e-3


@pytest.mark.parametrize(("step", "most"), [(0, 1), (4, 1), (5, 2), (9, 2), (10, 3), (14, 3), (10_000, 3)])
def test_curriculum_of_numbers_of_missing_sequences(step: int, most: int) -> None:
    curriculum = MissingSequenceCurriculum(4, steps_per_stage=5)
    assert curriculum.most_missing(step) == most
    missing = (~curriculum(all_measured(DRAWS), step)).sum(1).bincount(minlength=4).tolist()
    # A number of missing sequences is as likely as its share of all choices.
    choices = [comb(4, number) if 1 <= number <= most else 0 for number in range(4)]
    assert [number for number in range(4) if missing[number]] == [number for number in range(4) if choices[number]]
    expected = [DRAWS * choice / sum(choices) for choice in choices[1 : most + 1]]
    assert most == 1 or chisquare(missing[1 : most + 1], expected).pvalue > 1e-3


def test_without_curriculum_all_is_possible_at_once() -> None:
    missing = (~MissingSequenceCurriculum(4, steps_per_stage=0)(all_measured(DRAWS), step=0)).sum(1)
    assert set(missing.tolist()) == {1, 2, 3}


def test_only_measured_sequences_are_hidden_and_one_stays() -> None:
    measured = torch.tensor([[True, False, True, True], [False, True, False, True], [False, False, True, False]])
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        available = hide_sequences(measured, 2, 3, generator)
        assert not (available & ~measured).any()
        assert available.sum(1).tolist() == [1, 1, 1]
    hidden = [(measured & ~hide_sequences(measured, 1, 1, generator)).sum(1).tolist() for _ in range(10)]
    assert hidden == [[1, 1, 0]] * 10


def test_draws_depend_on_seed_and_step_only() -> None:
    curriculum = MissingSequenceCurriculum(4, 0, seed=1)
    first = [curriculum(all_measured(20), step) for step in range(3)]
    torch.manual_seed(5)
    again = [curriculum(all_measured(20), step) for step in (2, 1, 0)][::-1]
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], MissingSequenceCurriculum(4, 0, seed=2)(all_measured(20), 0))


def test_arguments_that_cannot_be_used() -> None:
    for fewest, most in ((0, 1), (2, 1)):
        with pytest.raises(ValueError, match=f"got {fewest} and {most}"):
            hide_sequences(all_measured(1), fewest, most)
    with pytest.raises(ValueError, match="no measured sequence"):
        hide_sequences(~all_measured(1), 1, 1)
    with pytest.raises(ValueError, match="num_sequences is 1"):
        MissingSequenceCurriculum(1, 5)
    with pytest.raises(ValueError, match="steps_per_stage is -1"):
        MissingSequenceCurriculum(4, -1)
