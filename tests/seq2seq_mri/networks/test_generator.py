# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The generator: contract, published size, a plain one beside it, any spatial size, and what it refuses."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from contract import NetworkContract
from small_generator import FOUR, small
from torch import nn

from naive_generator import naive_copy
from seq2seq_mri.networks.generator import Seq2SeqGenerator

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit")

MIXED = {"t1": 1, "dce": 3, "t2": 1, "fatsat_dce": 3}


class TestHyper(NetworkContract):
    options: dict[str, str] = {}  # noqa: RUF012

    def network(self, spatial_dims, timepoints):
        return small(spatial_dims, dict.fromkeys(FOUR, timepoints), **self.options)

    def inputs(self, spatial_dims, timepoints, size):
        return torch.randn(2, timepoints, 2, *size), torch.eye(4)[[1, 3]]

    def output_shape(self, spatial_dims, timepoints, size):
        return 2, timepoints, 2, *size


class TestAdaptiveInstanceNorm(TestHyper):
    options = {"conditioning": "adain"}  # noqa: RUF012


class TestDynamic(TestHyper):
    options = {"conditioning": "dynamic", "upsample": "first", "output_activation": "sigmoid"}  # noqa: RUF012


def test_without_target_exports_and_scripts() -> None:
    generator = small(sequences={**MIXED, "t1": 3})
    image = torch.randn(2, 2, 2, 9, 8)
    expected = generator(image, torch.eye(4)[:1])
    torch.testing.assert_close(generator(image), expected)
    torch.testing.assert_close(torch.jit.script(generator)(image), expected)
    torch.testing.assert_close(torch.export.export(generator, (image,)).module()(image), expected)


def test_default_is_the_published_size() -> None:
    with torch.device("meta"):
        generator = Seq2SeqGenerator(2, FOUR)
    counted = [module for module in generator.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    ordinary = sum(parameter.numel() for module in counted for parameter in module.parameters())
    everything = sum(parameter.numel() for parameter in generator.parameters())
    # The published network also has the biases that a normalisation takes out: of 15 convolutions of the encoder, and
    # of 14 HyperConvs, each with a bank of 16 and a linear layer from the code of 64.
    encoder_biases, mixing, banks = 64 + 128 + 256 + 12 * 256, 14 * (64 + 1) * 16, 16 * (12 * 256 + 128 + 64)
    assert round((ordinary + encoder_biases + mixing) / 1e6, 2) == 35.81
    assert round((everything + encoder_biases + mixing + banks) / 1e6, 2) == 155.16


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("timepoints", [1, 3])
@pytest.mark.parametrize(("upsample", "activation"), [("last", "tanh"), ("first", "sigmoid")])
def test_equals_the_plain_generator(spatial_dims: int, timepoints: int, upsample: str, activation: str) -> None:
    sequences = dict.fromkeys(FOUR, timepoints)
    generator = small(spatial_dims, sequences, upsample=upsample, output_activation=activation).double()
    naive = naive_copy(generator)
    image, target = torch.randn(2, 2, 2, *(12, 8, 8)[:spatial_dims]).double(), torch.eye(4).double()[[3, 1]]
    expected = torch.cat([naive(image[k : k + 1], code) for k, code in enumerate(target)])
    output = generator(image, target)
    torch.testing.assert_close(output, expected, rtol=1e-8, atol=1e-8)

    weights, wanted = torch.randn_like(output), dict(generator.named_parameters())
    gradients = torch.autograd.grad((output * weights).sum(), list(wanted.values()))
    plain = dict(naive.named_parameters())
    expected_gradients = torch.autograd.grad((expected * weights).sum(), [plain[name] for name in wanted])
    torch.testing.assert_close(gradients, expected_gradients, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("size", [(5, 8), (9, 14), (11, 7)])
def test_pads_and_crops_exactly(size: tuple[int, int]) -> None:
    generator = small()
    image = torch.randn(1, 2, *size)
    padded = F.pad(image, [0, -size[1] % 4, 0, -size[0] % 4], mode="reflect")
    assert torch.equal(generator(image), generator(padded)[:, :, : size[0], : size[1]])


def test_time_axis_follows_input_and_target() -> None:
    generator = small(sequences=MIXED)
    t1, dce = torch.eye(4)[:1], torch.eye(4)[1:2]
    frame, series = torch.randn(2, 2, 8, 8), torch.randn(2, 5, 2, 8, 8)
    assert generator(frame, t1).shape == (2, 2, 8, 8)
    assert generator(frame, dce).shape == (2, 3, 2, 8, 8)
    assert generator(series, t1).shape == (2, 1, 2, 8, 8)
    assert generator(series, dce).shape == (2, 3, 2, 8, 8)
    assert torch.equal(generator(frame), generator(frame[:, None], t1)[:, 0])


@pytest.mark.parametrize("conditioning", ["hyper", "adain", "dynamic"])
@pytest.mark.parametrize("scripted", [False, True])
def test_parts_are_shared_by_targets(conditioning: str, scripted: bool) -> None:
    generator = small(sequences=MIXED, conditioning=conditioning)
    parts = torch.jit.script(generator) if scripted else generator
    image = torch.randn(4, 2, 2, 9, 8)
    features = parts.encode(image)
    assert features.shape == (4, 6, 3, 2)
    for targets, runs in (([0], None), ([1], None), ([1, 3, 3, 1], None), ([1, 3, 1], [2, 1, 1])):
        unrolled = parts.unroll(features, generator.timepoints[targets[0]])
        decoded = parts.decode(unrolled, torch.eye(4)[targets], [9, 8], runs)
        each = torch.eye(4)[targets].repeat_interleave(torch.tensor(runs or 1), dim=0)
        torch.testing.assert_close(decoded, generator(image, each))


@pytest.mark.parametrize(
    ("image", "target", "message"),
    [
        ((2, 8, 8), None, "2 channels, 2 spatial dimensions"),
        ((1, 1, 3, 8, 8), None, "2 channels, 2 spatial dimensions"),
        ((1, 1, 2, 8, 8, 8), None, "2 channels, 2 spatial dimensions"),
        ((1, 2, 4, 8), None, "Every spatial size must be at least 5"),
        ((2, 2, 8, 8), torch.zeros(4), r"A target of shape \[2, 4\] or \[1, 4\] is needed"),
        ((2, 2, 8, 8), torch.zeros(3, 4), r"A target of shape \[2, 4\] or \[1, 4\] is needed"),
        ((2, 2, 8, 8), torch.zeros(2, 5), r"A target of shape \[2, 4\] or \[1, 4\] is needed"),
        ((2, 2, 8, 8), torch.eye(4)[:2], r"equal numbers of timepoints, got \[1, 3\]"),
    ],
)
def test_inputs_that_do_not_fit(image: tuple[int, ...], target: torch.Tensor | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(sequences=MIXED)(torch.zeros(image), target)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spatial_dims": 4}, "spatial_dims must be 2 or 3, got 4"),
        ({"sequences": {}}, "sequence table is empty"),
        ({"channels": (8,)}, "channels needs at least two entries"),
        ({"code_channels": 3}, "code_channels is 3, but there are 4 sequences"),
        ({"lstm_layers": 0}, "num_layers must be at least 1, got 0"),
        ({"weight_code_channels": 1}, "weight_code_channels must be at least 2"),
        ({"upsample": "middle"}, "Unknown upsample 'middle'; use one of last, first"),
        ({"conditioning": "film"}, "Unknown conditioning 'film'; use one of hyper, adain, dynamic"),
        ({"output_activation": "relu"}, "Unknown output_activation 'relu'; use one of tanh, sigmoid, none"),
    ],
)
def test_arguments_that_cannot_be_used(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**arguments)
