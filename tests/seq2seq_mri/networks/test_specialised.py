# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""A specialised generator: the same images, no banks, a network of its own."""

from __future__ import annotations

import pytest
import torch
from contract import NetworkContract
from small_generator import FOUR, small

from naive_generator import naive_copy
from seq2seq_mri.networks.generator import Seq2SeqGenerator, SpecialisedGenerator

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit")

MIXED = {"t1": 1, "dce": 2, "t2": 1, "fatsat_dce": 6}


class TestContract(NetworkContract):
    """One target: the code plays no part, as in a plain network."""

    def network(self, spatial_dims, timepoints):
        return small(spatial_dims, dict.fromkeys(FOUR, timepoints)).specialise(["t2"])

    def inputs(self, spatial_dims, timepoints, size):
        return torch.randn(2, timepoints, 2, *size), torch.eye(4)[[2, 2]]

    def output_shape(self, spatial_dims, timepoints, size):
        return 2, timepoints, 2, *size

    @pytest.mark.parametrize("timepoints", [1, 3])
    def test_backward_reaches_every_parameter(self, spatial_dims, timepoints):
        """None has a gradient."""
        network = self.built(spatial_dims, timepoints)
        assert not network.training
        assert not any(parameter.requires_grad for parameter in network.parameters())
        assert not network(*self.given(spatial_dims, timepoints)).requires_grad

    def test_state_dict_round_trip(self, spatial_dims):
        network, other = self.built(spatial_dims, 1), self.built(spatial_dims, 1)
        for parameter in other.parameters():
            parameter.zero_()
        other.load_state_dict(network.state_dict())
        given = self.given(spatial_dims, 1)
        assert torch.equal(other(*given), network(*given))


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("conditioning", ["hyper", "adain", "dynamic"])
@pytest.mark.parametrize("upsample", ["last", "first"])
def test_equals_the_generator(spatial_dims: int, conditioning: str, upsample: str) -> None:
    generator = small(spatial_dims, MIXED, conditioning=conditioning, upsample=upsample)
    specialised = generator.specialise()
    image = torch.randn(2, 3, 2, *(9, 10, 7)[:spatial_dims])
    for index in range(len(MIXED)):
        code = torch.eye(4)[index : index + 1]
        with torch.no_grad():
            torch.testing.assert_close(specialised(image, code), generator(image, code), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("timepoints", [1, 2, 6])
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


def test_per_sample_codes_and_parts() -> None:
    generator = small(sequences=MIXED)
    specialised = generator.specialise(["fatsat_dce", "t2", "t1"])
    image, target = torch.randn(4, 1, 2, 9, 8), torch.eye(4)[[2, 0, 0, 2]]
    with torch.no_grad():
        expected = generator(image, target)
    torch.testing.assert_close(specialised(image, target), expected, rtol=1e-5, atol=1e-5)
    unrolled = specialised.unroll(specialised.encode(image), 1)
    torch.testing.assert_close(specialised.decode(unrolled, target, [9, 8]), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(torch.jit.script(specialised)(image, target), expected, rtol=1e-5, atol=1e-5)


def test_without_target_makes_the_first_of_its_own() -> None:
    generator = small(sequences=MIXED)
    image = torch.randn(1, 2, 2, 9, 8)
    with torch.no_grad():
        expected = generator(image, torch.eye(4)[3:])
    for targets in (["fatsat_dce"], ["fatsat_dce", "t1"]):
        torch.testing.assert_close(generator.specialise(targets)(image), expected, rtol=1e-5, atol=1e-5)


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


def test_published_size_specialises_to_43_million_parameters_per_target() -> None:
    with torch.device("meta"):
        generator = Seq2SeqGenerator(2, FOUR, upsample="first")
        one, four = (
            sum(parameter.numel() for parameter in SpecialisedGenerator(generator, names).parameters())
            for names in (["t1"], list(FOUR))
        )
    assert round(one / 1e6, 2) == 43.23
    # What every further target adds is a plain decoder: the banks of the generator's, divided by their length.
    banks = sum(
        parameter.numel()
        for name, parameter in generator.decoder.named_parameters()
        if name.endswith(("kernel_bank", "bias_bank"))
    )
    assert four - one == 3 * banks // 16


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
