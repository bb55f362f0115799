# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Aggregated residual transformer (ART) blocks: a residual convolution with, in some, a transformer beside it.

Source: Dalmaz et al., "ResViT: Residual vision transformers for multi-modal medical image synthesis", IEEE Transactions
on Medical Imaging 41(10), 2022 (arXiv:2106.16031), information bottleneck and parameter-sharing transformers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.networks.blocks import MLPBlock, SABlock
from monai.networks.layers.factories import Conv
from torch import nn

from seq2seq_mri.networks.blocks import InstanceNorm
from seq2seq_studies.networks.residual_generator import PlainResidualBlock, doubling, halving, norm_relu

__all__ = ["ChannelCompression", "ResidualTransformers", "TransformerLayer", "TransformerModule"]


class ChannelCompression(nn.Module):
    """Halve the number of channels: two convolutions beside a 1-wide one, added up, then ReLU.

    Args:
        spatial_dims: 2 or 3.
        channels: number of output channels; there are twice as many inputs.
    """

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

    Args:
        hidden_size: length of a token.
        mlp_dim: hidden units of the perceptron.
        num_heads: attention heads, a divisor of ``hidden_size``.
        dropout_rate: of attention and perceptron.
    """

    def __init__(self, hidden_size: int, mlp_dim: int, num_heads: int, dropout_rate: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(hidden_size)
        self.attention = SABlock(hidden_size, num_heads, dropout_rate, qkv_bias=True)
        self.perceptron_norm = nn.LayerNorm(hidden_size)
        self.perceptron = MLPBlock(hidden_size, mlp_dim, dropout_rate)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map tokens ``(N, count, hidden_size)`` to the same shape."""
        tokens = tokens + self.attention(self.attention_norm(tokens))
        return tokens + self.perceptron(self.perceptron_norm(tokens))


class TransformerModule(nn.Module):
    """What an ART block has of its own around the shared transformer: to tokens, and back to features.

    Args:
        spatial_dims: 2 or 3.
        channels: feature channels of the bottleneck.
        token_channels: feature channels of the map that is embedded, a quarter as large as the bottleneck's.
        hidden_size: length of a token.
        grid_size: number of tokens along each spatial dimension for which positional encodings are learnt; they are
            interpolated for others.
    """

    def __init__(
        self, spatial_dims: int, channels: int, token_channels: int, hidden_size: int, grid_size: Sequence[int]
    ) -> None:
        super().__init__()
        self.downsampling = nn.Sequential(
            halving(spatial_dims, channels, 2 * channels, affine=True),
            halving(spatial_dims, 2 * channels, token_channels, affine=True),
        )
        self.embedding = Conv[Conv.CONV, spatial_dims](token_channels, hidden_size, 1)
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
        """Aggregate features and what the transformer made of their tokens.

        Args:
            x: features ``(N, channels, *spatial)``.
            tokens: ``(N, hidden_size, *spatial / 4)``.

        Returns:
            Features of the shape of ``x``.
        """
        return self.compression(torch.cat([self.upsampling(tokens), x], dim=1))


class ResidualTransformers(nn.Module):
    """The bottleneck of ResViT: groups of ART blocks, the first of each with the one transformer that all share.

    Args:
        spatial_dims: 2 or 3.
        channels: feature channels, input and output.
        token_channels: see :class:`TransformerModule`.
        hidden_size: length of a token.
        mlp_dim: hidden units of the transformer's perceptrons.
        num_layers: layers of the transformer.
        num_heads: attention heads, a divisor of ``hidden_size``.
        grid_size: see :class:`TransformerModule`.
        group_sizes: number of ART blocks in each group.
        dropout_rate: of the tokens and in the transformer.

    Raises:
        ValueError: when ``hidden_size`` is not a multiple of ``num_heads``, or a group is empty.
    """

    def __init__(
        self,
        spatial_dims: int,
        channels: int,
        token_channels: int,
        hidden_size: int,
        mlp_dim: int,
        num_layers: int,
        num_heads: int,
        grid_size: Sequence[int],
        group_sizes: Sequence[int],
        dropout_rate: float,
    ) -> None:
        super().__init__()
        if hidden_size % num_heads != 0:
            raise ValueError(f"hidden_size is {hidden_size}, which is not a multiple of num_heads, {num_heads}.")
        if len(group_sizes) == 0 or min(group_sizes) < 1:
            raise ValueError(f"Every group needs at least one ART block, got group_sizes {tuple(group_sizes)}.")
        self.dropout = nn.Dropout(dropout_rate)
        self.transformer = nn.Sequential(
            *(TransformerLayer(hidden_size, mlp_dim, num_heads, dropout_rate) for _ in range(num_layers)),
            nn.LayerNorm(hidden_size),
        )
        self.transformer_modules = nn.ModuleList(
            TransformerModule(spatial_dims, channels, token_channels, hidden_size, grid_size) for _ in group_sizes
        )
        self.convolutions = nn.ModuleList(
            nn.Sequential(*(PlainResidualBlock(spatial_dims, channels, affine=True) for _ in range(size)))
            for size in group_sizes
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map features ``(N, channels, *spatial)``, spatial sizes multiples of 4, to the same shape."""
        for module, convolutions in zip(self.transformer_modules, self.convolutions):  # noqa: B905 (TorchScript)
            embedded = module.embed(x)  # type: ignore[operator]
            tokens = self.transformer(self.dropout(embedded.flatten(2).transpose(1, 2)))
            x = convolutions(module(x, tokens.transpose(1, 2).reshape(embedded.shape)))
        return x
