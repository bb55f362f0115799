# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The terms that train the generator, with their weights (Eq. 1, 2 and 3), and the loss of its discriminators."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping

import torch
from monai.losses import PatchAdversarialLoss
from torch import nn

from seq2seq_mri.losses.perceptual import SequencePerceptualLoss

__all__ = ["MEASURES", "Seq2SeqLoss", "least_squares"]

MEASURES = {"l1": nn.L1Loss, "smooth_l1": nn.SmoothL1Loss, "mse": nn.MSELoss}

# MONAI puts a leaky ReLU on the logits by default; Eq. 2 has none.
_LEAST_SQUARES = PatchAdversarialLoss(reduction="none", criterion="least_squares", no_activation_leastsq=True)


def least_squares(logits: torch.Tensor, real: bool) -> torch.Tensor:
    """Return the mean over patches of (D − 1)², where the images shall be judged real, or of D², ``(B,)``.

    Args:
        logits: D, a discriminator's patch logits ``(B, ...)``, without activation.
        real: True for measured images, and for synthesised ones with which a generator wants to be believed.
    """
    (squares,) = _LEAST_SQUARES(logits.float(), target_is_real=real, for_discriminator=True)
    return squares.flatten(1).mean(1)


class Seq2SeqLoss(nn.Module):
    """Eq. 1, 2 and 3 of Han et al. (Medical Image Analysis 2024): terms and weights, without any training code.

    With X_i a measured image of sequence i, X'_j its translation into sequence j and X''_i the translation of X'_j
    back into i:

    - ``reconstruction`` and ``perceptual`` (Eq. 1): λ_r ‖X'_j − X_j‖₁ + λ_p L_p(X'_j, X_j), for measured j;
    - ``adversarial`` (Eq. 2): λ_adv (D_j(X'_j) − 1)²;
    - ``cycle`` (Eq. 3): λ_cyc ‖X''_i − X_i‖₁, for every j ≠ i, measured or not.

    The methods return each term unweighted with one value per sample; the step averages them over pairs and patients,
    and ``total`` adds them up with the weights.

    Args:
        lambda_reconstruction: λ_r.
        lambda_perceptual: λ_p; at 0 no perceptual network is built and no weights are looked for.
        lambda_cycle: λ_cyc.
        lambda_adversarial: λ_adv; at 0 no discriminators are needed.
        reconstruction: ``"l1"`` (the paper), ``"smooth_l1"`` (β = 1, the released code) or ``"mse"``, of the
            reconstruction and the cycle term.
        perceptual_network, perceptual_weights, perceptual_fraction: of :class:`SequencePerceptualLoss`.

    Raises:
        ValueError: when a weight is negative, ``reconstruction`` or ``perceptual_network`` is unknown, or the weights
            of the perceptual network cannot be had.

    Example:
        >>> loss = Seq2SeqLoss(lambda_perceptual=0)
        >>> terms = loss.translation(torch.zeros(2, 1, 3, 8, 8), torch.ones(2, 1, 3, 8, 8))
        >>> loss.total(terms)
        tensor([10., 10.])
    """

    def __init__(
        self,
        lambda_reconstruction: float = 10.0,
        lambda_perceptual: float = 0.01,
        lambda_cycle: float = 10.0,
        lambda_adversarial: float = 0.0,
        reconstruction: str = "l1",
        perceptual_network: str = "vgg19",
        perceptual_weights: str | os.PathLike | None = None,
        perceptual_fraction: float = 0.25,
    ) -> None:
        super().__init__()
        self.lambda_reconstruction = lambda_reconstruction
        self.lambda_perceptual = lambda_perceptual
        self.lambda_cycle = lambda_cycle
        self.lambda_adversarial = lambda_adversarial
        for term, weight in self.weights.items():
            if not 0 <= weight < math.inf:
                raise ValueError(
                    f"lambda_{term} is {weight}; give a finite number of at least 0 (0: without the term)."
                )
        if reconstruction not in MEASURES:
            raise ValueError(f"Unknown reconstruction loss '{reconstruction}'; choose one of {', '.join(MEASURES)}.")
        self.difference = MEASURES[reconstruction](reduction="none")
        self.perceptual: SequencePerceptualLoss | None = None
        if self.lambda_perceptual > 0:
            self.perceptual = SequencePerceptualLoss(perceptual_network, perceptual_weights, perceptual_fraction)

    def translation(self, prediction: torch.Tensor, truth: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the terms of Eq. 1 whose weights are above 0: ``"reconstruction"``, ``"perceptual"``, each ``(B,)``.

        They are not multiplied by their weights.

        Args:
            prediction: translations X'_j, ``(B, T, C, *spatial)``, intensities in [0, 1].
            truth: the measured images X_j of the same shape; they get no gradient.
        """
        terms = {}
        if self.lambda_reconstruction > 0:
            terms["reconstruction"] = self.reconstruction(prediction, truth)
        if self.perceptual is not None:
            terms["perceptual"] = self.perceptual(prediction, truth)
        return terms

    def reconstruction(self, prediction: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Return the mean voxelwise difference of each sample ``(B, T, C, *spatial)``, as of Eq. 1 and 3, ``(B,)``."""
        return self.difference(prediction.float(), truth.float()).flatten(1).mean(1)

    def adversarial(self, logits: torch.Tensor) -> torch.Tensor:
        """Return (D_j(X'_j) − 1)², the generator's part of Eq. 2, ``(B,)``; see :func:`least_squares`."""
        return least_squares(logits, real=True)

    def discriminator(self, logits: torch.Tensor, real: bool) -> torch.Tensor:
        """Return (D_j(X_j) − 1)² of measured images or D_j(X'_j)² of detached translations, Eq. 2, ``(B,)``."""
        return least_squares(logits, real)

    @property
    def weights(self) -> dict[str, float]:
        """λ of each term."""
        return {
            "reconstruction": self.lambda_reconstruction,
            "perceptual": self.lambda_perceptual,
            "cycle": self.lambda_cycle,
            "adversarial": self.lambda_adversarial,
        }

    def total(self, terms: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return Σ λ_term · term, of the shape of the terms: numbers, or one value per sample.

        Raises:
            ValueError: when there is no term.
        """
        if not terms:
            raise ValueError("There is no loss: the weights of all terms are 0.")
        return torch.stack([self.weights[name] * value for name, value in terms.items()]).sum(0)
