# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import copy

import pytest
import torch
from ignite.engine import Engine, Events
from ignite.handlers import EMAHandler

from seq2seq_mri.inference.translation import NetworkPreparation
from seq2seq_mri.networks.generator import Seq2SeqGenerator, SpecialisedGenerator
from seq2seq_mri.networks.winograd import WinogradConv2d


@pytest.fixture
def own(generator) -> Seq2SeqGenerator:
    """A generator that the test may change."""
    return copy.deepcopy(generator)


def test_the_specialised_network_is_kept(own):
    prepare = NetworkPreparation()
    network = prepare(own, ["t1", "t2"])
    assert isinstance(network, SpecialisedGenerator)
    assert prepare(own, ["t1", "t2"]) is network
    assert prepare(own, ["t2"]) is not network
    assert prepare(network, ["t1"]) is network  # it is specialised already


def optimiser_step(generator, name: str, **options) -> None:
    optimizer = getattr(torch.optim, name)(generator.parameters(), lr=0.1, **options)
    generator(torch.rand(1, 1, 3, 8, 8)).sum().backward()
    optimizer.step()


def exponential_moving_average(generator) -> None:
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
    "sgd": lambda generator: optimiser_step(generator, "SGD"),
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


def test_another_generator_is_seen(own):
    prepare = NetworkPreparation()
    network = prepare(own, ["t1"])
    assert prepare(copy.deepcopy(own), ["t1"]) is not network


def test_precision_and_convolutions():
    torch.manual_seed(0)
    wide = Seq2SeqGenerator(2, {"t1": 1, "t2": 1}, channels=(8, 128), num_res_blocks=1, lstm_layers=1).eval()
    image = torch.rand(1, 1, 3, 21, 18)
    exact = wide(image).detach()

    def prepared(*args) -> torch.nn.Module:
        return NetworkPreparation(*args)(wide, ["t1"])

    def has_winograd(network) -> bool:
        return any(isinstance(module, WinogradConv2d) for module in network.modules())

    assert has_winograd(prepared())
    assert ((prepared()(image) - exact).norm() / exact.norm()).item() < 2e-5
    assert not has_winograd(wide.specialise(["t1"]))
    low = prepared(torch.bfloat16)
    assert not has_winograd(low)
    assert {parameter.dtype for parameter in low.parameters()} == {torch.bfloat16}
    assert 0 < (low(image.bfloat16()).float() - exact).abs().mean() < 0.02
    assert {parameter.dtype for parameter in wide.parameters()} == {torch.float32}
