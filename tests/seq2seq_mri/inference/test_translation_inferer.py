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


@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equals_forward_of_each_pair(generator, images, dtype, include_self):
    """Per source one encoding, and one unrolling for each of the targets' two numbers of timepoints."""
    network, found = generator.specialise(TARGETS).to(dtype), {}
    methods = {
        name: patch.object(network, name, wraps=getattr(network, name)) for name in ("encode", "unroll", "decode")
    }
    with methods["encode"] as encode, methods["unroll"] as unroll, methods["decode"] as decode:
        for target, made in translate(network, images, TARGETS, include_self):
            assert torch.is_grad_enabled()  # for the consumer
            found[target] = made
    one_by_one = dtype == torch.float32
    assert (encode.call_count, unroll.call_count) == (2, 4 if one_by_one else 2)
    together = [4, 4, 4] if include_self else [2, 2, 4]  # sources · samples
    assert [len(call.args[0]) for call in decode.call_args_list] == (
        [2] * (sum(together) // 2) if one_by_one else together
    )
    for target, result in found.items():
        assert (result.dtype, result.requires_grad) == (torch.float32, False)
        for made, (source, image) in zip(result, images.items(), strict=True):
            with torch.no_grad():
                expected = generator(image, sequence_codes(generator.sequences, [target]))
            if source == target and not include_self:
                expected = torch.zeros_like(expected)
            torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-6 if one_by_one else 0.1)


def test_a_single_source_is_reconstructed(generator, images):
    alone = {"t2": images["t2"]}
    ((_, found),) = translate(generator, alone, ["t2"], include_self=False)
    ((_, expected),) = translate(generator, alone, ["t2"])
    torch.testing.assert_close(found, expected)
    assert found.all()


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
    assert 0 < (low(image.bfloat16()).float() - exact).abs().mean() < 0.02
    assert {parameter.dtype for parameter in wide.parameters()} == {torch.float32}
