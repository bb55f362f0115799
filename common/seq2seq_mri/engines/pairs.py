# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Which translations a training step computes, given the sequences that each subject of the batch has."""

from __future__ import annotations

from typing import Literal

import torch

__all__ = ["PairPolicy", "choose_cycle_targets", "choose_pairs"]

PairPolicy = Literal["random", "one_to_all", "all"]


def choose_pairs(
    available: torch.Tensor, policy: PairPolicy = "random", generator: torch.Generator | None = None
) -> torch.Tensor:
    """Choose the (source, target) pairs whose reconstruction is trained (Eq. 1: i, j in A, self included).

    Args:
        available: bool tensor ``[B, S]``, which sequences each subject has; at least one each.
        policy: ``"random"``, one random source per subject, reconstructed as itself and as one other random available
            sequence; ``"one_to_all"``, one random source to all available ones; ``"all"``, every available pair.
        generator: random generator on the CPU; the global one by default.

    Returns:
        Bool tensor ``[B, S, S]`` on the CPU, indexed (subject, source, target).

    Raises:
        ValueError: when the policy is unknown, or a subject has no sequence.
    """
    available = available.cpu()
    if not bool(available.any(dim=1).all()):
        raise ValueError("A subject of the batch has no available sequence; remove it from the datalist.")
    both = available[:, :, None] & available[:, None, :]
    if policy == "all":
        return both
    batch, sequences = available.shape
    source = torch.multinomial(available.float(), 1, generator=generator)[:, 0]
    is_source = torch.nn.functional.one_hot(source, sequences).bool()
    if policy == "one_to_all":
        return both & is_source[:, :, None]
    if policy != "random":
        raise ValueError(f"Unknown pairs policy '{policy}'; choose random, one_to_all or all.")
    others = (available & ~is_source).float()
    # A subject with one sequence has no other to choose; it is only reconstructed as itself.
    others[others.sum(dim=1) == 0] = is_source[others.sum(dim=1) == 0].float()
    target = torch.multinomial(others, 1, generator=generator)[:, 0]
    pairs = torch.zeros(batch, sequences, sequences, dtype=torch.bool)
    rows = torch.arange(batch)
    pairs[rows, source, source] = True
    pairs[rows, source, target] = True
    return pairs


def choose_cycle_targets(
    pairs: torch.Tensor, policy: Literal["random", "all"] = "random", generator: torch.Generator | None = None
) -> torch.Tensor:
    """Choose the sequences through which each source is sent and brought back (Eq. 3: every j != i of all S).

    Eq. 3 does not ask for availability: the translation in the middle is never compared with an image.

    Args:
        pairs: bool tensor ``[B, S, S]`` of :func:`choose_pairs`; its sources are the cycles' starts.
        policy: ``"random"``, one random j per source, the same expectation at a fraction of the cost; or ``"all"``.
        generator: random generator on the CPU; the global one by default.

    Returns:
        Bool tensor ``[B, S, S]`` on the CPU, indexed (subject, source, sequence in between). Empty for S = 1.

    Raises:
        ValueError: when the policy is unknown.
    """
    sequences = pairs.shape[1]
    sources = pairs.any(dim=2)
    candidates = sources[:, :, None] & ~torch.eye(sequences, dtype=torch.bool)
    if policy == "all":
        return candidates
    if policy != "random":
        raise ValueError(f"Unknown cycle policy '{policy}'; choose random or all.")
    cycles = torch.zeros_like(pairs)
    if sequences == 1:
        return cycles
    rows, starts = torch.nonzero(sources, as_tuple=True)
    between = torch.multinomial(candidates[rows, starts].float(), 1, generator=generator)[:, 0]
    cycles[rows, starts, between] = True
    return cycles
