# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""HyperConv: a convolution whose kernel is produced from a code.

Source: Han et al., Synthesis-based imaging-differentiation representation learning for multi-sequence 3D/4D MRI,
Medical Image Analysis 2024, Algorithm 1.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from seq2seq_mri.networks.blocks import ConditionalLayer, Unconditional, reflect_conv_of
from seq2seq_mri.networks.functional import convolve, reflect_pad, without_autocast

__all__ = ["HyperConv", "convolve_runs"]


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
        """Return kernels ``(K, out_channels, in_channels, *kernel_size)`` and biases ``(K, out_channels)``, if any.

        Args:
            code: ``(K, code_channels)``.
        """
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
        """Return the ordinary convolution that this one is for one code ``(1, code_channels)``."""
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
