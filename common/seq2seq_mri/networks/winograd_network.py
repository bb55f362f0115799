# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Networks whose 3 x 3 convolutions go by Winograd's algorithm."""

from __future__ import annotations

import torch
from torch import nn

from seq2seq_mri.networks.blocks import ReflectConv2d
from seq2seq_mri.networks.conv_lstm import ConvLSTMCell
from seq2seq_mri.networks.winograd import PADDING_MODES, TAPS, WinogradConv2d

__all__ = ["WinogradConvLSTMCell", "use_winograd"]

MIN_CHANNELS = (64, 128)
"""What the smaller and the larger number of channels must reach for :func:`use_winograd` to replace a convolution.

Measured with AVX-512 at the sizes that a 192 x 192 slice has in the published network: from 64 to 64 channels hardly
anything is gained, from 128 to 64 a seventh of the time, from 256 to 256 or more channels over half of it."""


class WinogradConvLSTMCell(ConvLSTMCell):
    """A two-dimensional :class:`ConvLSTMCell` with kernels of 3, for inference by :class:`WinogradConv2d`.

    Args:
        cell: the cell to compute; its parameters are shared, and must not change any more.

    Raises:
        ValueError: when the cell has another kernel.
    """

    def __init__(self, cell: ConvLSTMCell) -> None:
        size = list(cell.conv.weight.shape[2:])
        if size != [TAPS, TAPS]:
            raise ValueError(f"A two-dimensional ConvLSTM with kernels of 3 is needed, got kernels of {size}.")
        with torch.device("meta"):  # no memory and no random numbers for a convolution that is replaced at once
            super().__init__(2, cell.in_channels, cell.hidden_channels)
        self.conv = cell.conv
        kept = [row for row in range(4 * self.hidden_channels) if row // self.hidden_channels != 1]  # no forget gate
        self.first = WinogradConv2d(self.conv.weight[kept, : self.in_channels], self._bias()[kept], self.padding)
        # Made at the first call: a network for single timepoints needs no memory for them.
        self.input: WinogradConv2d | None = None
        self.hidden: WinogradConv2d | None = None

    def first_gates(self, x: torch.Tensor) -> torch.Tensor:
        """See :meth:`ConvLSTMCell.first_gates`."""
        return self.first(x)

    def input_gates(self, x: torch.Tensor) -> torch.Tensor:
        """See :meth:`ConvLSTMCell.input_gates`."""
        if self.input is None:
            self.input = WinogradConv2d(self.conv.weight[:, : self.in_channels], self._bias(), self.padding)
        return self.input(x)

    def hidden_gates(self, hidden: torch.Tensor) -> torch.Tensor:
        """See :meth:`ConvLSTMCell.hidden_gates`."""
        if self.hidden is None:
            self.hidden = WinogradConv2d(self.conv.weight[:, self.in_channels :], None, self.padding)
        return self.hidden(hidden)


def use_winograd(network: nn.Module) -> nn.Module:
    """Return a network that computes the same by :class:`WinogradConv2d` where that is faster on a CPU.

    Replaced are float32 ``nn.Conv2d`` with kernels of 3, stride 1, no dilation, no groups and padding 0 or 1 by zeros
    or mirrored, and two-dimensional :class:`ConvLSTMCell` with kernels of 3, where there are ``MIN_CHANNELS``. Modules
    of derived classes stay. For the published network, collapsed to one target, the transformed kernels take 402 MB,
    besides 173 MB of the network itself, and 453 MB more once there is a second timepoint.

    Args:
        network: a network whose weights do not change any more. Neither it nor any of its modules is changed.

    Returns:
        New modules in the same structure, which share the parameters that are not replaced. They cannot be scripted.

    Raises:
        ValueError: when a part of the network has been scripted.
    """
    return _replace(network, {})


def _replace(module: nn.Module, done: dict[nn.Module, nn.Module]) -> nn.Module:
    """Copy the structure around ``module``, except for what ``done`` has a copy of."""
    if module in done:
        return done[module]
    if isinstance(module, torch.jit.ScriptModule):
        raise ValueError("The convolutions of a scripted network cannot be replaced; replace them before scripting.")
    replacement: nn.Module
    if isinstance(module, ConvLSTMCell):
        # Never its convolution alone: the cell takes the kernel apart.
        pays = _pays(module.conv.weight, module.in_channels, module.hidden_channels)
        replacement = WinogradConvLSTMCell(module) if pays and type(module) is ConvLSTMCell else module
    elif isinstance(module, nn.Conv2d) and _is_plain(module):
        replacement = WinogradConv2d(module.weight, module.bias, int(module.padding[0]), module.padding_mode)
    else:
        replacement = type(module).__new__(type(module))
        for name, value in vars(module).items():
            # The tables of parameters, children and hooks are copied, or a change would reach the original.
            vars(replacement)[name] = value.copy() if isinstance(value, dict) else value
        for name, child in module._modules.items():
            replacement._modules[name] = None if child is None else _replace(child, done)
    done[module] = replacement
    return replacement


def _is_plain(conv: nn.Conv2d) -> bool:
    return (
        type(conv) in (nn.Conv2d, ReflectConv2d)
        and (conv.stride, conv.dilation, conv.groups) == ((1, 1), (1, 1), 1)
        and conv.padding in ((0, 0), (1, 1))
        and conv.padding_mode in PADDING_MODES
        and _pays(conv.weight, *conv.weight.shape[:2])
    )


def _pays(kernel: torch.Tensor, *channels: int) -> bool:
    fits = kernel.dtype == torch.float32 and kernel.shape[2:] == (TAPS, TAPS)
    return fits and min(channels) >= MIN_CHANNELS[0] and max(channels) >= MIN_CHANNELS[1]
