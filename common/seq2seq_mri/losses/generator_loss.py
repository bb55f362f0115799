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

__all__ = ["MEASURES", "LeastSquaresAdversarialLoss", "ReconstructionLoss", "Seq2SeqLoss"]

MEASURES = {"l1": nn.L1Loss, "smooth_l1": nn.SmoothL1Loss, "mse": nn.MSELoss}


class ReconstructionLoss(nn.Module):
    """Mean voxelwise difference of each sample.

    One value per sample, so that a trainer can average over the pairs of a patient before it averages over patients:
    a patient with many available sequences then weighs as much as one with few.

    Args:
        measure: ``"l1"`` (Han et al., Medical Image Analysis 2024, Eq. 1 and 3), ``"smooth_l1"`` (β = 1, as in the
            authors' released code) or ``"mse"``.

    Raises:
        ValueError: when ``measure`` is none of them.

    Example:
        >>> ReconstructionLoss()(torch.zeros(2, 1, 3, 8, 8), torch.ones(2, 1, 3, 8, 8))
        tensor([1., 1.])
    """

    def __init__(self, measure: str = "l1") -> None:
        super().__init__()
        if measure not in MEASURES:
            raise ValueError(f"Unknown reconstruction loss '{measure}'; choose one of {', '.join(MEASURES)}.")
        self.measure = measure
        self.difference = MEASURES[measure](reduction="none")

    def forward(self, prediction: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Compare.

        Args:
            prediction: synthesised images, ``(B, T, C, *spatial)``.
            truth: measured images of the same shape.

        Returns:
            the mean over T, C and space, float32 of shape ``(B,)``.

        Raises:
            ValueError: when the shapes differ; they are never broadcast.
        """
        if prediction.shape != truth.shape:
            raise ValueError(
                f"The prediction has shape {tuple(prediction.shape)} and its truth {tuple(truth.shape)}; they must be "
                "equal."
            )
        return self.difference(prediction.float(), truth.float()).flatten(1).mean(1)


class LeastSquaresAdversarialLoss(nn.Module):
    """Eq. 2 of Han et al. (Medical Image Analysis 2024), on MONAI's ``PatchAdversarialLoss``.

    With D_j the discriminator of target sequence j, X_j a measured and X'_j a synthesised image of it:

    - the discriminator minimises (D_j(X_j) − 1)² + D_j(X'_j)²;
    - the generator minimises (D_j(X'_j) − 1)².

    MONAI puts a leaky ReLU on the logits by default; Eq. 2 has none, so it is switched off here.
    """

    def __init__(self) -> None:
        super().__init__()
        self.least_squares = PatchAdversarialLoss(
            reduction="none", criterion="least_squares", no_activation_leastsq=True
        )

    def generator(self, synthesised_logits: torch.Tensor) -> torch.Tensor:
        """Return the generator's loss.

        Args:
            synthesised_logits: D_j's patch logits of synthesised images, ``(B, ...)``, without activation (the last
                output of MONAI's PatchDiscriminator).

        Returns:
            one value ≥ 0 per sample, the mean over patches, ``(B,)``.
        """
        return self._per_sample(synthesised_logits, is_real=True, for_discriminator=False)

    def discriminator(self, logits: torch.Tensor, real: bool) -> torch.Tensor:
        """Return one of the two parts of the discriminator's loss.

        Args:
            logits: D_j's patch logits, ``(B, ...)``, of measured images, or of synthesised ones that are detached from
                the generator.
            real: whether the images are measured.

        Returns:
            (D_j(X_j) − 1)² or D_j(X'_j)², the mean over patches, ``(B,)``.
        """
        return self._per_sample(logits, is_real=real, for_discriminator=True)

    def _per_sample(self, logits: torch.Tensor, is_real: bool, for_discriminator: bool) -> torch.Tensor:
        # MONAI gives a list with one entry per discriminator of a multi-scale one; here there is one.
        (squares,) = self.least_squares(logits.float(), target_is_real=is_real, for_discriminator=for_discriminator)
        return squares.flatten(1).mean(1)


class Seq2SeqLoss(nn.Module):
    """Eq. 1, 2 and 3 of Han et al. (Medical Image Analysis 2024): terms and weights, without any training code.

    With X_i a measured image of sequence i, X'_j its translation into sequence j and X''_i the translation of X'_j
    back into i:

    - ``reconstruction`` and ``perceptual`` (Eq. 1): λ_r ‖X'_j − X_j‖₁ + λ_p L_p(X'_j, X_j), for measured j;
    - ``adversarial`` (Eq. 2): λ_adv (D_j(X'_j) − 1)²;
    - ``cycle`` (Eq. 3): λ_cyc ‖X''_i − X_i‖₁, for every j ≠ i, measured or not.

    The methods return each term unweighted with one value per sample. The trainer averages them over the pairs of a
    patient and over patients as its pairing asks, and ``total`` adds them up with the weights.

    Args:
        lambda_reconstruction: λ_r.
        lambda_perceptual: λ_p; at 0 no perceptual network is built and no weights are looked for.
        lambda_cycle: λ_cyc.
        lambda_adversarial: λ_adv; at 0 no discriminators are needed.
        reconstruction: ``"l1"``, ``"smooth_l1"`` or ``"mse"``; used by the reconstruction and the cycle term.
        perceptual_network: see :class:`SequencePerceptualLoss`.
        perceptual_weights: see the same.
        perceptual_fraction: share of axial slices that the perceptual term looks at when images are 3D.

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
        self.lambda_reconstruction = _checked_weight("reconstruction", lambda_reconstruction)
        self.lambda_perceptual = _checked_weight("perceptual", lambda_perceptual)
        self.lambda_cycle = _checked_weight("cycle", lambda_cycle)
        self.lambda_adversarial = _checked_weight("adversarial", lambda_adversarial)
        self.reconstruction = ReconstructionLoss(reconstruction)
        self.adversary = LeastSquaresAdversarialLoss()
        self.perceptual: SequencePerceptualLoss | None = None
        if self.lambda_perceptual > 0:
            self.perceptual = SequencePerceptualLoss(perceptual_network, perceptual_weights, perceptual_fraction)

    def translation(self, prediction: torch.Tensor, truth: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the terms of Eq. 1 whose weights are above 0.

        Args:
            prediction: translations X'_j, ``(B, T, C, *spatial)``, intensities in [0, 1].
            truth: the measured images X_j of the same shape; they get no gradient.

        Returns:
            ``{"reconstruction": ..., "perceptual": ...}``, unweighted, each ``(B,)``. A term of weight 0 is absent.
        """
        terms = {}
        if self.lambda_reconstruction > 0:
            terms["reconstruction"] = self.reconstruction(prediction, truth)
        if self.perceptual is not None:
            terms["perceptual"] = self.perceptual(prediction, truth)
        return terms

    def cycle(self, prediction: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Return the term of Eq. 3, unweighted, ``(B,)``.

        Args:
            prediction: images translated there and back, X''_i, ``(B, T, C, *spatial)``.
            truth: the measured images X_i from which they came, of the same shape.
        """
        return self.reconstruction(prediction, truth)

    def adversarial(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the generator's part of Eq. 2, unweighted, ``(B,)``.

        Args:
            logits: D_j(X'_j), ``(B, ...)``, without activation.
        """
        return self.adversary.generator(logits)

    def discriminator(self, logits: torch.Tensor, real: bool) -> torch.Tensor:
        """Return the part of a discriminator's loss (Eq. 2) that measured or synthesised images cause, ``(B,)``.

        Args:
            logits: D_j(X_j), or D_j(X'_j) with X'_j detached from the generator, ``(B, ...)``, without activation.
            real: whether the images are measured.
        """
        return self.adversary.discriminator(logits, real)

    def total(self, terms: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Add terms up with their weights.

        Args:
            terms: values of ``reconstruction``, ``perceptual``, ``cycle``, ``adversarial``; any of them, single numbers
                or one value per sample.

        Returns:
            Σ λ_term · term, of the shape of the terms.

        Raises:
            ValueError: when there is no term, or one is unknown.
        """
        weights = {
            "reconstruction": self.lambda_reconstruction,
            "perceptual": self.lambda_perceptual,
            "cycle": self.lambda_cycle,
            "adversarial": self.lambda_adversarial,
        }
        unknown = [term for term in terms if term not in weights]
        if unknown or not terms:
            raise ValueError(
                f"Cannot add up the loss terms {', '.join(unknown) or '(none)'}; known are {', '.join(weights)}."
            )
        return torch.stack([weights[term] * value for term, value in terms.items()]).sum(0)


def _checked_weight(term: str, weight: float) -> float:
    if not 0 <= weight < math.inf:
        raise ValueError(f"lambda_{term} is {weight}; give a finite number of at least 0 (0 turns the term off).")
    return float(weight)
