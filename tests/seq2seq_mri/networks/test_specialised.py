# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""A specialised generator: the same images, no banks, a network of its own."""

from __future__ import annotations

import pytest
import torch
from small_generator import FOUR, small

from naive_generator import naive_copy
from seq2seq_mri.networks.generator import Seq2SeqGenerator, SpecialisedGenerator

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit")

MIXED = {"t1": 1, "dce": 2, "t2": 1, "fatsat_dce": 6}


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize(("conditioning", "upsample"), [("hyper", "last"), ("adain", "first"), ("dynamic", "last")])
def test_equals_the_generator(spatial_dims: int, conditioning: str, upsample: str) -> None:
    generator = small(spatial_dims, MIXED, conditioning=conditioning, upsample=upsample)
    every = generator.specialise()
    assert not every.training
    assert not any(parameter.requires_grad for parameter in every.parameters())
    scripted = torch.jit.script(every)
    image = torch.randn(2, 3, 2, *(9, 10, 7)[:spatial_dims])
    for name, code in zip(MIXED, torch.eye(4).split(1), strict=True):
        one = generator.specialise([name])
        with torch.no_grad():
            expected = generator(image, code)
        for network in (every, scripted, one):
            torch.testing.assert_close(network(image, code), expected, rtol=1e-5, atol=1e-5)
    exported = torch.export.export(one, (image,)).module()
    torch.testing.assert_close(exported(image), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("spatial_dims", "timepoints"), [(2, 1), (2, 6), (3, 2)])
def test_equals_the_plain_generator_in_float32(spatial_dims: int, timepoints: int) -> None:
    """The exact savings of float32, against a plain network in float64, per-sample codes included."""
    sequences = dict.fromkeys(FOUR, timepoints)
    generator = small(spatial_dims, sequences, num_res_blocks=2, output_activation="none", upsample="first")
    # Normalising the few values of smaller maps would only amplify the rounding of whatever comes before it.
    image, target = torch.randn(2, 2, 2, *(20, 28, 16)[:spatial_dims]), torch.eye(4)[[3, 1]]
    exact = naive_copy(generator).double()
    with torch.no_grad():
        expected = torch.cat([exact(image[k : k + 1].double(), code.double()) for k, code in enumerate(target)])
        for network in (generator, generator.specialise()):
            difference = (network(image, target).double() - expected).norm() / expected.norm()
            assert difference < 1e-5


def test_per_sample_codes_parts_and_the_default_target() -> None:
    generator = small(sequences=MIXED)
    specialised = generator.specialise(["fatsat_dce", "t2", "t1"])
    image, target = torch.randn(4, 1, 2, 9, 8), torch.eye(4)[[2, 0, 0, 2]]
    unrolled = specialised.unroll(specialised.encode(image), 1)
    with torch.no_grad():
        expected, default = generator(image, target), generator(image, torch.eye(4)[3:])
    for found, wanted in (
        (specialised(image, target), expected),
        (specialised.decode(unrolled, target, [9, 8]), expected),
        (torch.jit.script(specialised)(image, target), expected),
        (specialised(image), default),
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_is_a_copy_of_the_weights_as_they_were() -> None:
    generator = small()
    image = torch.randn(1, 1, 2, 8, 8)
    specialised = generator.specialise(["t1"])
    before = specialised(image)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(1.0)
    assert torch.equal(specialised(image), before)
    specialised.to(torch.bfloat16)
    assert all(parameter.dtype == torch.float32 for parameter in generator.parameters())
    assert all(parameter.requires_grad for parameter in generator.parameters())


def test_published_size_specialises_to_43_million_parameters() -> None:
    with torch.device("meta"):
        specialised = SpecialisedGenerator(Seq2SeqGenerator(2, FOUR, upsample="first"), ["t1"])
    assert round(sum(parameter.numel() for parameter in specialised.parameters()) / 1e6, 2) == 43.23


@pytest.mark.parametrize(
    ("targets", "message"),
    [([], "one or more different targets"), (["t1", "t1"], "different targets"), (["dwi"], "Unknown sequence 'dwi'")],
)
def test_targets_that_cannot_be(targets: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small().specialise(targets)


@pytest.mark.parametrize("targets", [["t2"], ["t2", "t1"]])
def test_a_code_of_another_target_is_refused(targets: list[str]) -> None:
    with pytest.raises(ValueError, match="specialised to other targets than flair"):
        small().specialise(targets)(torch.randn(1, 1, 2, 8, 8), torch.eye(4)[3:])
