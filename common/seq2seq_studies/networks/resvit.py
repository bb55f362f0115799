# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""ResViT: a convolutional encoder and decoder around residual convolutions and transformers, in its unified form.

Source: Dalmaz et al., "ResViT: Residual vision transformers for multi-modal medical image synthesis", IEEE Transactions
on Medical Imaging 41(10), 2022 (arXiv:2106.16031): residual vision transformers, and the unified synthesis model, which
is given all sequences, the missing ones as zeros, and returns all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from monai.utils import ensure_tuple_rep

from seq2seq_studies.networks.many_to_many import ManyToMany
from seq2seq_studies.networks.residual_generator import ResidualGenerator
from seq2seq_studies.networks.residual_transformer import ResidualTransformers

__all__ = ["ResViT"]

#: Voxels along each spatial dimension that make a token: the encoder reduces four times, an ART block four times more.
_PATCH = 16


class ResViT(ManyToMany):
    """The generator of ResViT, with the transformer of ViT-B/16 by default.

    Its loss has, besides the missing sequences, the available ones that the network reproduces; the network's own
    output, in which nothing is copied, comes from :meth:`ManyToMany.predict`, and the weight is
    ``lambda_available`` of :func:`implicit_conditioning_loss`.

    With one channel in and one out, there are 123 441 537 parameters, as many as in the layers of the released network;
    the unified form for four sequences has 123 460 356. Differences to the released code:

    - Normalisation is over each sample's own voxels instead of over the batch (with as many parameters): in
      training with one sample in a batch there is no difference, and what is made of a sample depends on no other.
    - The transformer starts from random weights, not from those trained on ImageNet, like all methods it is compared
      with.
    - Other image sizes than the one whose positional encodings are learnt are possible: those are interpolated.

    Args:
        spatial_dims: 2 (the paper) or 3 (the same convolutions, and tokens of cubes).
        sequences: the sequence table, name to number of timepoints.
        in_channels: channels of an image.
        width: feature channels at full resolution; the ART blocks have four times as many.
        token_channels: feature channels from which tokens are embedded.
        hidden_size: length of a token.
        mlp_dim: hidden units of the transformer's perceptrons.
        num_layers: layers of the transformer.
        num_heads: attention heads, a divisor of ``hidden_size``.
        image_size: spatial size for which positional encodings are learnt: a token's position is one of image_size / 16
            along each dimension.
        group_sizes: number of ART blocks that follow, and include, each one with a transformer: the paper's nine blocks
            have one in the first and one in the sixth.
        dropout_rate: of the transformer.
        output_activation: see :func:`output_layer`.

    Raises:
        ValueError: when an argument cannot be used; the message names it.

    Example:
        >>> tiny = {"width": 4, "token_channels": 8, "hidden_size": 8, "mlp_dim": 8, "num_layers": 1, "num_heads": 2}
        >>> network = ResViT(2, {"t1": 1, "t2": 1, "dce": 4}, image_size=32, group_sizes=(1,), **tiny)
        >>> network(torch.rand(1, 6, 1, 41, 18), torch.tensor([[True, False, False]])).shape
        torch.Size([1, 6, 1, 41, 18])
    """

    def __init__(
        self,
        spatial_dims: int,
        sequences: Mapping[str, int],
        in_channels: int = 1,
        width: int = 64,
        token_channels: int = 1024,
        hidden_size: int = 768,
        mlp_dim: int = 3072,
        num_layers: int = 12,
        num_heads: int = 12,
        image_size: int | Sequence[int] = 256,
        group_sizes: Sequence[int] = (5, 4),
        dropout_rate: float = 0.1,
        output_activation: str = "tanh",
    ) -> None:
        super().__init__(spatial_dims, sequences, in_channels)
        bottleneck = ResidualTransformers(
            spatial_dims,
            4 * width,
            token_channels,
            hidden_size,
            mlp_dim,
            num_layers,
            num_heads,
            [-(-size // _PATCH) for size in ensure_tuple_rep(image_size, spatial_dims)],
            group_sizes,
            dropout_rate,
        )
        self.network = ResidualGenerator(
            spatial_dims,
            self.image_channels,
            self.image_channels,
            bottleneck,
            width,
            affine=True,
            output_activation=output_activation,
            multiple=_PATCH,
            # Normalisation needs more than one token.
            smallest=2 * _PATCH,
        )

    def synthesise(self, given: torch.Tensor, available: torch.Tensor) -> torch.Tensor:
        """Synthesise all sequences at once; see :meth:`ManyToMany.synthesise`."""
        return self.network(given.flatten(1, 2)).view(given.shape)
