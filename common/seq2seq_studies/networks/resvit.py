# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""ResViT: a convolutional encoder and decoder around residual convolutions and transformers, in its unified form.

Source: Dalmaz et al., "ResViT: Residual vision transformers for multi-modal medical image synthesis", IEEE Transactions
on Medical Imaging 41(10), 2022 (arXiv:2106.16031): residual vision transformers, and the unified synthesis model, which
is given all sequences, the missing ones as zeros, and returns all. An aggregated residual transformer (ART) block is a
residual convolution with, in some, a transformer beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from monai.networks.blocks import MLPBlock, SABlock
from monai.networks.layers.factories import Conv
from monai.utils import ensure_tuple_rep
from torch import nn

from seq2seq_mri.networks.blocks import InstanceNorm
from seq2seq_studies.networks.many_to_many import ManyToMany
from seq2seq_studies.networks.residual_generator import (
    PlainResidualBlock,
    ResidualGenerator,
    doubling,
    halving,
    norm_relu,
)

__all__ = ["ResViT", "ResidualTransformers", "TransformerSizes"]

#: Voxels along each spatial dimension that make a token: the encoder reduces four times, an ART block four times more.
_PATCH = 16


@dataclass(frozen=True)
class TransformerSizes:
    """Sizes of the bottleneck around and in the transformer, by default that of ViT-B/16.

    Attributes:
        token_channels: feature channels from which tokens are embedded.
        hidden_size: length of a token.
        mlp_dim: hidden units of the transformer's perceptrons.
        num_layers: layers of the transformer.
        num_heads: attention heads, a divisor of ``hidden_size``.
        group_sizes: number of ART blocks that follow, and include, each one with a transformer: the paper's nine blocks
            have one in the first and one in the sixth.
        dropout_rate: of the transformer and its tokens.
    """

    token_channels: int = 1024
    hidden_size: int = 768
    mlp_dim: int = 3072
    num_layers: int = 12
    num_heads: int = 12
    group_sizes: Sequence[int] = (5, 4)
    dropout_rate: float = 0.1


VIT_B_16 = TransformerSizes()


class ChannelCompression(nn.Module):
    """Halve the number of channels: two convolutions beside a 1-wide one, added up, then ReLU."""

    def __init__(self, spatial_dims: int, channels: int) -> None:
        super().__init__()
        convolution = Conv[Conv.CONV, spatial_dims]
        self.convolutions = nn.Sequential(
            norm_relu(convolution(2 * channels, channels, 3, padding=1, bias=False), channels, affine=True),
            convolution(channels, channels, 3, padding=1, bias=False),
            InstanceNorm(channels, affine=True),
        )
        self.shortcut = nn.Sequential(
            convolution(2 * channels, channels, 1, bias=False), InstanceNorm(channels, affine=True)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(N, 2 · channels, *spatial)`` to ``(N, channels, *spatial)``."""
        return F.relu(self.convolutions(x) + self.shortcut(x))


class TransformerLayer(nn.Module):
    """A layer of ViT: attention and a perceptron, each normalised before and added to its input.

    It is neither torch's layer, whose fused form counters of operations do not see, nor MONAI's, which has parameters
    for cross attention that nothing trains.
    """

    def __init__(self, sizes: TransformerSizes) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(sizes.hidden_size)
        self.attention = SABlock(sizes.hidden_size, sizes.num_heads, sizes.dropout_rate, qkv_bias=True)
        self.perceptron_norm = nn.LayerNorm(sizes.hidden_size)
        self.perceptron = MLPBlock(sizes.hidden_size, sizes.mlp_dim, sizes.dropout_rate)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map tokens ``(N, count, hidden_size)`` to the same shape."""
        tokens = tokens + self.attention(self.attention_norm(tokens))
        return tokens + self.perceptron(self.perceptron_norm(tokens))


class TransformerModule(nn.Module):
    """What an ART block has of its own around the shared transformer: to tokens, and back to features.

    Positional encodings are learnt for ``grid_size`` tokens along each spatial dimension, and interpolated for others.
    """

    def __init__(self, spatial_dims: int, channels: int, sizes: TransformerSizes, grid_size: Sequence[int]) -> None:
        super().__init__()
        hidden_size = sizes.hidden_size
        self.downsampling = nn.Sequential(
            halving(spatial_dims, channels, 2 * channels, affine=True),
            halving(spatial_dims, 2 * channels, sizes.token_channels, affine=True),
        )
        self.embedding = Conv[Conv.CONV, spatial_dims](sizes.token_channels, hidden_size, 1)
        self.positions = nn.Parameter(torch.zeros(1, hidden_size, *grid_size))
        self.upsampling = nn.Sequential(
            doubling(spatial_dims, hidden_size, 2 * channels, affine=True),
            doubling(spatial_dims, 2 * channels, channels, affine=True),
        )
        self.compression = ChannelCompression(spatial_dims, channels)

    @torch.jit.export
    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Map features ``(N, channels, *spatial)`` to embedded tokens ``(N, hidden_size, *spatial / 4)``."""
        x = self.embedding(self.downsampling(x))
        positions: torch.Tensor = self.positions
        if positions.shape[2:] != x.shape[2:]:
            mode = "bilinear" if x.dim() == 4 else "trilinear"
            positions = F.interpolate(positions, x.shape[2:], mode=mode, align_corners=False)
        return x + positions

    def forward(self, x: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Aggregate features ``(N, channels, *spatial)`` and their tokens ``(N, hidden_size, *spatial / 4)``."""
        return self.compression(torch.cat([self.upsampling(tokens), x], dim=1))


class ResidualTransformers(nn.Module):
    """The bottleneck of ResViT: groups of ART blocks, the first of each with the one transformer that all share."""

    def __init__(self, spatial_dims: int, channels: int, sizes: TransformerSizes, grid_size: Sequence[int]) -> None:
        super().__init__()
        self.dropout = nn.Dropout(sizes.dropout_rate)
        self.transformer = nn.Sequential(
            *(TransformerLayer(sizes) for _ in range(sizes.num_layers)),
            nn.LayerNorm(sizes.hidden_size),
        )
        self.transformer_modules = nn.ModuleList(
            TransformerModule(spatial_dims, channels, sizes, grid_size) for _ in sizes.group_sizes
        )
        self.convolutions = nn.ModuleList(
            nn.Sequential(*(PlainResidualBlock(spatial_dims, channels, affine=True) for _ in range(size)))
            for size in sizes.group_sizes
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map features ``(N, channels, *spatial)``, spatial sizes multiples of 4, to the same shape."""
        for module, convolutions in zip(self.transformer_modules, self.convolutions):  # noqa: B905 (TorchScript)
            embedded = module.embed(x)  # type: ignore[operator]
            tokens = self.transformer(self.dropout(embedded.flatten(2).transpose(1, 2)))
            x = convolutions(module(x, tokens.transpose(1, 2).reshape(embedded.shape)))
        return x


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
        sequences, in_channels: see :class:`ManyToMany`.
        width: feature channels at full resolution; the ART blocks have four times as many.
        image_size: spatial size for which positional encodings are learnt: a token's position is one of image_size / 16
            along each dimension.
        output_activation: see :func:`output_layer`.
        transformer: sizes of the bottleneck.

    Example:
        >>> tiny = TransformerSizes(8, hidden_size=8, mlp_dim=8, num_layers=1, num_heads=2, group_sizes=(1,))
        >>> network = ResViT(2, {"t1": 1, "t2": 1, "dce": 4}, width=4, image_size=32, transformer=tiny)
        >>> network(torch.rand(1, 6, 1, 41, 18), torch.tensor([[True, False, False]])).shape
        torch.Size([1, 6, 1, 41, 18])
    """

    def __init__(
        self,
        spatial_dims: int,
        sequences: Mapping[str, int],
        in_channels: int = 1,
        width: int = 64,
        image_size: int | Sequence[int] = 256,
        output_activation: str = "tanh",
        transformer: TransformerSizes = VIT_B_16,
    ) -> None:
        super().__init__(spatial_dims, sequences, in_channels)
        grid_size = [-(-size // _PATCH) for size in ensure_tuple_rep(image_size, spatial_dims)]
        self.network = ResidualGenerator(
            spatial_dims,
            self.image_channels,
            self.image_channels,
            ResidualTransformers(spatial_dims, 4 * width, transformer, grid_size),
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
