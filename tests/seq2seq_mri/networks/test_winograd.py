# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Winograd convolutions, and networks with them, against direct ones; the matrices against their defining identity."""

from __future__ import annotations

import copy
import random
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from seq2seq_mri.networks import winograd
from seq2seq_mri.networks.blocks import reflect_conv
from seq2seq_mri.networks.conv_lstm import ConvLSTM, ConvLSTMCell
from seq2seq_mri.networks.generator import Seq2SeqGenerator
from seq2seq_mri.networks.winograd import WinogradConv2d, WinogradConvLSTMCell, use_winograd, winograd_matrices

TOLERANCE = 1e-5


def error(result: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference relative to the largest value."""
    assert result.shape == expected.shape
    return ((result - expected).abs().max() / expected.abs().max()).item()


def direct(x: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor | None, reflect: bool) -> torch.Tensor:
    x = F.pad(x, [1] * 4, mode="reflect" if reflect else "constant")
    return F.conv2d(x.double(), kernel.double(), None if bias is None else bias.double())


def test_matrices_give_correlations_exactly() -> None:
    output, kernel, data = winograd_matrices()
    numbers = random.Random(0)
    taps = [Fraction(numbers.randint(-99, 99)) for _ in range(3)]
    tile = [Fraction(numbers.randint(-99, 99)) for _ in range(6)]

    def times(matrix: list[list[Fraction]], vector: list[Fraction]) -> list[Fraction]:
        return [sum((a * b for a, b in zip(row, vector, strict=True)), Fraction(0)) for row in matrix]

    products = [a * b for a, b in zip(times(kernel, taps), times(data, tile), strict=True)]
    assert times(output, products) == [sum(taps[j] * tile[i + j] for j in range(3)) for i in range(4)]


def test_matrices_of_the_run_time_are_exact_in_float32() -> None:
    output, _, data = winograd_matrices()
    for matrix in (output, data):
        assert [[Fraction(value) for value in row] for row in np.asarray(matrix, dtype=np.float32).tolist()] == matrix


@pytest.mark.parametrize("reflect", [False, True])
class TestConv:
    @pytest.mark.parametrize("channels", [(5, 7), (128, 64), (3, 200), (1, 1)])
    def test_equals_direct(self, channels: tuple[int, int], reflect: bool) -> None:
        torch.manual_seed(0)
        kernel, bias = torch.randn(channels[1], channels[0], 3, 3), torch.randn(channels[1])
        convolution = WinogradConv2d(kernel, bias, reflect)
        for size in ((2, 2), (3, 9), (5, 18), (8, 3), (11, 9)):
            x = torch.randn(2, channels[0], *size)
            for given in (x, x.contiguous(memory_format=torch.channels_last)):
                result = convolution(given)
                assert error(result, direct(x, kernel, bias, reflect)) <= TOLERANCE
                assert result.is_contiguous(memory_format=torch.channels_last)
                assert result.dtype == torch.float32

    @pytest.mark.parametrize("chunk_rows", [1, 2, 3])
    @pytest.mark.parametrize("height", [13, 16])
    def test_in_chunks(self, monkeypatch: pytest.MonkeyPatch, chunk_rows: int, height: int, reflect: bool) -> None:
        """Several chunks a sample, several samples: nothing of one must stay for the next."""
        torch.manual_seed(0)
        x, kernel, bias = torch.randn(3, 4, height, 12), torch.randn(3, 4, 3, 3), torch.randn(3)
        monkeypatch.setattr(winograd, "CHUNK_VALUES", 36 * 3 * 4 * chunk_rows)
        assert error(WinogradConv2d(kernel, bias, reflect)(x), direct(x, kernel, bias, reflect)) <= TOLERANCE

    def test_inference_mode_and_back(self, reflect: bool) -> None:
        torch.manual_seed(0)
        kernel, x = torch.randn(6, 4, 3, 3), torch.randn(1, 4, 40, 41)
        convolution = WinogradConv2d(kernel, None, reflect)
        with torch.inference_mode():
            convolution(x)
        assert error(convolution(x[..., :6]), direct(x[..., :6], kernel, None, reflect)) <= TOLERANCE

    def test_threads_do_not_meet(self, reflect: bool) -> None:
        torch.manual_seed(0)
        convolution = WinogradConv2d(torch.randn(16, 16, 3, 3), None, reflect)
        images = [torch.randn(1, 16, 40, 40) for _ in range(16)]
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(convolution, images))
        for result, image in zip(results, images, strict=True):
            torch.testing.assert_close(result, convolution(image))


def winograd_modules(network: nn.Module) -> list[str]:
    return [name for name, module in network.named_modules() if isinstance(module, WinogradConv2d)]


@pytest.mark.parametrize(("timepoints", "repeats"), [(1, 1), (3, 1), (1, 3)])
@pytest.mark.parametrize("with_state", [False, True])
def test_cell_equals_direct_one(timepoints: int, repeats: int, with_state: bool) -> None:
    torch.manual_seed(0)
    cell = ConvLSTMCell(2, 5, 6)
    nn.init.normal_(cell.conv.bias)  # each gate another
    x = torch.randn(2, timepoints, 5, 11, 9)
    state = (torch.randn(2, 6, 11, 9), torch.randn(2, 6, 11, 9)) if with_state else None
    random_state = torch.get_rng_state()
    replacement = WinogradConvLSTMCell(cell)
    assert torch.equal(torch.get_rng_state(), random_state)
    outputs, final = replacement(x, state, repeats)
    exact_state = (state[0].double(), state[1].double()) if state else None
    expected, expected_final = copy.deepcopy(cell).double()(x.double(), exact_state, repeats)
    for result, truth in zip((outputs, *final), (expected, *expected_final), strict=True):
        assert error(result, truth) <= TOLERANCE
    # The kernels of later timepoints exist once they are needed.
    assert ("hidden" in winograd_modules(replacement)) == (timepoints * repeats > 1 or with_state)


def test_generator() -> None:
    torch.manual_seed(0)
    sizes = {"channels": (8, 64, 128), "num_res_blocks": 1, "lstm_layers": 1, "weight_code_channels": 2}
    network = Seq2SeqGenerator(2, {"t1": 1, "dce": 3}, **sizes).specialise(["dce"])
    image = torch.rand(1, 2, 3, 21, 26)
    modules, before = dict(network.named_modules()), network(image)

    replaced = use_winograd(network)

    expected = copy.deepcopy(network).double()(image.double())
    assert expected.shape == (1, 3, 3, 21, 26)
    # Direct convolutions round as well: through all layers, by 6e-6 to 1.4e-5 of the greatest value.
    assert error(replaced(image), expected) <= 3 * error(before, expected)
    names = {name.split(".")[0] for name in winograd_modules(replaced)}
    assert names == {"encoder", "encoder_lstm", "decoder_lstm", "decoder"}
    assert dict(network.named_modules()) == modules
    assert torch.equal(network(image), before)
    assert replaced.encoder.stem[0].weight is network.encoder.stem[0].weight


@pytest.mark.parametrize(
    ("module", "replaced"),
    [
        (reflect_conv(2, 64, 128, 3), True),
        (reflect_conv(2, 64, 64, 3), False),
        (reflect_conv(2, 32, 256, 3), False),
        (reflect_conv(2, 128, 128, 5), False),
        (reflect_conv(2, 128, 128, 3, stride=2), False),
        (reflect_conv(2, 128, 128, 3, groups=2), False),
        (reflect_conv(2, 128, 128, 3).double(), False),
        (reflect_conv(3, 64, 128, 3), False),
        (ConvLSTM(2, 64, 128, 1), True),
        (ConvLSTM(2, 64, 64, 1), False),
        (ConvLSTM(3, 64, 128, 1), False),
    ],
)
def test_what_is_replaced(module: nn.Module, replaced: bool) -> None:
    assert bool(winograd_modules(use_winograd(module.eval()))) == replaced
    assert not winograd_modules(module)
