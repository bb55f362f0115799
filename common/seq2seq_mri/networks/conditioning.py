# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Conditions the decoder's layers on the target's code in one of three ways: HyperConv, AdaIN, dynamic filters.

``hyper`` is the paper's network (Seq2Seq-C); ``adain`` (Seq2Seq-A) and ``dynamic`` (Seq2Seq-B) are its ablations.
Source: Han et al., Synthesis-based imaging-differentiation representation learning for multi-sequence 3D/4D MRI,
Medical Image Analysis 2024, Algorithm 1.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv
from torch import nn

from seq2seq_mri.networks.blocks import LEAKY_SLOPE, InstanceNorm, reflect_conv, reflect_conv_of
from seq2seq_mri.networks.functional import convolve, reflect_pad, without_autocast

__all__ = ["AdaptiveInstanceNorm", "CodeEmbedding", "ConditionalLayer", "Conditioning", "DynamicConv", "HyperConv"]

KINDS = ("hyper", "adain", "dynamic")


class CodeEmbedding(nn.Module):
    """Zero-pad a one-hot code to ``code_channels``, then a linear layer and LeakyReLU, shared by all layers.

    It starts as the identity: codes begin orthogonal, and kernels made of them keep their initial variance.
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


class ConditionalLayer(nn.Module, ABC):
    """A layer called with its input and codes, from which it can be freed.

    ``forward(x, code, runs)`` takes ``x`` ``(N, in_channels, *spatial)``, codes ``(K, code_channels)``, and how many
    consecutive samples share each of them: K numbers with the sum N, or None for N / K each.
    """

    @abstractmethod
    def specialise(self, code: torch.Tensor) -> Unconditional:
        """Return the ordinary layer that this one is for one code ``(1, code_channels)``."""


class Unconditional(nn.Module):
    """An ordinary layer in the place of a conditional one; it ignores the code."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor, code: torch.Tensor, runs: list[int] | None = None) -> torch.Tensor:
        """Apply the layer to ``x`` ``(N, in_channels, *spatial)``."""
        return self.layer(x)


def convolve_runs(
    x: torch.Tensor, kernels: torch.Tensor, biases: torch.Tensor | None, runs: list[int] | None = None, groups: int = 1
) -> torch.Tensor:
    """Convolve each part of a batch with its own kernel, without padding.

    One convolution for each kernel: a grouped one for all takes up to five times as long, on a CPU and on a GPU.

    Args:
        x: input of shape ``(N, in_channels, *spatial)``.
        kernels: ``(K, out_channels, in_channels / groups, *kernel_size)``.
        biases: ``(K, out_channels)`` or None.
        runs: how many consecutive samples are convolved with each kernel, K numbers with the sum N; None for N / K.
        groups: number of groups within one kernel.
    """
    count = kernels.shape[0]
    if count == 1:
        return convolve(x, kernels[0], None if biases is None else biases[0], 0, groups)
    sizes = [x.shape[0] // count] * count if runs is None else runs
    parts: list[torch.Tensor] = []
    start = 0
    for index, size in enumerate(sizes):
        bias = None if biases is None else biases[index]
        parts.append(convolve(x[start : start + size], kernels[index], bias, 0, groups))
        start += size
    return torch.cat(parts)


class HyperConv(ConditionalLayer):
    """Convolution with ``kernel = kernel_bank · kernel_code`` and ``bias = bias_bank · bias_code`` (Algorithm 1).

    The two codes are linear functions of the condition's code. A condition thus mixes ``weight_code_channels`` kernels
    into one, and the cost of the convolution does not grow with the number of conditions.

    At initialisation the produced kernel has He variance, 2 / fan-in, for every one-hot code: the mixing weights are
    then unit vectors. They differ little between codes, because all MRI sequences show the same anatomy: in a
    short training, nine tenths of the squared length in common did better than a half and than nothing.

    Args:
        spatial_dims: 2 or 3.
        in_channels: number of input channels.
        out_channels: number of output channels.
        kernel_size: odd size of the kernel, equal in all dimensions.
        code_channels: length of the code.
        weight_code_channels: number of kernels in the bank (c_w in the paper), at least 2.
        bias: whether a bias is added. Before a normalisation without affine parameters it would do nothing but drift.

    Raises:
        ValueError: when ``weight_code_channels`` is below 2.

    Example:
        >>> layer = HyperConv(2, in_channels=8, out_channels=4, kernel_size=3, code_channels=6)
        >>> layer(torch.rand(2, 8, 16, 16), torch.eye(6)[[0, 3]]).shape
        torch.Size([2, 4, 16, 16])
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        code_channels: int,
        weight_code_channels: int = 16,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if weight_code_channels < 2:
            raise ValueError(f"weight_code_channels must be at least 2, got {weight_code_channels}.")
        self.padding = kernel_size // 2
        kernel_shape = (out_channels, in_channels) + (kernel_size,) * spatial_dims
        # The bank's index comes first: mixing is then one matrix product whose result is already a kernel.
        self.kernel_bank = nn.Parameter(torch.empty((weight_code_channels, *kernel_shape)))
        self.kernel_code = nn.Linear(code_channels, weight_code_channels)
        self.bias_bank = nn.Parameter(torch.empty(weight_code_channels, out_channels)) if bias else None
        self.bias_code = nn.Linear(code_channels, weight_code_channels) if bias else None
        fan_in = self.kernel_bank[0, 0].numel()
        nn.init.normal_(self.kernel_bank, std=math.sqrt(2.0 / fan_in))
        _initialise_mixing(self.kernel_code)
        if self.bias_bank is not None and self.bias_code is not None:
            nn.init.uniform_(self.bias_bank, -1.0 / math.sqrt(fan_in), 1.0 / math.sqrt(fan_in))
            _initialise_mixing(self.bias_code)

    def produce(self, code: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return kernels ``(K, out_channels, in_channels, *kernel_size)`` and biases ``(K, out_channels)``, if any."""
        if torch.jit.is_scripting():
            return self._mix(code)
        # A product with a bank takes less time than autocasting the bank to bfloat16 and its gradient back.
        with without_autocast(code.device.type):
            return self._mix(code.to(self.kernel_bank.dtype))

    def _mix(self, code: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        kernels = torch.matmul(self.kernel_code(code), self.kernel_bank.flatten(1))
        biases: torch.Tensor | None = None
        if self.bias_bank is not None and self.bias_code is not None:
            biases = torch.matmul(self.bias_code(code), self.bias_bank)
        return kernels.unflatten(1, self.kernel_bank.shape[1:]), biases

    def specialise(self, code: torch.Tensor) -> Unconditional:
        """See :class:`ConditionalLayer`."""
        kernels, biases = self.produce(code)
        return Unconditional(reflect_conv_of(kernels[0], None if biases is None else biases[0]))

    def forward(self, x: torch.Tensor, code: torch.Tensor, runs: list[int] | None = None) -> torch.Tensor:
        """Convolve ``x`` ``(N, in_channels, *spatial)`` with the kernels of codes ``(K, code_channels)``."""
        kernels, biases = self.produce(code)
        return convolve_runs(reflect_pad(x, self.padding), kernels, biases, runs)


@torch.no_grad()
def _initialise_mixing(linear: nn.Linear) -> None:
    """Make ``linear`` give a unit vector for every one-hot code, each a small random turn from a common one."""
    common = F.normalize(torch.randn(linear.out_features, 1), dim=0)
    turn = torch.randn(linear.weight.shape) / (3.0 * math.sqrt(linear.out_features))
    linear.bias.copy_(common[:, 0])
    linear.weight.copy_(F.normalize(common + turn, dim=0) - common)


class DynamicConv(ConditionalLayer):
    """A filter per channel predicted from the code by a linear layer, followed by an ordinary 1-wide convolution.

    Predicting a full kernel would take four times the weights of a HyperConv at the default sizes; a filter per channel
    keeps the idea (a fully connected layer decides the filter) at a feasible cost, and the convolution mixes channels.

    Args:
        spatial_dims, in_channels, out_channels, kernel_size, code_channels: see :class:`HyperConv`.
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
        """See :class:`ConditionalLayer`."""
        kernel = self.filters(code).reshape(self.filter_shape)
        filtering = reflect_conv_of(kernel, None, groups=len(kernel))
        return Unconditional(nn.Sequential(filtering, copy.deepcopy(self.mixing)))

    def forward(self, x: torch.Tensor, code: torch.Tensor, runs: list[int] | None = None) -> torch.Tensor:
        """Filter ``x`` ``(N, in_channels, *spatial)`` by codes ``(K, code_channels)``."""
        channels, width = self.filter_shape[0], self.filter_shape[2] // 2
        kernels = self.filters(code).unflatten(1, self.filter_shape)
        return self.mixing(convolve_runs(reflect_pad(x, width), kernels, None, runs, channels))


class AdaptiveInstanceNorm(ConditionalLayer):
    """Instance normalisation whose scale and shift are linear functions of the code (Huang & Belongie, ICCV 2017)."""

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
        """See :class:`ConditionalLayer`; scale and shift become parameters of the normalisation."""
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
    """Which of the three ways it is, one of ``KINDS``, and the sizes that its layers share, see :class:`HyperConv`.

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

    def conv(self, in_channels: int, out_channels: int, kernel_size: int, bias: bool) -> nn.Module:
        """Return a convolution with mirrored borders: HyperConv, ordinary for ``adain``, or DynamicConv."""
        sizes = (self.spatial_dims, in_channels, out_channels, kernel_size)
        if self.kind == "hyper":
            return HyperConv(*sizes, self.code_channels, self.weight_code_channels, bias)
        if self.kind == "dynamic":
            return DynamicConv(*sizes, self.code_channels, bias)
        return Unconditional(reflect_conv(*sizes, bias=bias))

    def norm(self, channels: int) -> nn.Module:
        """Return an instance normalisation: adaptive for ``adain``, else without regard to the code."""
        if self.kind == "adain":
            return AdaptiveInstanceNorm(channels, self.code_channels)
        return Unconditional(InstanceNorm(channels))
