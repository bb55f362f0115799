# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Conditions the decoder's layers on the target's code in one of three ways: HyperConv, AdaIN, dynamic filters.

``hyper`` is the paper's network (Seq2Seq-C); ``adain`` (Seq2Seq-A) and ``dynamic`` (Seq2Seq-B) are its ablations.
Every layer here is called with ``(x, code, runs)``, see :class:`ConditionalLayer`.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv
from torch import nn

from seq2seq_mri.networks.blocks import (
    LEAKY_SLOPE,
    ConditionalLayer,
    InstanceNorm,
    Unconditional,
    reflect_conv,
    reflect_conv_of,
)
from seq2seq_mri.networks.functional import reflect_pad
from seq2seq_mri.networks.hyper_conv import HyperConv, convolve_runs

__all__ = ["AdaptiveInstanceNorm", "CodeEmbedding", "Conditioning", "DynamicConv"]

KINDS = ("hyper", "adain", "dynamic")


class CodeEmbedding(nn.Module):
    """Zero-pad a one-hot code to ``code_channels``, then a linear layer and LeakyReLU, shared by all layers.

    It starts as the identity: codes begin orthogonal, and kernels made of them keep their initial variance.

    Args:
        code_channels: length of the embedded code.
    """

    def __init__(self, code_channels: int) -> None:
        super().__init__()
        self.code_channels = code_channels
        self.linear = nn.Linear(code_channels, code_channels)
        self.activation = nn.LeakyReLU(LEAKY_SLOPE)
        nn.init.eye_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, code: torch.Tensor) -> torch.Tensor:
        """Map codes ``(K, S)``, S at most ``code_channels``, to ``(K, code_channels)``."""
        return self.activation(self.linear(F.pad(code, [0, self.code_channels - code.shape[1]])))


class DynamicConv(ConditionalLayer):
    """A filter per channel predicted from the code by a linear layer, followed by an ordinary 1-wide convolution.

    Predicting a full kernel would take four times the weights of a HyperConv at the default sizes; a filter per channel
    keeps the idea (a fully connected layer decides the filter) at a feasible cost, and the convolution mixes channels.

    Args:
        spatial_dims: 2 or 3.
        in_channels: number of input channels.
        out_channels: number of output channels.
        kernel_size: odd size of the predicted filters.
        code_channels: length of the code.
        bias: of the 1-wide convolution.
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, out_channels: int, kernel_size: int, code_channels: int, bias: bool
    ) -> None:
        super().__init__()
        self.filter_shape = [in_channels, 1] + [kernel_size] * spatial_dims
        self.filters = nn.Linear(code_channels, math.prod(self.filter_shape))
        self.mixing = Conv[Conv.CONV, spatial_dims](in_channels, out_channels, 1, bias=bias)
        # Each half gives half the He variance, so that the filter of a one-hot code has all of it.
        scale = math.sqrt(1.0 / kernel_size**spatial_dims)
        nn.init.normal_(self.filters.weight, std=scale)
        nn.init.normal_(self.filters.bias, std=scale)

    def specialise(self, code: torch.Tensor) -> Unconditional:
        """Return the ordinary convolutions that these are for one code ``(1, code_channels)``."""
        kernel = self.filters(code).reshape(self.filter_shape)
        filtering = reflect_conv_of(kernel, None, groups=len(kernel))
        return Unconditional(nn.Sequential(filtering, copy.deepcopy(self.mixing)))

    def forward(self, x: torch.Tensor, code: torch.Tensor, runs: list[int] | None = None) -> torch.Tensor:
        """Filter ``x`` ``(N, in_channels, *spatial)`` by codes ``(K, code_channels)``."""
        channels, width = self.filter_shape[0], self.filter_shape[2] // 2
        kernels = self.filters(code).unflatten(1, self.filter_shape)
        return self.mixing(convolve_runs(reflect_pad(x, width), kernels, None, runs, channels))


class AdaptiveInstanceNorm(ConditionalLayer):
    """Instance normalisation whose scale and shift are linear functions of the code (Huang & Belongie, ICCV 2017).

    Args:
        channels: number of channels.
        code_channels: length of the code.
    """

    def __init__(self, channels: int, code_channels: int) -> None:
        super().__init__()
        self.norm = InstanceNorm(channels)
        self.scale = nn.Linear(code_channels, channels)
        self.shift = nn.Linear(code_channels, channels)
        for linear, centre in ((self.scale, 1.0), (self.shift, 0.0)):
            nn.init.normal_(linear.weight, std=0.1)
            nn.init.constant_(linear.bias, centre)

    @torch.no_grad()
    def specialise(self, code: torch.Tensor) -> Unconditional:
        """Return the instance normalisation with fixed scale and shift that this is for one code."""
        norm = InstanceNorm(self.scale.out_features, affine=True).to(code)
        norm.load_state_dict({"weight": self.scale(code)[0], "bias": self.shift(code)[0]})
        return Unconditional(norm)

    def forward(self, x: torch.Tensor, code: torch.Tensor, runs: list[int] | None = None) -> torch.Tensor:
        """Normalise ``x`` ``(N, channels, *spatial)`` by codes ``(K, code_channels)``."""
        count = code.shape[0]
        sizes = [x.shape[0] // count] * count if runs is None else runs
        rows = torch.cat([torch.full([size], index, device=x.device) for index, size in enumerate(sizes)])
        shape = [x.shape[0], x.shape[1]] + [1] * (x.dim() - 2)
        return self.norm(x) * self.scale(code)[rows].reshape(shape) + self.shift(code)[rows].reshape(shape)


@dataclass(frozen=True)
class Conditioning:
    """Which of the three ways it is, and the sizes that its layers share.

    Args:
        kind: ``"hyper"``, ``"adain"`` or ``"dynamic"``.
        spatial_dims: 2 or 3.
        code_channels: length of the embedded code.
        weight_code_channels: number of kernels in a HyperConv's bank.

    Raises:
        ValueError: when there is no such kind.
    """

    kind: str
    spatial_dims: int
    code_channels: int = 64
    weight_code_channels: int = 16

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"Unknown conditioning '{self.kind}'; use one of {', '.join(KINDS)}.")

    def conv(self, in_channels: int, out_channels: int, kernel_size: int, bias: bool) -> ConditionalLayer:
        """Return a convolution with mirrored borders: HyperConv, ordinary for ``adain``, or DynamicConv."""
        sizes = (self.spatial_dims, in_channels, out_channels, kernel_size)
        if self.kind == "hyper":
            return HyperConv(*sizes, self.code_channels, self.weight_code_channels, bias)
        if self.kind == "dynamic":
            return DynamicConv(*sizes, self.code_channels, bias)
        return Unconditional(reflect_conv(*sizes, bias=bias))

    def norm(self, channels: int) -> ConditionalLayer:
        """Return an instance normalisation: adaptive for ``adain``, else without regard to the code."""
        if self.kind == "adain":
            return AdaptiveInstanceNorm(channels, self.code_channels)
        return Unconditional(InstanceNorm(channels))
