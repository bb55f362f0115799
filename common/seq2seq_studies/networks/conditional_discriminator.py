# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The patch discriminator that sees an image together with what it was made from."""

from __future__ import annotations

import torch
from monai.networks.nets.patchgan_discriminator import PatchDiscriminator
from torch import nn

__all__ = ["ConditionalDiscriminator"]


class ConditionalDiscriminator(nn.Module):
    """A patch discriminator of the channels of condition and image together.

    Source: Isola et al., "Image-to-image translation with conditional adversarial networks", CVPR 2017, section 3.2.2;
    three layers give its patches of 70 × 70 pixels. What the methods give it:

    - Pix2Pix (one for each pair): condition the source, image the target, one output;
    - MM-GAN: condition the measured image, image the completed one, an output for each sequence (the released code has
      one more halving);
    - ResViT: condition what the network was given, image the completed one, one output.

    Args:
        spatial_dims: 2 or 3.
        condition_channels: channels of the condition, all timepoints together.
        image_channels: channels of the image, all timepoints together.
        out_channels: number of scores of each patch.
        width: feature channels of the first layer; they double with each further layer.
        num_layers: number of layers after the first; all but the last of them halve the spatial size.

    Example:
        >>> discriminator = ConditionalDiscriminator(2, 1, 4, width=8, num_layers=2)
        >>> discriminator(torch.rand(1, 1, 1, 32, 32), torch.rand(1, 4, 1, 32, 32)).shape
        torch.Size([1, 1, 6, 6])
    """

    def __init__(
        self,
        spatial_dims: int,
        condition_channels: int,
        image_channels: int,
        out_channels: int = 1,
        width: int = 64,
        num_layers: int = 3,
    ) -> None:
        super().__init__()
        self.network = PatchDiscriminator(
            spatial_dims=spatial_dims,
            channels=width,
            in_channels=condition_channels + image_channels,
            out_channels=out_channels,
            num_layers_d=num_layers,
            norm="INSTANCE",
        )

    def forward(self, condition: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """Judge images.

        Args:
            condition: ``(B, T, C, *spatial)``.
            image: ``(B, T', C', *spatial)``.

        Returns:
            Scores of overlapping patches ``(B, out_channels, *patches)``, without activation: high means real.
        """
        # PatchDiscriminator returns every layer's output; the last is the score.
        return self.network(torch.cat([condition.flatten(1, 2), image.flatten(1, 2)], dim=1))[-1]
