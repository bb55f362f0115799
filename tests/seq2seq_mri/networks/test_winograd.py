# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Winograd convolutions against direct ones in float64, and the matrices against their defining identity."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from seq2seq_mri.networks import winograd
from seq2seq_mri.networks.winograd import WinogradConv2d, winograd_fractions, winograd_matrices

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
        with pytest.raises(ValueError, match=f"at least {size}"):
            convolution(x[..., 1:, :])

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

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((torch.zeros(2, 3, 5, 5), None), "kernel"),
            ((torch.zeros(2, 3, 3, 3, 3), None), "kernel"),
            ((torch.zeros(2, 3, 3, 3).double(), None), "kernel.*float64"),
            ((torch.zeros(2, 3, 3, 3), torch.zeros(3)), "bias"),
            ((torch.zeros(2, 3, 3, 3), None, 2), "padding must be 0 or 1, got 2"),
            ((torch.zeros(2, 3, 3, 3), None, 1, "circular"), "zeros, reflect, got 'circular'"),
        ],
    )
    def test_refuses_arguments(self, arguments: tuple, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            WinogradConv2d(*arguments)

    @pytest.mark.parametrize(
        "x",
        [torch.zeros(3, 8, 8), torch.zeros(1, 2, 8, 8), torch.zeros(1, 3, 2, 8), torch.zeros(1, 3, 8, 8).bfloat16()],
    )
    def test_refuses_inputs(self, x: torch.Tensor) -> None:
        with pytest.raises(ValueError, match=r"\[N, 3, H, W\] of torch.float32"):
            WinogradConv2d(torch.zeros(2, 3, 3, 3), None)(x)
