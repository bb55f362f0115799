# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Every network computes on the GPU what it computes on the CPU, forwards and backwards, in float32 and bfloat16."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from agreement import GRADIENT, IMAGE, forward_and_backward, relative_error
from completion import small_mm_gan, small_pix2pix, small_resvit
from small_generator import small
from torch import nn

from seq2seq_mri.networks.checkpointing import checkpoint_activations
from seq2seq_mri.networks.classifier import build_classifier
from seq2seq_mri.networks.discriminator import SequenceDiscriminators
from seq2seq_studies.networks.many_to_many import ConditionalDiscriminator, MeanTranslation

CPU = torch.device("cpu")
SEQUENCES = {"t1": 1, "dce": 3, "t2": 1}
SIZES = {2: (21, 18), 3: (13, 18, 10)}
Built = tuple[nn.Module, list[Any]]


def code(name: str) -> torch.Tensor:
    return torch.eye(len(SEQUENCES))[[list(SEQUENCES).index(name)]]


def generator(dims: int, timepoints: int, target: str, conditioning: str = "hyper") -> Built:
    network = small(dims, SEQUENCES, conditioning=conditioning)
    return network, [torch.rand(3, timepoints, 2, *SIZES[dims]), code(target)]


def checkpointed(dims: int) -> Built:
    network, inputs = generator(dims, 3, "dce")
    return checkpoint_activations(network), inputs  # type: ignore[arg-type]


def discriminators(dims: int) -> Built:
    network = SequenceDiscriminators(dims, SEQUENCES, in_channels=2, channels=4, num_layers=2)
    return network, [torch.rand(2, 3, 2, *[26] * dims), "dce"]


def conditional_discriminator(dims: int) -> Built:
    network = ConditionalDiscriminator(dims, 2, 6, out_channels=3, width=4, num_layers=2)
    return network, [torch.rand(2, 1, 2, *[26] * dims), torch.rand(2, 3, 2, *[26] * dims)]


def classifier(dims: int, shortcut: str) -> Built:
    network = build_classifier(dims, 2, shortcut_type=shortcut, widen_factor=0.25)  # type: ignore[arg-type]
    return network, [torch.rand(4, 2, *(33, 37, 35)[:dims])]


def completing(make: Callable, dims: int) -> Built:
    available = torch.tensor([[True, False, False], [False, True, True], [True, True, True]])
    return make(dims, SEQUENCES, 2), [torch.rand(3, 5, 2, *SIZES[dims]), available]


def mean_translation(dims: int, sequences: dict[str, int], in_channels: int) -> MeanTranslation:
    return MeanTranslation(small(dims, sequences, in_channels=in_channels))


CASES: dict[str, Callable[[int], Built]] = {
    "generator checkpointed": checkpointed,
    "discriminators": discriminators,
    "conditional discriminator": conditional_discriminator,
    "classifier A": partial(classifier, shortcut="A"),
    "classifier B": partial(classifier, shortcut="B"),
    "Pix2Pix": partial(completing, small_pix2pix),
    "MM-GAN": partial(completing, small_mm_gan),
    "ResViT": partial(completing, small_resvit),
    "mean translation": partial(completing, mean_translation),
}
for count, goal in itertools.product((1, 3), ("t1", "dce")):
    CASES[f"generator T = {count} to {goal}"] = partial(generator, timepoints=count, target=goal)
for name in ("adain", "dynamic"):
    CASES[f"generator {name}"] = partial(generator, timepoints=3, target="dce", conditioning=name)


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("case", CASES)
def test_agrees_with_the_cpu(device: torch.device, case: str, dims: int, dtype: str | None) -> None:
    torch.manual_seed(0)
    network, inputs = CASES[case](dims)
    expected, expected_gradients = forward_and_backward(network, inputs, CPU, None)
    found, found_gradients = forward_and_backward(network, inputs, device, dtype)
    assert relative_error(found, expected) < IMAGE[dtype]
    if device.type == "cpu" and dtype and case.startswith("classifier") and dims == 3:
        pytest.skip("on some CPUs, torch's bfloat16 gradient of a strided Conv3d is wrong")
    assert relative_error(found_gradients, expected_gradients) < GRADIENT[dtype]


STRIDES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "contiguous": lambda image: image,
    "channels last": lambda image: image.transpose(2, -1).contiguous().transpose(2, -1),
    "transposed in space": lambda image: image.transpose(-1, -2).contiguous().transpose(-1, -2),
    "batch last": lambda image: image.movedim(0, -1).contiguous().movedim(-1, 0),
    "every other value": lambda image: image.repeat_interleave(2, -1)[..., ::2],
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("strides", STRIDES)
@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("dims", [2, 3])
def test_specialised_for_every_batch_and_stride(device: torch.device, dims, batch, strides, dtype) -> None:
    torch.manual_seed(0)
    network = small(dims, SEQUENCES).eval()
    image = torch.rand(batch, 3, 2, *SIZES[dims])
    with torch.no_grad():
        expected = network(image, code("dce"))
        specialised = network.to(device).specialise(["dce", "t2"]).to(dtype)
        given = STRIDES[strides](image.to(device, dtype))
        assert torch.equal(given.cpu(), image.to(dtype))
        found = specialised(given, code("dce").to(device))
    assert found.dtype == dtype
    assert relative_error(found, expected) < IMAGE[None if dtype == torch.float32 else "bfloat16"]


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
@pytest.mark.parametrize("dims", [2, 3])
def test_an_image_without_signal_gives_finite_gradients(device: torch.device, dims, dtype) -> None:
    network, (image, target) = generator(dims, 1, "t1")
    image[1] = 0
    image[2, :, :, : SIZES[dims][0] // 2] = 0
    output, found = forward_and_backward(network, [image, target], device, dtype)
    assert output.isfinite().all()
    assert found.isfinite().all()
