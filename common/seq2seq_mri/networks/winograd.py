# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Faster 3 x 3 convolutions for float32 inference on a CPU: Winograd's minimal filtering F(4 x 4, 3 x 3).

A tile of 4 x 4 outputs takes 36 multiplications per pair of channels instead of 144. Where direct convolutions already
run at the peak of a CPU's arithmetic, fewer multiplications are the only gain left, and the transforms around them use
up part of it.

Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016, sections 4.1 and 4.3.
"""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import nn

from seq2seq_mri.networks.blocks import ReflectConv2d
from seq2seq_mri.networks.conv_lstm import ConvLSTMCell

__all__ = ["WinogradConv2d", "WinogradConvLSTMCell", "use_winograd", "winograd_matrices"]

OUTPUTS, TAPS = 4, 3
TILE = OUTPUTS + TAPS - 1

#: Where the polynomials are evaluated, besides infinity: measured to round less than the usual 0, 1, -1, 2, -2.
POINTS = (Fraction(0), Fraction(3, 4), Fraction(-3, 4), Fraction(3, 2), Fraction(-3, 2))

#: Most values of transformed input to work on at a time, 5 MB: measured best, or next to it, at all sizes.
CHUNK_VALUES = TILE**2 * 288 * 128

#: What the smaller and the larger number of channels must reach for a convolution to be replaced. Measured with AVX-512
#: at the sizes that a 192 x 192 slice has in the published network: from 64 to 64 channels hardly anything is gained,
#: from 128 to 64 a seventh of the time, from 256 to 256 or more channels over half of it.
MIN_CHANNELS = (64, 128)

_thread = threading.local()

Matrix = list[list[Fraction]]


def winograd_matrices() -> tuple[Matrix, Matrix, Matrix]:
    """Derive the matrices of one-dimensional minimal filtering F(4, 3) in exact fractions.

    The product of two polynomials is known from its values at enough points, infinity, which gives the leading
    coefficient, among them (Cook and Toom). Transposing with regard to one factor makes a correlation of the product.

    Returns:
        A^T ``[4][6]``, G ``[6][3]`` and B^T ``[6][6]``: ``A^T ((G g) * (B^T d))`` are the four correlations of a tile
        of data d with a kernel g. The denominators of Lagrange's interpolation are in G: A^T and B^T, which are used
        at run time, have only powers of two below the fraction bar and are exact in floating point. Of two-dimensional
        tiles the outputs are ``A^T ((G g G^T) * (B^T d B)) A`` (Lavin and Gray, eq. 8).
    """
    kernel_rows, data_rows = [], []
    for point in POINTS:
        others = [other for other in POINTS if other != point]
        denominator = math.prod(point - other for other in others)
        kernel_rows.append([point**power / denominator for power in range(TAPS)])
        data_rows.append([*_polynomial(others), Fraction(0)])
    # Infinity: the leading coefficient.
    kernel_rows.append([Fraction(power // (TAPS - 1)) for power in range(TAPS)])
    data_rows.append(_polynomial(POINTS))
    output_rows = [[*(point**power for point in POINTS), Fraction(power // (OUTPUTS - 1))] for power in range(OUTPUTS)]
    return output_rows, kernel_rows, data_rows


def _polynomial(roots: Sequence[Fraction]) -> list[Fraction]:
    """Return the coefficients, constant first, of the polynomial with leading coefficient 1 that has these roots."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted, scaled = [Fraction(0), *coefficients], [*coefficients, Fraction(0)]
        coefficients = [high - root * low for high, low in zip(shifted, scaled, strict=True)]
    return coefficients


def _workspace(sizes: list[int], device: torch.device) -> Sequence[torch.Tensor]:
    """Return uninitialised float32 buffers, the same memory at each call in a thread, some 40 MB at most.

    Measured: memory fresh from the system can cost more time than all the arithmetic done in it.
    """
    memory: torch.Tensor | None = getattr(_thread, "memory", None)
    if memory is None or memory.numel() < sum(sizes) or memory.device != device:
        with torch.inference_mode(False):  # its tensors could not be written to outside of it
            memory = _thread.memory = torch.empty(sum(sizes), device=device, dtype=torch.float32)
    return memory[: sum(sizes)].split(sizes)


class WinogradConv2d(nn.Module):
    """A 3 x 3 convolution with stride 1 that keeps the size, by Winograd's F(4 x 4, 3 x 3), for inference in float32.

    The kernel is kept transformed, in four times the memory of the kernel itself. Nothing has a gradient.

    Args:
        kernel: float32 ``(out_channels, in_channels, 3, 3)``; it is copied.
        bias: float32 ``(out_channels,)`` or None; it is copied.
        reflect: whether borders are mirrored, or padded by zeros.
    """

    kernel: torch.Tensor
    bias: torch.Tensor
    data_transform: torch.Tensor
    output_transform: torch.Tensor

    def __init__(self, kernel: torch.Tensor, bias: torch.Tensor | None, reflect: bool) -> None:
        super().__init__()
        self.out_channels, self.in_channels = kernel.shape[:2]
        if bias is None:
            bias = kernel.new_zeros(self.out_channels)  # added while copying, which costs nothing
        self.reflect = reflect
        output, expansion, data = (
            torch.tensor([[float(value) for value in row] for row in matrix], dtype=torch.float64, device=kernel.device)
            for matrix in winograd_matrices()
        )
        transformed = kernel.new_empty(TILE**2, self.in_channels, self.out_channels)
        taps = kernel.detach().double().flatten(2)
        # One by one: all of them in float64 would take more memory than the network.
        for values, weights in zip(transformed, torch.kron(expansion, expansion), strict=True):
            values.copy_((taps @ weights).T)
        self.register_buffer("kernel", transformed)
        self.register_buffer("bias", bias.detach().clone())
        self.register_buffer("data_transform", data.float())
        self.register_buffer("output_transform", torch.kron(output, output).float())

    @torch.no_grad()
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve float32 ``(N, in_channels, H, W)`` to ``(N, out_channels, H, W)``; both best channels-last.

        H and W are at least 2 where borders are mirrored.
        """
        height, width = x.shape[2:]
        output = x.new_empty(x.shape[0], height, width, self.out_channels)
        rows, columns = -(-height // OUTPUTS), -(-width // OUTPUTS)
        # What is worked on stays in the cache: one sample at a time, and of a large one some rows of tiles.
        rows = max(1, min(rows, CHUNK_VALUES // (TILE**2 * columns * self.in_channels)))
        inputs, outputs = rows * columns * self.in_channels, rows * columns * self.out_channels
        padded_shape = (rows * OUTPUTS + TAPS - 1, columns * OUTPUTS + TAPS - 1, self.in_channels)
        # The second buffer takes the outputs of the tiles too.
        sizes = [TILE**2 * inputs, max(TILE**2 * inputs, OUTPUTS**2 * outputs), TILE**2 * outputs]
        *buffers, flat = _workspace([*sizes, math.prod(padded_shape)], x.device)
        padded = flat.view(padded_shape)
        for image, result in zip(x.permute(0, 2, 3, 1), output, strict=True):
            for top in range(0, height, rows * OUTPUTS):
                part = result[top : top + rows * OUTPUTS]
                needed = padded[: -(-part.shape[0] // OUTPUTS) * OUTPUTS + TAPS - 1]
                self._pad(image, top, needed)
                self._filter(needed, buffers, part)
        return output.permute(0, 3, 1, 2)

    def _pad(self, image: torch.Tensor, top: int, padded: torch.Tensor) -> None:
        """Fill ``padded`` with ``image``, padded by 1, from row ``top`` on; both (rows, columns, in_channels)."""
        (height, width), start = image.shape[:2], top - 1
        first, last = max(start, 0), min(start + padded.shape[0], height)
        padded[: first - start] = 0
        padded[last - start :] = 0
        padded[:, 0] = 0
        padded[:, width + 1 :] = 0
        inner = padded[:, 1 : width + 1]
        inner[first - start : last - start] = image[first:last]
        if self.reflect:
            if start < 0:
                inner[0] = image[1]
            if height - start < padded.shape[0]:
                inner[height - start] = image[-2]
            padded[:, 0] = padded[:, 2]
            padded[:, width + 1] = padded[:, width - 1]

    def _filter(self, padded: torch.Tensor, buffers: list[torch.Tensor], result: torch.Tensor) -> None:
        """Write the outputs of the tiles in ``padded`` to ``result``, both (rows, columns, channels)."""
        tiles = padded.unfold(0, TILE, OUTPUTS).unfold(1, TILE, OUTPUTS).permute(3, 4, 0, 1, 2)
        rows, columns, inputs = tiles.shape[2:]
        count, outputs = rows * columns, self.out_channels
        first, second = (buffer[: tiles.numel()] for buffer in buffers[:2])
        product = buffers[2][: TILE**2 * count * outputs]
        first.view(tiles.shape).copy_(tiles)
        # Rows and columns of the tiles one after the other: a third of the multiplications of their Kronecker product.
        torch.mm(self.data_transform, first.view(TILE, -1), out=second.view(TILE, -1))
        transforms = self.data_transform.expand(TILE, -1, -1)
        torch.bmm(transforms, second.view(TILE, TILE, -1), out=first.view(TILE, TILE, -1))
        torch.bmm(first.view(-1, count, inputs), self.kernel, out=product.view(-1, count, outputs))
        # Here the Kronecker product is faster: one pass over the memory.
        filtered = buffers[1][: OUTPUTS**2 * count * outputs]
        torch.mm(self.output_transform, product.view(TILE**2, -1), out=filtered.view(OUTPUTS**2, -1))
        filtered = filtered.view(OUTPUTS, OUTPUTS, rows, columns, outputs).permute(2, 0, 3, 1, 4)
        if result.shape[:2] == (rows * OUTPUTS, columns * OUTPUTS):
            torch.add(filtered, self.bias, out=result.unflatten(0, (rows, OUTPUTS)).unflatten(2, (columns, OUTPUTS)))
        else:
            filtered = filtered.reshape(rows * OUTPUTS, columns * OUTPUTS, outputs)
            torch.add(filtered[: result.shape[0], : result.shape[1]], self.bias, out=result)


class WinogradConvLSTMCell(ConvLSTMCell):
    """The same as a two-dimensional :class:`ConvLSTMCell`, whose parameters it shares."""

    def __init__(self, cell: ConvLSTMCell) -> None:
        with torch.device("meta"):  # no memory and no random numbers for a convolution that is replaced at once
            super().__init__(2, cell.in_channels, cell.hidden_channels)
        self.conv = cell.conv
        kept = [row for row in range(4 * self.hidden_channels) if row // self.hidden_channels != 1]  # no forget gate
        self.first = WinogradConv2d(self.conv.weight[kept, : self.in_channels], self._bias()[kept], False)
        # Made at the first call: a network for single timepoints needs no memory for them.
        self.input: WinogradConv2d | None = None
        self.hidden: WinogradConv2d | None = None

    def first_gates(self, x: torch.Tensor) -> torch.Tensor:
        """See :meth:`ConvLSTMCell.first_gates`."""
        return self.first(x)

    def input_gates(self, x: torch.Tensor) -> torch.Tensor:
        """See :meth:`ConvLSTMCell.input_gates`."""
        if self.input is None:
            self.input = WinogradConv2d(self.conv.weight[:, : self.in_channels], self._bias(), False)
        return self.input(x)

    def hidden_gates(self, hidden: torch.Tensor) -> torch.Tensor:
        """See :meth:`ConvLSTMCell.hidden_gates`."""
        if self.hidden is None:
            self.hidden = WinogradConv2d(self.conv.weight[:, self.in_channels :], None, False)
        return self.hidden(hidden)


def use_winograd(network: nn.Module) -> nn.Module:
    """Return a network that computes the same by :class:`WinogradConv2d` where that is faster on a CPU.

    Replaced are the float32 convolutions of :class:`ReflectConv2d`, and of two-dimensional :class:`ConvLSTMCell`, with
    kernels of 3, stride 1, one group and ``MIN_CHANNELS``. For the published network, specialised to one target, the
    transformed kernels take 402 MB, besides 173 MB of the network itself, and 453 MB more once there is a second
    timepoint.

    Args:
        network: its weights must not change any more. Neither it nor any of its modules is changed.

    Returns:
        New modules in the same structure, which share the parameters that are not replaced. They cannot be scripted.
    """
    if type(network) is ConvLSTMCell and _pays(network.conv, network.in_channels, network.hidden_channels):
        return WinogradConvLSTMCell(network)
    if type(network) is ReflectConv2d and _pays(network, network.in_channels, network.out_channels):
        return WinogradConv2d(network.weight, network.bias, reflect=True)
    replacement = copy.copy(network)
    replacement._modules = {k: None if m is None else use_winograd(m) for k, m in network._modules.items()}
    return replacement


def _pays(conv: nn.Conv2d, *channels: int) -> bool:
    fits = conv.weight.dtype == torch.float32 and conv.kernel_size == (TAPS, TAPS)
    fits = fits and conv.stride == (1, 1) and conv.groups == 1
    return fits and min(channels) >= MIN_CHANNELS[0] and max(channels) >= MIN_CHANNELS[1]
