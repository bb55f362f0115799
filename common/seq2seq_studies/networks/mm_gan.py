# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""MM-GAN: a U-Net with all sequences as input channels and all sequences as output channels.

Source: Sharma and Hamarneh, "Missing MRI pulse sequence synthesis using multi-modal generative adversarial network",
IEEE Transactions on Medical Imaging 39(4), 2020 (arXiv:1904.12200): generator, implicit conditioning and curriculum
learning. What belongs to the method besides the network:

- missing sequences are given as zeros, and only they are taken from the output ("implicit conditioning"):
  :class:`ManyToMany`;
- the loss looks at missing sequences only: :mod:`seq2seq_studies.comparison.implicit_conditioning`;
- first one sequence is missing, later more: :func:`hide_by_curriculum` in the same module;
- the discriminator sees completed beside measured images and says of each sequence whether it is real:
  :class:`ConditionalDiscriminator` with S outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from monai.networks.blocks import Convolution
from monai.networks.layers.factories import Conv
from monai.networks.utils import normal_init
from torch import nn

from seq2seq_mri.networks.functional import crop_to, pad_to_multiple
from seq2seq_studies.networks.many_to_many import ManyToMany, output_layer

__all__ = ["MMGAN"]

#: Levels from this one on (counted from 0) have dropout.
_FIRST_DROPOUT_LEVEL = 3


class MMGAN(ManyToMany):
    """The generator of MM-GAN: strided convolutions of kernel size 4, transposed ones back, skip connections.

    With six levels and four sequences, it has 29 241 348 parameters, the 29 million of comparisons. The released code
    has eight levels (``channels=(64, 128, 256, 512, 512, 512, 512, 512)``, 54 407 172 parameters).

    Args:
        spatial_dims: 2 (the paper) or 3 (the same convolutions in three dimensions).
        sequences, in_channels: see :class:`ManyToMany`.
        channels: feature channels of each level; every level halves the spatial size. At least two.
        dropout_rate: of the fourth level and those below it.
        output_activation: see :func:`output_layer`; the paper's intensities have no upper bound, hence its ReLU.

    Example:
        >>> network = MMGAN(2, {"t1": 1, "t2": 1, "dce": 4}, channels=(4, 8, 8))
        >>> network(torch.rand(1, 6, 1, 21, 18), torch.tensor([[True, False, False]])).shape
        torch.Size([1, 6, 1, 21, 18])
    """

    def __init__(
        self,
        spatial_dims: int,
        sequences: Mapping[str, int],
        in_channels: int = 1,
        channels: Sequence[int] = (64, 128, 256, 512, 512, 512),
        dropout_rate: float = 0.2,
        output_activation: str = "relu",
    ) -> None:
        super().__init__(spatial_dims, sequences, in_channels)
        self.multiple = 2 ** len(channels)
        last = len(channels) - 1

        def layer(level: int, width_in: int, width_out: int, upwards: bool) -> Convolution:
            # Nothing is normalised at full detail, nor at the deepest level, which may be a single voxel.
            normalised = upwards or 0 < level < last
            return Convolution(
                spatial_dims,
                width_in,
                width_out,
                strides=2,
                kernel_size=4,
                padding=1,
                output_padding=0 if upwards else None,
                is_transposed=upwards,
                bias=False,
                adn_ordering="NAD",
                norm="INSTANCE" if normalised else None,
                act="RELU" if upwards else ("LEAKYRELU", {"negative_slope": 0.2}),
                dropout=dropout_rate if level >= _FIRST_DROPOUT_LEVEL else None,
            )

        widths = [self.image_channels, *channels]
        self.downwards = nn.ModuleList(
            layer(level, widths[level], widths[level + 1], upwards=False) for level in range(len(channels))
        )
        self.upwards = nn.ModuleList(
            # All but the first have the output of the level below together with its skip connection as input.
            layer(level, channels[level + 1] * (1 if level == last - 1 else 2), channels[level], upwards=True)
            for level in reversed(range(last))
        )
        self.output = Conv[Conv.CONV, spatial_dims](2 * channels[0], self.image_channels, 4, padding=1)
        self.output_activation = output_layer(output_activation)
        # Normal weights with a standard deviation of 0.02.
        self.apply(normal_init)

    def synthesise(self, given: torch.Tensor, available: torch.Tensor) -> torch.Tensor:
        """Synthesise all sequences at once; see :meth:`ManyToMany.synthesise`."""
        image = given.flatten(1, 2)
        x = pad_to_multiple(image, self.multiple)
        skips: list[torch.Tensor] = []
        for layer in self.downwards:
            x = layer(x)
            skips.append(x)
        for index, layer in enumerate(self.upwards):
            x = torch.cat([layer(x), skips[len(skips) - 2 - index]], dim=1)
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        # A kernel of even size keeps the size with one more value before than after.
        x = self.output_activation(self.output(F.pad(x, [1, 0] * (x.dim() - 2))))
        return crop_to(x, list(image.shape[2:])).view(given.shape)
