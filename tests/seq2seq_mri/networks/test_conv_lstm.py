# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""ConvLSTM against the equations, written plainly, with gradients."""

from __future__ import annotations

import pytest
import torch
from contract import NetworkContract
from slow_reference import conv_lstm
from torch.utils.flop_counter import FlopCounterMode

from seq2seq_mri.networks.conv_lstm import HIDDEN_SCALE, ConvLSTM

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit")


class TestContract(NetworkContract):
    def network(self, spatial_dims, timepoints):
        return ConvLSTM(spatial_dims, in_channels=3, hidden_channels=4, num_layers=2)

    def inputs(self, spatial_dims, timepoints, size):
        return (torch.randn(2, timepoints, 3, *size),)

    def output_shape(self, spatial_dims, timepoints, size):
        return 2, timepoints, 4, *size


def random_state(layers: int, shape: tuple[int, ...]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(torch.randn(shape).double(), torch.randn(shape).double()) for _ in range(layers)]


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("timepoints", [1, 2, 4])
@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("layers", [1, 3])
def test_equals_the_equations(spatial_dims: int, timepoints: int, with_state: bool, layers: int) -> None:
    torch.manual_seed(0)
    size = (6, 5, 4)[:spatial_dims]
    network = ConvLSTM(spatial_dims, 3, 2, layers).double()
    x = torch.randn(2, timepoints, 3, *size, dtype=torch.float64, requires_grad=True)
    state = random_state(layers, (2, 2, *size)) if with_state else None
    outputs, final = network(x, state)
    expected, expected_final = conv_lstm(
        [(layer.conv.weight, layer.conv.bias) for layer in network.layers], list(x.unbind(1)), state
    )
    torch.testing.assert_close(outputs, torch.stack(expected, 1))
    torch.testing.assert_close(final, expected_final)

    weights = torch.randn_like(outputs)
    wanted = [x, *network.parameters()]
    gradients = torch.autograd.grad((outputs * weights).sum(), wanted)
    expected_gradients = torch.autograd.grad((torch.stack(expected, 1) * weights).sum(), wanted)
    torch.testing.assert_close(gradients, expected_gradients)


@pytest.mark.parametrize("with_state", [False, True])
def test_repeats_equal_copies(with_state: bool) -> None:
    torch.manual_seed(0)
    network = ConvLSTM(2, 3, 4).double()
    x = torch.randn(2, 1, 3, 6, 5).double()
    state = random_state(3, (2, 4, 6, 5)) if with_state else None
    torch.testing.assert_close(network(x, state, 4), network(x.expand(-1, 4, -1, -1, -1), state))


def test_goes_on_from_a_state() -> None:
    torch.manual_seed(0)
    network = ConvLSTM(2, 3, 4)
    x = torch.randn(1, 5, 3, 6, 5)
    whole, final = network(x)
    start, state = network(x[:, :2])
    rest, state = network(x[:, 2:], state)
    torch.testing.assert_close(torch.cat([start, rest], 1), whole)
    torch.testing.assert_close(state, final)


def test_scripted_with_state_and_repeats() -> None:
    torch.manual_seed(0)
    network = ConvLSTM(2, 3, 4)
    scripted = torch.jit.script(network)
    x = torch.randn(1, 1, 3, 6, 5)
    _, state = network(x)
    torch.testing.assert_close(scripted(x, state, 2), network(x, state, 2))


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


def test_arguments_that_cannot_be_used() -> None:
    with pytest.raises(ValueError, match="num_layers must be at least 1, got 0"):
        ConvLSTM(2, 3, 4, num_layers=0)
    network = ConvLSTM(2, 3, 4)
    x = torch.randn(1, 2, 3, 6, 5)
    with pytest.raises(ValueError, match="Only one timepoint can be repeated, got 2 timepoints and repeats=3"):
        network(x, None, 3)
    with pytest.raises(ValueError, match="The state has 1 layers, the ConvLSTM has 3"):
        network(x, random_state(1, (1, 4, 6, 5)))
