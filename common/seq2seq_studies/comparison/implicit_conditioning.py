# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Hiding measured sequences from a network in training, and losses of what was hidden.

Three sets of sequences are told apart: those that a subject's examination has (``measured``), those of them that the
network is given (``available``), and those that can teach it something (measured but not available).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

__all__ = [
    "hide_by_curriculum",
    "hide_sequences",
    "implicit_conditioning_loss",
    "seed_of_step",
    "selective_adversarial_loss",
]


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
    """
    available = measured.cpu().bool().clone()
    # The first sequences of a random order are a random choice.
    order = torch.rand(available.shape, generator=generator).masked_fill(~available, 2.0).argsort(dim=1)
    for row, count in enumerate(available.sum(dim=1).tolist()):
        numbers = torch.arange(min(fewest, count - 1), min(most, count - 1) + 1)
        choices = torch.tensor([float(math.comb(count, number)) for number in numbers.tolist()])
        hidden = int(numbers[torch.multinomial(choices, 1, generator=generator)])
        available[row, order[row, :hidden]] = False
    return available.to(measured.device)


def hide_by_curriculum(measured: torch.Tensor, step: int, steps_per_stage: int, seed: int = 0) -> torch.Tensor:
    """Choose what a network is given: first one sequence is missing, then up to two, and so on up to all but one.

    Source: Sharma and Hamarneh (MM-GAN, IEEE TMI 2020), curriculum learning. The released code hides one of four
    sequences for the first ten epochs, then more for ten epochs each, and goes on with all possibilities. Here every
    stage has all choices up to its number of missing sequences, drawn for each subject, and with equal probabilities;
    the last stage, all possibilities, lasts to the end.

    Args:
        measured: as of :func:`hide_sequences`.
        step: the training step, counted from 0; what is drawn depends on it and ``seed`` only.
        steps_per_stage: number of steps of each stage but the last. 0 begins with the last one: no curriculum, as in
            ResViT.
        seed: of the random draws.

    Example:
        >>> measured = torch.ones(2, 4, dtype=torch.bool)
        >>> hide_by_curriculum(measured, step=9, steps_per_stage=10).sum(1)
        tensor([3, 3])
    """
    most = measured.shape[1] - 1
    if steps_per_stage > 0:
        most = min(1 + step // steps_per_stage, most)
    return hide_sequences(measured, 1, most, torch.Generator().manual_seed(seed_of_step(seed, step)))


def seed_of_step(seed: int, step: int) -> int:
    """Return the seed of all that is random in a training step, which depends on nothing else."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> 1)


def implicit_conditioning_loss(
    prediction: torch.Tensor,
    truth: torch.Tensor,
    available: torch.Tensor,
    measured: torch.Tensor,
    timepoints: Sequence[int],
    lambda_available: float = 0.0,
) -> torch.Tensor:
    """Return the mean absolute difference over the sequences that were hidden, each weighing the same; one per sample.

    Sources: Sharma and Hamarneh (MM-GAN, IEEE TMI 2020), implicit conditioning. Dalmaz et al. (ResViT, IEEE TMI 2022)
    add the available sequences, which the network has to reproduce: there, ``lambda_available`` is 1, for a pixel-wise
    and a reconstruction term of equal weights.

    Args:
        prediction: ``(B, ΣT, C, *spatial)``.
        truth: images of the same shape; anything, even NaN, where a sequence is not measured.
        available: bool ``(B, S)``, what the network was given.
        measured: bool ``(B, S)``, what there is.
        timepoints: number of each sequence.
        lambda_available: weight of the mean over available sequences. Above 0, the prediction must be the network's own
            output (:meth:`predict`): copied sequences have no loss.

    Returns:
        Float32 ``(B,)``; 0 when nothing that was measured had been hidden.
    """
    # No weight of 0 would remove a NaN.
    there = measured.repeat_interleave(torch.tensor(timepoints, device=measured.device), dim=1)
    shown = truth.float().masked_fill(~there.view([*there.shape] + [1] * (truth.dim() - 2)), 0.0)
    parts = (prediction.float() - shown).abs().split(list(timepoints), dim=1)
    by_sequence = torch.stack([part.flatten(1).mean(1) for part in parts], dim=1)
    loss = _mean(by_sequence, measured & ~available)
    if lambda_available > 0:
        loss = loss + lambda_available * _mean(by_sequence, available)
    return loss


def selective_adversarial_loss(logits: torch.Tensor, real: torch.Tensor, measured: torch.Tensor) -> torch.Tensor:
    """Return the least-squares loss ``(B,)`` of a discriminator with one output for each sequence.

    Source: Sharma and Hamarneh (MM-GAN, IEEE TMI 2020), implicit conditioning: of a completed image, the discriminator
    has to call the synthesised sequences false and the copied ones real; the generator wants all of them called real.
    Sequences of which no measurement exists are left out of both: there is nothing to compare them with.

    Args:
        logits: ``(B, S, *patches)``.
        real: bool ``(B, S)``, which sequences are to be called real: for the discriminator, ``measured`` of a measured
            image and ``available`` of a completed one; for the generator, ``measured``.
        measured: bool ``(B, S)``.
    """
    wanted = real.to(torch.float32).view(list(real.shape) + [1] * (logits.dim() - 2))
    return _mean((logits.float() - wanted).square().flatten(2).mean(2), measured)


def _mean(values: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Return the mean of the chosen values of each row, 0 where none is."""
    return (values * chosen).sum(1) / chosen.sum(1).clamp(min=1)
