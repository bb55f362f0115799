# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The least-squares adversarial loss between the generator and the discriminator of one target sequence (Eq. 2)."""

from __future__ import annotations

import torch
from monai.losses import PatchAdversarialLoss
from torch import nn

__all__ = ["LeastSquaresAdversarialLoss"]


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
