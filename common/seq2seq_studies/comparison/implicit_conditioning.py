# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Losses of networks that complete what is missing: they look at the sequences that were hidden from the network.

Three sets of sequences are told apart: those that a subject's examination has (``measured``), those of them that the
network is given (``available``), and those that can teach it something (measured but not available).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn

from seq2seq_mri.losses.generator_loss import MEASURES
from seq2seq_mri.sequences import check_sequences

__all__ = ["ImplicitConditioningLoss", "SelectiveAdversarialLoss"]


class ImplicitConditioningLoss(nn.Module):
    """Mean difference over the sequences that were hidden from the network.

    Sources: Sharma and Hamarneh (MM-GAN, IEEE TMI 2020), implicit conditioning: the loss of synthesised sequences
    only, each sequence weighing the same. Dalmaz et al. (ResViT, IEEE TMI 2022) add the available
    sequences, which the network has to reproduce: there, ``lambda_available`` is 1, for a pixel-wise and a
    reconstruction term of equal weights.

    Args:
        sequences: the sequence table, name to number of timepoints.
        measure: ``"l1"`` (both papers), ``"smooth_l1"`` or ``"mse"``.
        lambda_available: weight of the mean over available sequences. Above 0, the prediction must be the network's own
            output (:meth:`predict`): copied sequences have no loss.

    Raises:
        ValueError: when ``measure`` is unknown or the weight negative.

    Example:
        >>> loss = ImplicitConditioningLoss({"t1": 1, "t2": 1, "flair": 1})
        >>> available, measured = torch.tensor([[True, False, False]]), torch.tensor([[True, True, False]])
        >>> loss(torch.zeros(1, 3, 1, 8, 8), torch.ones(1, 3, 1, 8, 8), available, measured)
        tensor([1.])
    """

    def __init__(self, sequences: Mapping[str, int], measure: str = "l1", lambda_available: float = 0.0) -> None:
        super().__init__()
        if measure not in MEASURES:
            raise ValueError(f"Unknown reconstruction loss '{measure}'; choose one of {', '.join(MEASURES)}.")
        if not 0 <= lambda_available < math.inf:
            raise ValueError(f"lambda_available is {lambda_available}; give a finite number of at least 0.")
        self.timepoints = list(check_sequences(sequences).values())
        self.difference = MEASURES[measure](reduction="none")
        self.lambda_available = lambda_available

    def forward(
        self, prediction: torch.Tensor, truth: torch.Tensor, available: torch.Tensor, measured: torch.Tensor
    ) -> torch.Tensor:
        """Compare.

        Args:
            prediction: ``(B, ΣT, C, *spatial)``.
            truth: measured images of the same shape; anything where a sequence is not measured.
            available: bool ``(B, S)``, what the network was given.
            measured: bool ``(B, S)``, what there is.

        Returns:
            One value per sample, float32 ``(B,)``; 0 when nothing that was measured had been hidden.

        Raises:
            ValueError: when the shapes do not fit, or a sequence is available that is not measured.
        """
        if prediction.shape != truth.shape or prediction.shape[1] != sum(self.timepoints):
            raise ValueError(
                f"The prediction has shape {tuple(prediction.shape)} and its truth {tuple(truth.shape)}; they must be "
                f"equal, with {sum(self.timepoints)} timepoints."
            )
        if bool((available & ~measured).any()):
            raise ValueError("A sequence is available to the network that is not measured; hide it, or mark it.")
        pairs = zip(prediction.split(self.timepoints, 1), truth.split(self.timepoints, 1), measured.T, strict=True)
        by_sequence = torch.stack(
            [
                # What is not measured may hold NaN, which no weight of 0 would remove.
                self.difference(made.float(), _only(real.float(), there)).flatten(1).mean(1)
                for made, real, there in pairs
            ],
            dim=1,
        )
        loss = _mean(by_sequence, measured & ~available)
        if self.lambda_available > 0:
            loss = loss + self.lambda_available * _mean(by_sequence, available)
        return loss


class SelectiveAdversarialLoss(nn.Module):
    """The least-squares adversarial loss of a discriminator with one output for each sequence.

    Source: Sharma and Hamarneh (MM-GAN, IEEE TMI 2020), implicit conditioning: of a completed image, the discriminator
    has to call the synthesised sequences false and the copied ones real; the generator wants all of them called real.
    Sequences of which no measurement exists are left out of both: there is nothing to compare them with.
    """

    def generator(self, logits: torch.Tensor, measured: torch.Tensor) -> torch.Tensor:
        """Return the generator's loss, one value per sample ``(B,)``.

        Args:
            logits: of a completed image, ``(B, S, *patches)``.
            measured: bool ``(B, S)``.
        """
        return self.discriminator(logits, measured, measured)

    def discriminator(self, logits: torch.Tensor, real: torch.Tensor, measured: torch.Tensor) -> torch.Tensor:
        """Return one of the two parts of the discriminator's loss, one value per sample ``(B,)``.

        Args:
            logits: of a measured image, or of a completed one that is detached from the generator,
                ``(B, S, *patches)``.
            real: bool ``(B, S)``, which sequences are real: of a measured image ``measured``, of a completed one
                ``available``.
            measured: bool ``(B, S)``.
        """
        wanted = real.to(torch.float32).view(list(real.shape) + [1] * (logits.dim() - 2))
        return _mean((logits.float() - wanted).square().flatten(2).mean(2), measured)


def _only(image: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Return ``image`` ``(B, ...)`` with 0 in samples that are not chosen."""
    return image.masked_fill(~chosen.view([-1] + [1] * (image.dim() - 1)), 0.0)


def _mean(values: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Return the mean of the chosen values of each row, 0 where none is."""
    return (values * chosen).sum(1) / chosen.sum(1).clamp(min=1)
