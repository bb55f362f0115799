# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Random choice of the translations and cycles that a training step computes, and their weights.

Eq. 1 of Han et al. (Medical Image Analysis 2024) sums over all pairs of available sequences, Eq. 2 and 3 over each
available sequence paired with every other sequence of the table. A step may compute a few of these translations. What
it computes is weighted by one over the probability that it was chosen, so that the expected sum is the sum of the
equation, whatever the policy and however many sequences a sample has.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch.nn.functional import one_hot

__all__ = ["CyclePolicy", "PairPolicy", "choose_cycles", "choose_pairs"]

PairPolicy = Literal["random", "one_to_all", "all"]
CyclePolicy = Literal["random", "all"]


def choose_pairs(available: torch.Tensor, policy: PairPolicy = "random") -> torch.Tensor:
    """Choose the (source, target) pairs whose reconstruction is trained (Eq. 1: i, j in A, self included).

    Args:
        available: bool tensor ``[B, S]``, which sequences each sample has; samples may have none.
        policy: ``"random"``, one random source per sample, reconstructed as itself and as one other random available
            sequence; ``"one_to_all"``, one random source to all available ones; ``"all"``, every available pair.

    Returns:
        Float tensor ``[B, S, S]`` on the CPU, indexed (sample, source, target): 0 where a pair is not computed,
        otherwise one over the probability of choosing it. Every source is reconstructed as itself, so the diagonal has
        one over the probability of a source.

    Raises:
        ValueError: when the policy is unknown.
    """
    available = available.cpu()
    both = (available[:, :, None] & available[:, None, :]).float()
    if policy == "all":
        return both
    if policy not in ("random", "one_to_all"):
        raise ValueError(f"Unknown pairs policy '{policy}'; choose random, one_to_all or all.")
    count = available.sum(dim=1)
    source = _choose_one(available) * count[:, None]
    if policy == "one_to_all":
        return both * source[:, :, None]
    other = _choose_one(available & (source == 0)) * (count[:, None] - 1)
    return source[:, :, None] * (torch.eye(available.shape[1]) + other[:, None, :])


def choose_cycles(pairs: torch.Tensor, policy: CyclePolicy = "random") -> torch.Tensor:
    """Choose the sequences through which each source is sent and brought back (Eq. 3: every j ≠ i of all S).

    Eq. 2 is taken over the same translations. Neither asks for availability: the translation in the middle is never
    compared with an image.

    Args:
        pairs: weights ``[B, S, S]`` of :func:`choose_pairs`; its sources are the cycles' starts.
        policy: ``"random"``, one random j per source; or ``"all"``.

    Returns:
        Float tensor ``[B, S, S]`` on the CPU, indexed (sample, source, sequence in between): 0 where there is no cycle,
        otherwise one over the probability of choosing it. Empty for S = 1.

    Raises:
        ValueError: when the policy is unknown.
    """
    source = pairs.diagonal(dim1=1, dim2=2)
    sequences = source.shape[1]
    others = (source > 0)[:, :, None] & ~torch.eye(sequences, dtype=torch.bool)
    if policy == "all":
        return source[:, :, None] * others
    if policy != "random":
        raise ValueError(f"Unknown cycle policy '{policy}'; choose random or all.")
    between = _choose_one(others.flatten(0, 1)).unflatten(0, others.shape[:2])
    return source[:, :, None] * between * (sequences - 1)


def _choose_one(candidates: torch.Tensor) -> torch.Tensor:
    """Return a float one-hot row for each row of bool candidates ``[N, S]``, zeros where there is none."""
    weights = candidates.float()
    empty = weights.sum(dim=1, keepdim=True) == 0
    index = torch.multinomial(weights + empty, 1)[:, 0]
    return one_hot(index, weights.shape[1]).float() * ~empty
