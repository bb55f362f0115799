# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""ConvLSTM against the equations, written plainly, with gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from seq2seq_mri.networks.conv_lstm import HIDDEN_SCALE, ConvLSTM

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit")

State = list[tuple[torch.Tensor, torch.Tensor]]


def plain_conv_lstm(network: ConvLSTM, inputs: list[torch.Tensor], state: State) -> tuple[torch.Tensor, State]:
    """Layer by layer; gate order i, f, o, g; every convolution in full."""
    final = []
    for layer, (hidden, cell) in zip(network.layers, state, strict=True):
        convolve = F.conv2d if hidden.dim() == 4 else F.conv3d
        outputs = []
        for x in inputs:
            gates = convolve(torch.cat([x, hidden], 1), layer.conv.weight, layer.conv.bias, padding=1)
            i, f, o, g = gates.chunk(4, dim=1)
            cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
            hidden = torch.sigmoid(o) * torch.tanh(cell)
            outputs.append(hidden)
        final.append((hidden, cell))
        inputs = outputs
    return torch.stack(inputs, 1), final


def random_state(layers: int, shape: tuple[int, ...]) -> State:
    return [(torch.randn(shape).double(), torch.randn(shape).double()) for _ in range(layers)]


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("timepoints", [1, 3])
@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
def test_equals_the_equations(spatial_dims: int, timepoints: int, with_state: bool, layers: int) -> None:
    torch.manual_seed(0)
    shape = (2, 2, *(6, 5, 4)[:spatial_dims])
    network = ConvLSTM(spatial_dims, 3, 2, layers).double()
    x = torch.randn(2, timepoints, 3, *shape[2:], dtype=torch.float64, requires_grad=True)
    state = random_state(layers, shape)
    if not with_state:
        state = [(torch.zeros_like(hidden), torch.zeros_like(cell)) for hidden, cell in state]
    outputs, final = network(x, state if with_state else None)
    expected, expected_final = plain_conv_lstm(network, list(x.unbind(1)), state)
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close(final, expected_final)

    weights = torch.randn_like(outputs)
    wanted = [x, *network.parameters()]
    gradients = torch.autograd.grad((outputs * weights).sum(), wanted)
    torch.testing.assert_close(gradients, torch.autograd.grad((expected * weights).sum(), wanted))


@pytest.mark.parametrize("with_state", [False, True])
def test_repeats_equal_copies(with_state: bool) -> None:
    torch.manual_seed(0)
    network = ConvLSTM(2, 3, 4).double()
    x = torch.randn(2, 1, 3, 6, 5).double()
    state = random_state(3, (2, 4, 6, 5)) if with_state else None
    expected = network(x.expand(-1, 4, -1, -1, -1), state)
    torch.testing.assert_close(network(x, state, 4), expected)
    torch.testing.assert_close(torch.jit.script(network)(x, state, 4), expected)


def test_one_timepoint_costs_three_eighths() -> None:
    network = ConvLSTM(2, 4, 4, num_layers=1)
    x = torch.randn(1, 1, 4, 8, 8)
    with FlopCounterMode(display=False) as zero_state:
        _, state = network(x)
    with FlopCounterMode(display=False) as full:
        network(x, state)
    assert zero_state.get_total_flops() / full.get_total_flops() == 3 / 8


def test_signal_survives_all_layers_at_initialisation() -> None:
    torch.manual_seed(0)
    network = ConvLSTM(2, 32, 32, num_layers=6, input_scale=2.0)
    with torch.no_grad():
        outputs, _ = network(2.0 * torch.randn(1, 1, 32, 24, 24))
    assert outputs.std(dim=(3, 4)).mean().item() == pytest.approx(HIDDEN_SCALE, rel=0.15)
