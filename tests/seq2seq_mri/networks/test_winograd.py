# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Winograd convolutions, and networks with them, against direct ones; the matrices against their defining identity."""

from __future__ import annotations

import copy
import random
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from seq2seq_mri.networks import winograd
from seq2seq_mri.networks.conv_lstm import ConvLSTM, ConvLSTMCell
from seq2seq_mri.networks.generator import Seq2SeqGenerator
from seq2seq_mri.networks.winograd import (
    WinogradConv2d,
    WinogradConvLSTMCell,
    use_winograd,
    winograd_fractions,
    winograd_matrices,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit")

TOLERANCE = 1e-5


def error(result: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference relative to the largest value."""
    assert result.shape == expected.shape
    return ((result - expected).abs().max() / expected.abs().max()).item()


def direct(
    x: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor | None, padding: int, padding_mode: str
) -> torch.Tensor:
    if padding_mode == "reflect":
        x, padding = F.pad(x, [padding] * 4, mode="reflect"), 0
    return F.conv2d(x.double(), kernel.double(), None if bias is None else bias.double(), padding=padding)


class TestMatrices:
    @pytest.mark.parametrize("seed", range(5))
    def test_give_correlations_exactly(self, seed: int) -> None:
        output, kernel, data = winograd_fractions()
        numbers = random.Random(seed)
        taps = [Fraction(numbers.randint(-99, 99)) for _ in range(3)]
        tile = [Fraction(numbers.randint(-99, 99)) for _ in range(6)]

        def times(matrix: list[list[Fraction]], vector: list[Fraction]) -> list[Fraction]:
            return [sum((a * b for a, b in zip(row, vector, strict=True)), Fraction(0)) for row in matrix]

        products = [a * b for a, b in zip(times(kernel, taps), times(data, tile), strict=True)]
        assert times(output, products) == [sum(taps[j] * tile[i + j] for j in range(3)) for i in range(4)]

    def test_run_time_matrices_are_exact_in_float32(self) -> None:
        for fractions, matrix in zip(winograd_fractions(), winograd_matrices(), strict=True):
            assert matrix.dtype == torch.float64
            assert matrix.shape == (len(fractions), len(fractions[0]))
        for index in (0, 2):
            fractions, matrix = winograd_fractions()[index], winograd_matrices()[index].float()
            assert [[Fraction(value) for value in row] for row in matrix.tolist()] == fractions

    def test_two_dimensions(self) -> None:
        torch.manual_seed(0)
        output, kernel, data = winograd_matrices()
        taps, tile = torch.randn(3, 3).double(), torch.randn(6, 6).double()
        result = output @ ((kernel @ taps @ kernel.T) * (data @ tile @ data.T)) @ output.T
        torch.testing.assert_close(result, F.conv2d(tile[None, None], taps[None, None])[0, 0])


class TestConv:
    @pytest.mark.parametrize("size", [(height, width) for height in range(5, 20, 2) for width in (5, 8, 11, 18)])
    @pytest.mark.parametrize(("padding", "padding_mode"), [(0, "zeros"), (1, "zeros"), (1, "reflect")])
    def test_equals_direct(self, size: tuple[int, int], padding: int, padding_mode: str) -> None:
        torch.manual_seed(0)
        x, kernel, bias = torch.randn(2, 5, *size), torch.randn(7, 5, 3, 3), torch.randn(7)
        convolution = WinogradConv2d(kernel, bias, padding, padding_mode)
        expected = direct(x, kernel, bias, padding, padding_mode)
        for memory_format in (torch.contiguous_format, torch.channels_last):
            result = convolution(x.contiguous(memory_format=memory_format))
            assert error(result, expected) <= TOLERANCE
            assert result.is_contiguous(memory_format=torch.channels_last)
            assert result.dtype == torch.float32

    @pytest.mark.parametrize("chunk_rows", [1, 2, 3])
    @pytest.mark.parametrize("height", [13, 16, 17, 18, 19, 20])
    @pytest.mark.parametrize(("padding", "padding_mode"), [(0, "zeros"), (1, "zeros"), (1, "reflect")])
    def test_in_chunks(
        self, monkeypatch: pytest.MonkeyPatch, chunk_rows: int, height: int, padding: int, padding_mode: str
    ) -> None:
        """Several chunks a sample, several samples: nothing of one must stay for the next."""
        torch.manual_seed(0)
        x, kernel, bias = torch.randn(3, 4, height, 12), torch.randn(3, 4, 3, 3), torch.randn(3)
        monkeypatch.setattr(winograd, "CHUNK_VALUES", 36 * 3 * 4 * chunk_rows)
        result = WinogradConv2d(kernel, bias, padding, padding_mode)(x)
        assert error(result, direct(x, kernel, bias, padding, padding_mode)) <= TOLERANCE

    @pytest.mark.parametrize("channels", [(128, 64), (3, 200), (1, 1)])
    @pytest.mark.parametrize("padding_mode", ["zeros", "reflect"])
    def test_channels(self, channels: tuple[int, int], padding_mode: str) -> None:
        torch.manual_seed(0)
        x, kernel = torch.randn(1, channels[0], 9, 10), torch.randn(channels[1], channels[0], 3, 3)
        result = WinogradConv2d(kernel, None, 1, padding_mode)(x)
        assert error(result, direct(x, kernel, None, 1, padding_mode)) <= TOLERANCE

    @pytest.mark.parametrize(
        ("size", "padding", "padding_mode"), [(3, 0, "zeros"), (1, 1, "zeros"), (2, 1, "reflect"), (3, 0, "reflect")]
    )
    def test_smallest_size(self, size: int, padding: int, padding_mode: str) -> None:
        torch.manual_seed(0)
        x, kernel = torch.randn(1, 4, size, size), torch.randn(6, 4, 3, 3)
        convolution = WinogradConv2d(kernel, None, padding, padding_mode)
        assert error(convolution(x), direct(x, kernel, None, padding, padding_mode)) <= TOLERANCE

    def test_inference_mode_and_back(self) -> None:
        torch.manual_seed(0)
        kernel, small, large = torch.randn(6, 4, 3, 3), torch.randn(1, 4, 6, 6), torch.randn(1, 4, 40, 41)
        convolution = WinogradConv2d(kernel, None)
        with torch.inference_mode():
            convolution(large)
        assert error(convolution(small), direct(small, kernel, None, 0, "zeros")) <= TOLERANCE
        result = convolution(large)
        with torch.inference_mode():
            convolution(small)
        assert error(result, direct(large, kernel, None, 0, "zeros")) <= TOLERANCE

    def test_threads_do_not_meet(self) -> None:
        torch.manual_seed(0)
        convolution = WinogradConv2d(torch.randn(16, 16, 3, 3), None, 1, "reflect")
        images = [torch.randn(1, 16, 40, 40) for _ in range(16)]
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(convolution, images))
        for result, image in zip(results, images, strict=True):
            torch.testing.assert_close(result, convolution(image))

    def test_has_no_gradient_and_copies(self) -> None:
        conv = nn.Conv2d(4, 6, 3)
        convolution = WinogradConv2d(conv.weight, conv.bias)
        x = torch.randn(1, 4, 8, 8, requires_grad=True)
        before = convolution(x)
        assert not before.requires_grad
        assert not list(convolution.parameters())
        nn.init.zeros_(conv.weight)
        nn.init.zeros_(conv.bias)
        torch.testing.assert_close(convolution(x), before, rtol=0, atol=0)


def winograd_modules(network: nn.Module) -> list[str]:
    return [name for name, module in network.named_modules() if isinstance(module, WinogradConv2d)]


class TestCell:
    @pytest.mark.parametrize("timepoints", [1, 3])
    @pytest.mark.parametrize("with_state", [False, True])
    def test_equals_cell(self, timepoints: int, with_state: bool) -> None:
        torch.manual_seed(0)
        cell = ConvLSTMCell(2, 5, 6)
        nn.init.normal_(cell.conv.bias)  # each gate another
        x = torch.randn(2, timepoints, 5, 11, 9)
        state = (torch.randn(2, 6, 11, 9), torch.randn(2, 6, 11, 9)) if with_state else None
        replacement = WinogradConvLSTMCell(cell)
        outputs, final = replacement(x, state)
        exact_state = (state[0].double(), state[1].double()) if state else None
        expected, expected_final = copy.deepcopy(cell).double()(x.double(), exact_state)
        for result, truth in zip((outputs, *final), (expected, *expected_final), strict=True):
            assert error(result, truth) <= TOLERANCE
        assert replacement.conv is cell.conv
        # The kernels of later timepoints exist once they are needed.
        assert ("hidden" in winograd_modules(replacement)) == (timepoints > 1 or with_state)

    def test_repeats(self) -> None:
        torch.manual_seed(0)
        cell, x = ConvLSTMCell(2, 5, 6), torch.randn(2, 1, 5, 8, 8)
        assert error(WinogradConvLSTMCell(cell)(x, None, 3)[0], cell(x, None, 3)[0]) <= TOLERANCE

    def test_takes_no_random_numbers(self) -> None:
        cell = ConvLSTMCell(2, 5, 6)
        before = torch.get_rng_state()
        WinogradConvLSTMCell(cell)
        assert torch.equal(torch.get_rng_state(), before)


class TestUseWinograd:
    def test_generator(self) -> None:
        torch.manual_seed(0)
        generator = Seq2SeqGenerator(
            2, {"t1": 1, "dce": 3}, channels=(8, 64, 128), num_res_blocks=1, lstm_layers=1, weight_code_channels=2
        )
        network = generator.specialise(["dce"])
        image = torch.rand(1, 2, 3, 21, 26)
        modules, parameters = dict(network.named_modules()), dict(network.named_parameters())
        tables = {name: dict(module._modules) for name, module in modules.items()}
        before = network(image)

        replaced = use_winograd(network)

        expected = copy.deepcopy(network).double()(image.double())
        assert expected.shape == (1, 3, 3, 21, 26)
        # Direct convolutions round as well: through all layers, by 6e-6 to 1.4e-5 of the greatest value.
        assert error(replaced(image), expected) <= 3 * error(before, expected)
        names = winograd_modules(replaced)
        assert "encoder.residual_blocks.0.first.0" in names
        assert {
            f"{part}_lstm.layers.0.{half}" for part in ("encoder", "decoder") for half in ("first", "hidden")
        } <= set(names)
        assert sum(name.startswith("decoder.") for name in names) == 3  # a residual block, and 128 to 64 channels
        assert isinstance(replaced.encoder.stem[0], nn.Conv2d)  # 7 wide
        assert isinstance(replaced.encoder.downsampling[0][0], nn.Conv2d)  # stride 2

        assert not winograd_modules(network)
        assert dict(network.named_modules()) == modules
        assert {name: dict(module._modules) for name, module in modules.items()} == tables
        after = dict(network.named_parameters())
        assert after.keys() == parameters.keys()
        assert all(after[name] is parameters[name] for name in parameters)
        torch.testing.assert_close(network(image), before, rtol=0, atol=0)
        # Structure of its own, parameters shared.
        assert not set(modules.values()) & set(replaced.modules()) - {network.encoder_lstm.layers[0].conv} - {
            network.decoder_lstm.layers[0].conv
        }
        assert replaced.encoder.stem[0].weight is network.encoder.stem[0].weight
        assert replaced.training is network.training

    def test_small_networks_stay_direct(self) -> None:
        generator = Seq2SeqGenerator(2, {"t1": 1, "t2": 1}, channels=(4, 6, 8), num_res_blocks=1, lstm_layers=1)
        assert not winograd_modules(use_winograd(generator))

    @pytest.mark.parametrize("hidden", [32, 64])
    def test_a_cell_is_replaced_as_a_whole_or_not(self, hidden: int) -> None:
        """Its convolution alone has enough channels: twice the cell's to four times the cell's."""
        torch.manual_seed(0)
        network = ConvLSTM(2, hidden, hidden, num_layers=2)
        x = torch.randn(1, 2, hidden, 9, 10)
        replaced = use_winograd(network)
        assert not winograd_modules(replaced)
        assert torch.equal(replaced(x)[0], network(x)[0])

    def test_three_dimensions_stay_direct(self) -> None:
        network = nn.Sequential(nn.Conv3d(64, 128, 3), ConvLSTM(3, 64, 128, 1))
        assert not winograd_modules(use_winograd(network))

    @pytest.mark.parametrize(
        ("conv", "replaced"),
        [
            (nn.Conv2d(64, 128, 3), True),
            (nn.Conv2d(128, 64, 3, padding=1, bias=False), True),
            (nn.Conv2d(64, 64, 3), False),
            (nn.Conv2d(32, 256, 3), False),
            (nn.Conv2d(128, 128, 3, stride=2), False),
            (nn.Conv2d(128, 128, 3, dilation=2), False),
            (nn.Conv2d(128, 128, 3, groups=2), False),
            (nn.Conv2d(128, 128, 3, padding=2), False),
            (nn.Conv2d(128, 128, 3, padding=(0, 1)), False),
            (nn.Conv2d(128, 128, 3, padding="same"), False),
            (nn.Conv2d(128, 128, 3, padding=1, padding_mode="circular"), False),
            (nn.Conv2d(128, 128, (3, 1)), False),
            (nn.Conv2d(128, 128, 3).double(), False),
            (nn.ConvTranspose2d(128, 128, 3), False),
            (nn.utils.parametrizations.spectral_norm(nn.Conv2d(128, 128, 3)), False),
        ],
    )
    def test_chooses(self, conv: nn.Module, replaced: bool) -> None:
        conv.eval()
        x = torch.randn(1, conv.in_channels, 9, 10, dtype=next(conv.parameters()).dtype)
        result = use_winograd(conv)
        assert isinstance(result, WinogradConv2d) == replaced
        assert error(result(x), conv(x)) <= TOLERANCE

    def test_keeps_sharing(self) -> None:
        """A module in two places is one replacement in two places, and an absent one stays absent."""
        conv = nn.Conv2d(64, 128, 3)
        network = nn.Sequential(conv, nn.Conv2d(128, 64, 1), conv)
        network.add_module("absent", None)
        replaced = use_winograd(network)
        assert isinstance(replaced[0], WinogradConv2d)
        assert replaced[0] is replaced[2]
        assert replaced.absent is None

    def test_hooks_do_not_reach_back(self) -> None:
        network = nn.Sequential(nn.Conv2d(64, 128, 3), nn.ReLU())
        use_winograd(network)[1].register_forward_hook(lambda *_: pytest.fail("a hook of the copy was called"))
        network(torch.zeros(1, 64, 5, 5))

    def test_twice_is_once(self) -> None:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(64, 128, 3))
        x = torch.randn(1, 64, 7, 8)
        once = use_winograd(network)
        torch.testing.assert_close(use_winograd(once)(x), once(x), rtol=0, atol=0)
