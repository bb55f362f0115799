# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import copy
from unittest.mock import patch

import pytest
import torch
from ignite.engine import Engine, Events
from ignite.handlers import EMAHandler

from seq2seq_mri.inference.translation_inferer import NetworkPreparation, translate
from seq2seq_mri.networks.generator import Seq2SeqGenerator, SpecialisedGenerator
from seq2seq_mri.networks.winograd import WinogradConv2d
from seq2seq_mri.sequences import sequence_codes

TARGETS = ["dce", "t2", "t1"]


@pytest.fixture
def own(generator) -> Seq2SeqGenerator:
    """A generator that the test may change."""
    return copy.deepcopy(generator)


@pytest.fixture
def images() -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    return {name: torch.rand(2, t, 3, 11, 9, generator=random) for name, t in {"t2": 1, "dce": 3}.items()}


def test_equals_forward_of_each_pair(generator, images):
    """Per source one encoding; one unrolling for each of the targets' two numbers of timepoints; one decode each."""
    calls = {name: patch.object(generator, name, wraps=getattr(generator, name)) for name in ("encode", "unroll")}
    with calls["encode"] as encode, calls["unroll"] as unroll:
        found = dict(translate(generator, images, TARGETS))
    assert (encode.call_count, unroll.call_count) == (2, 2)
    assert list(found) == TARGETS
    for target in TARGETS:
        assert not found[target].requires_grad
        for k, image in enumerate(images.values()):
            with torch.no_grad():
                expected = generator(image, sequence_codes(generator.sequences, [target]))
            torch.testing.assert_close(found[target][k], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("include_self", [True, False])
def test_specialised_network_decodes_sources_one_by_one(generator, images, include_self):
    network = generator.specialise(TARGETS)
    expected = dict(translate(generator, images, TARGETS, include_self))
    with patch.object(network, "decode", wraps=network.decode) as decode:
        found = dict(translate(network, images, TARGETS, include_self))
    assert [len(call.args[0]) for call in decode.call_args_list] == [2] * (6 if include_self else 4)  # samples
    for target in TARGETS:
        torch.testing.assert_close(found[target], expected[target], rtol=1e-5, atol=1e-6)
    together = network.to(torch.bfloat16)
    with patch.object(together, "decode", wraps=together.decode) as decode:
        list(translate(together, images, TARGETS, include_self))
    assert decode.call_count == 3


def test_computes_in_the_precision_of_the_parameters(own, images):
    exact = dict(translate(own, images, TARGETS))
    for target, found in translate(own.to(torch.bfloat16), images, TARGETS):
        assert torch.is_grad_enabled()  # for the consumer
        assert found.dtype == torch.float32
        assert 0 < (found - exact[target]).abs().mean() < 0.02


def test_without_self_reconstruction(generator, images):
    everything = dict(translate(generator, images, TARGETS))
    with patch.object(generator, "decode", wraps=generator.decode) as decode:
        found = dict(translate(generator, images, TARGETS, include_self=False))
    assert sorted(len(call.args[0]) for call in decode.call_args_list) == [2, 2, 4]  # sources · samples
    for target in TARGETS:
        for k, source in enumerate(images):
            expected = torch.zeros_like(everything[target][k]) if source == target else everything[target][k]
            torch.testing.assert_close(found[target][k], expected, rtol=1e-5, atol=1e-6)
    (_, only) = next(translate(generator, {"t2": images["t2"]}, ["t2"], include_self=False))
    torch.testing.assert_close(only[0], everything["t2"][0], rtol=1e-5, atol=1e-6)


def test_the_specialised_network_is_kept(own):
    prepare = NetworkPreparation()
    network = prepare(own, ["t1", "t2"])
    assert isinstance(network, SpecialisedGenerator)
    assert prepare(own, ["t1", "t2"]) is network
    assert prepare(network, ["t1"]) is network  # it is specialised already
    assert prepare(own, ["t2"]) is not network
    network = prepare(own, ["t2"])
    assert prepare(copy.deepcopy(own), ["t2"]) is not network


def optimiser_step(generator: Seq2SeqGenerator, name: str, **options) -> None:
    optimizer = getattr(torch.optim, name)(generator.parameters(), lr=0.1, **options)
    generator(torch.rand(1, 1, 3, 8, 8)).sum().backward()
    optimizer.step()


def exponential_moving_average(generator: Seq2SeqGenerator) -> None:
    source = copy.deepcopy(generator.requires_grad_(False))
    with torch.no_grad():
        next(source.parameters()).add_(1.0)
    handler = EMAHandler(source, momentum=0.5)
    handler.ema_model = generator
    trainer = Engine(lambda engine, batch: None)
    handler.attach(trainer, event=Events.ITERATION_COMPLETED)
    trainer.run([0], max_epochs=1)


CHANGES = {
    "adam": lambda generator: optimiser_step(generator, "Adam"),
    "fused adam": lambda generator: optimiser_step(generator, "Adam", fused=True),
    "loaded": lambda generator: generator.load_state_dict(
        {name: value + 1 for name, value in generator.state_dict().items()}
    ),
    "converted": lambda generator: generator.double(),
    "averaged": exponential_moving_average,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_changed_weights_are_seen(own, change):
    prepare = NetworkPreparation()
    before = prepare(own, ["dce"])
    change(own)
    after = prepare(own, ["dce"])
    assert after is not before
    expected = own.specialise(["dce"]).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in after.state_dict().items())


def test_precision_and_convolutions():
    torch.manual_seed(0)
    wide = Seq2SeqGenerator(2, {"t1": 1, "t2": 1}, channels=(8, 128), num_res_blocks=1, lstm_layers=1).eval()
    image = torch.rand(1, 1, 3, 21, 18)
    exact = wide(image).detach()

    def has_winograd(network: torch.nn.Module) -> bool:
        return any(isinstance(module, WinogradConv2d) for module in network.modules())

    fast = NetworkPreparation()(wide, ["t1"])
    assert has_winograd(fast)
    assert ((fast(image) - exact).norm() / exact.norm()).item() < 2e-5
    assert not has_winograd(wide)
    low = NetworkPreparation(torch.bfloat16)(wide, ["t1"])
    assert not has_winograd(low)
    assert {parameter.dtype for parameter in low.parameters()} == {torch.bfloat16}
    assert 0 < (low(image.bfloat16()).float() - exact).abs().mean() < 0.02
    assert {parameter.dtype for parameter in wide.parameters()} == {torch.float32}
