# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Convolutional LSTM over the timepoints of an MRI sequence."""

from __future__ import annotations

import math

import torch
from monai.networks.layers.factories import Conv
from torch import nn

from seq2seq_mri.networks.functional import channels_last, convolve

__all__ = ["HIDDEN_SCALE", "ConvLSTM", "ConvLSTMCell"]

HIDDEN_SCALE = 0.3
"""Standard deviation of a layer's outputs at initialisation, from a zero state."""


class ConvLSTMCell(nn.Module):
    """One layer of a convolutional LSTM, run over all timepoints.

    With ``*`` a zero-padded convolution, ``W`` of kernels of 3, and ``[x, h]`` the channels of input and hidden state::

        (i, f, o, g) = W * [x_t, h_(t-1)] + b
        c_t = sigmoid(f) c_(t-1) + sigmoid(i) tanh(g)
        h_t = sigmoid(o) tanh(c_t)

    At initialisation the gates are mostly open (bias 1) and the candidates ``g`` of a first timepoint have unit
    variance. With the usual initialisation of convolutions each layer would instead shrink the image's signal, to
    1e-4 after the six layers of a generator: float32 rounding, and bfloat16 more so, would be amplified after it.
    """

    def __init__(self, spatial_dims: int, in_channels: int, hidden_channels: int, input_scale: float = 1.0) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.hidden_channels = hidden_channels
        # One module for both halves, so that every parameter has a gradient even where the state is zero.
        self.conv = Conv[Conv.CONV, spatial_dims](
            in_channels + hidden_channels, 4 * hidden_channels, kernel_size=3, padding=1
        )
        candidates = self.conv.weight[3 * hidden_channels :, :in_channels]
        with torch.no_grad():
            nn.init.normal_(candidates, std=1.0 / (input_scale * math.sqrt(candidates[0].numel())))
            nn.init.ones_(self.conv.bias[: 3 * hidden_channels])
            nn.init.zeros_(self.conv.bias[3 * hidden_channels :])

    def forward(
        self, x: torch.Tensor, state: tuple[torch.Tensor, torch.Tensor] | None = None, repeats: int = 1
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """Run the layer; see :class:`ConvLSTM` for the arguments, here with the state of this one layer."""
        size = self.hidden_channels
        steps = x.shape[1] * repeats
        outputs: list[torch.Tensor] = []
        if state is None:
            gates = self.first_gates(channels_last(x[:, 0]))
            cell = torch.sigmoid(gates[:, :size]) * torch.tanh(gates[:, 2 * size :])
            hidden = torch.sigmoid(gates[:, size : 2 * size]) * torch.tanh(cell)
            outputs.append(hidden)
        else:
            hidden, cell = state
        first = len(outputs)
        if steps > first:
            # The input half needs no state: all remaining timepoints at once, or one for all where they are equal.
            rest = x if repeats > 1 else x[:, first:]
            inputs = self.input_gates(channels_last(rest.flatten(0, 1))).unflatten(0, rest.shape[:2])
            for step in range(steps - first):
                gates = inputs[:, 0 if repeats > 1 else step] + self.hidden_gates(hidden)
                cell = torch.sigmoid(gates[:, size : 2 * size]) * cell + torch.sigmoid(gates[:, :size]) * torch.tanh(
                    gates[:, 3 * size :]
                )
                hidden = torch.sigmoid(gates[:, 2 * size : 3 * size]) * torch.tanh(cell)
                outputs.append(hidden)
        # A single timepoint is not copied, and keeps its memory format.
        stacked = outputs[0].unsqueeze(1) if len(outputs) == 1 else torch.stack(outputs, dim=1)
        return stacked, (hidden, cell)

    def first_gates(self, x: torch.Tensor) -> torch.Tensor:
        """Return what enters the gates i, o and g from the input ``(N, in_channels, *spatial)`` when the state is zero.

        A zero state leaves nothing for the hidden half of the kernel and for the forget gate to act on: without them
        the step costs 3/8 and gives the same.
        """
        size, weight, bias = self.hidden_channels, self.conv.weight[:, : self.in_channels], self._bias()
        kernel = torch.cat([weight[:size], weight[2 * size :]])
        return convolve(x, kernel, torch.cat([bias[:size], bias[2 * size :]]), padding=1)

    def input_gates(self, x: torch.Tensor) -> torch.Tensor:
        """Return what enters all four gates from the input ``(N, in_channels, *spatial)``, bias included."""
        return convolve(x, self.conv.weight[:, : self.in_channels], self._bias(), padding=1)

    def hidden_gates(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return what enters all four gates from the hidden state ``(N, hidden_channels, *spatial)``."""
        return convolve(hidden, self.conv.weight[:, self.in_channels :], None, padding=1)

    def _bias(self) -> torch.Tensor:
        bias = self.conv.bias
        if bias is None:  # it never is; torch.jit.script has to be told
            raise ValueError("The convolution of a ConvLSTM needs a bias.")
        return bias


class ConvLSTM(nn.Module):
    """Layers of convolutional LSTM; the outputs of one are the inputs of the next.

    Args:
        spatial_dims: 2 or 3.
        in_channels: number of input channels.
        hidden_channels: number of channels of each layer's hidden state.
        num_layers: number of layers.
        input_scale: standard deviation that the input is expected to have; sets the initial weights.

    Raises:
        ValueError: when ``num_layers`` is below 1.

    Example:
        >>> outputs, state = ConvLSTM(2, in_channels=4, hidden_channels=8)(torch.rand(1, 5, 4, 16, 16))
        >>> outputs.shape, len(state)
        (torch.Size([1, 5, 8, 16, 16]), 3)
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, hidden_channels: int, num_layers: int = 3, input_scale: float = 1.0
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise ValueError(f"num_layers must be at least 1, got {num_layers}.")
        self.layers = nn.ModuleList(
            ConvLSTMCell(
                spatial_dims,
                hidden_channels if layer else in_channels,
                hidden_channels,
                HIDDEN_SCALE if layer else input_scale,
            )
            for layer in range(num_layers)
        )

    def forward(
        self, x: torch.Tensor, state: list[tuple[torch.Tensor, torch.Tensor]] | None = None, repeats: int = 1
    ) -> tuple[torch.Tensor, list[tuple[torch.Tensor, torch.Tensor]]]:
        """Run over the timepoints of ``x``.

        Args:
            x: ``(B, T, in_channels, *spatial)``, T at least 1.
            state: hidden and cell state of each layer, each ``(B, hidden_channels, *spatial)``, as an earlier call
                returned it; None stands for zeros.
            repeats: feed the single timepoint of ``x`` this many times; what depends only on it is computed once.

        Returns:
            The last layer's hidden states ``(B, T · repeats, hidden_channels, *spatial)`` with values in (-1, 1), and
            the state after the last timepoint, to go on from.
        """
        final: list[tuple[torch.Tensor, torch.Tensor]] = []
        for index, layer in enumerate(self.layers):
            x, layer_final = layer(x, None if state is None else state[index], repeats if index == 0 else 1)
            final.append(layer_final)
        return x, final
