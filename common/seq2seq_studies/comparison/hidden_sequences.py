# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Which measured sequences are hidden from a network in a training step, so that it learns to complete them."""

from __future__ import annotations

import math

import numpy as np
import torch

__all__ = ["MissingSequenceCurriculum", "hide_sequences"]


def hide_sequences(
    measured: torch.Tensor, fewest: int, most: int, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Choose what a network is given: for each subject, any choice of hidden sequences is as likely as any other.

    The choices are those that hide at least ``fewest`` and at most ``most`` of the measured sequences and leave one or
    more. A subject that has too few measured sequences for that has as many hidden as are possible, and a subject with
    a single one keeps it. With ``fewest = most = S - 1``, a single source is left, as Pix2Pix needs it.

    Args:
        measured: bool ``(B, S)``, which sequences each subject has; at least one each.
        fewest: smallest number of hidden sequences, at least 1.
        most: largest number of hidden sequences.
        generator: random generator on the CPU; the global one by default.

    Returns:
        Bool ``(B, S)`` on the device of ``measured``: measured and not hidden.

    Raises:
        ValueError: when the numbers are no range of at least 1, or a subject has no sequence.
    """
    if not 1 <= fewest <= most:
        raise ValueError(f"From 1 on, fewest ≤ most sequences can be hidden; got {fewest} and {most}.")
    available = measured.cpu().bool().clone()
    if not bool(available.any(dim=1).all()):
        raise ValueError("A subject of the batch has no measured sequence; remove it from the datalist.")
    # The first sequences of a random order are a random choice.
    order = torch.rand(available.shape, generator=generator).masked_fill(~available, 2.0).argsort(dim=1)
    for row, count in enumerate(available.sum(dim=1).tolist()):
        numbers = torch.arange(min(fewest, count - 1), min(most, count - 1) + 1)
        choices = torch.tensor([float(math.comb(count, number)) for number in numbers.tolist()])
        hidden = int(numbers[torch.multinomial(choices, 1, generator=generator)])
        available[row, order[row, :hidden]] = False
    return available.to(measured.device)


class MissingSequenceCurriculum:
    """First one sequence is missing, then up to two, and so on up to all but one.

    Source: Sharma and Hamarneh (MM-GAN, IEEE TMI 2020), curriculum learning. The released code hides one of four
    sequences for the first ten epochs, then more for ten epochs each, and goes on with all possibilities. Here every
    stage has all choices up to its number of missing sequences, drawn for each subject, and with equal probabilities;
    the last stage, all possibilities, lasts to the end. Only measured sequences are hidden, and they are what is
    counted.

    What is drawn depends on seed and step only: a training that resumes goes on as if it had not been interrupted.

    Args:
        num_sequences: number S of sequences of the table, at least two.
        steps_per_stage: number of training steps (or epochs, whatever is counted) of each stage but the last. 0 begins
            with the last one: no curriculum, as in ResViT.
        seed: of the random draws. Give each of several processes its own.

    Raises:
        ValueError: when there is only one sequence, or the number of steps is negative.

    Example:
        >>> curriculum = MissingSequenceCurriculum(num_sequences=4, steps_per_stage=10)
        >>> [curriculum.most_missing(step) for step in (0, 9, 10, 20, 1000)]
        [1, 1, 2, 3, 3]
        >>> curriculum(torch.ones(2, 4, dtype=torch.bool), step=0).sum(1)
        tensor([3, 3])
    """

    def __init__(self, num_sequences: int, steps_per_stage: int, seed: int = 0) -> None:
        if num_sequences < 2:
            raise ValueError(f"num_sequences is {num_sequences}; of a single sequence none can be missing.")
        if steps_per_stage < 0:
            raise ValueError(f"steps_per_stage is {steps_per_stage}; give at least 0.")
        self.num_sequences = num_sequences
        self.steps_per_stage = steps_per_stage
        self.seed = seed

    def most_missing(self, step: int) -> int:
        """Return how many sequences may be missing in a step, counted from 0."""
        if self.steps_per_stage == 0:
            return self.num_sequences - 1
        return min(1 + step // self.steps_per_stage, self.num_sequences - 1)

    def __call__(self, measured: torch.Tensor, step: int) -> torch.Tensor:
        """Choose what the network is given.

        Args:
            measured: bool ``(B, S)``, which sequences each subject has; at least one each.
            step: the training step, counted from 0.

        Returns:
            Bool ``(B, S)`` on the device of ``measured``: measured and not hidden.

        Raises:
            ValueError: when a subject has no sequence.
        """
        state = np.random.SeedSequence([self.seed, step]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(state[0] >> 1))
        return hide_sequences(measured, 1, self.most_missing(step), generator)
