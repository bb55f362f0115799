# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

from unittest.mock import patch

import pytest
import torch

from seq2seq_mri.inference.translation import translate
from seq2seq_mri.sequences import sequence_codes

TARGETS = ["dce", "t2", "t1"]


@pytest.fixture
def images() -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    return {name: torch.rand(2, t, 3, 11, 9, generator=random) for name, t in {"t2": 1, "dce": 3}.items()}


def test_equals_forward_of_each_pair(generator, images):
    found = dict(translate(generator, images, TARGETS))
    assert list(found) == TARGETS
    for target in TARGETS:
        assert found[target].shape == (2, 2, generator.sequences[target], 3, 11, 9)
        assert not found[target].requires_grad
        code = sequence_codes(generator.sequences, [target])
        for k, image in enumerate(images.values()):
            with torch.no_grad():
                torch.testing.assert_close(found[target][k], generator(image, code), rtol=1e-5, atol=1e-6)


def test_nothing_is_computed_twice(generator, images):
    """Per source one encoding; one unrolling for each of the targets' two numbers of timepoints; one decode each."""
    with (
        patch.object(generator, "encode", wraps=generator.encode) as encode,
        patch.object(generator, "unroll", wraps=generator.unroll) as unroll,
        patch.object(generator, "decode", wraps=generator.decode) as decode,
    ):
        list(translate(generator, images, TARGETS))
    assert (encode.call_count, unroll.call_count, decode.call_count) == (2, 2, 3)


@pytest.mark.parametrize("include_self", [True, False])
def test_specialised_network_decodes_sources_one_by_one(generator, images, include_self):
    network = generator.specialise(TARGETS)
    expected = dict(translate(generator, images, TARGETS, include_self))
    with (
        patch.object(network, "unroll", wraps=network.unroll) as unroll,
        patch.object(network, "decode", wraps=network.decode) as decode,
    ):
        found = dict(translate(network, images, TARGETS, include_self))
    assert unroll.call_count == 2 * 2  # sources · numbers of timepoints
    assert [len(call.args[0]) for call in decode.call_args_list] == [2] * (6 if include_self else 4)  # samples
    for target in TARGETS:
        torch.testing.assert_close(found[target], expected[target], rtol=1e-5, atol=1e-6)
    together = network.to(torch.bfloat16)
    with patch.object(together, "decode", wraps=together.decode) as decode:
        list(translate(together, images, TARGETS, include_self))
    assert decode.call_count == 3


def test_computes_in_the_precision_of_the_parameters(generator, images):
    exact = dict(translate(generator, images, TARGETS))
    for target, found in translate(generator.to(torch.bfloat16), images, TARGETS):
        assert found.dtype == torch.float32
        assert 0 < (found - exact[target]).abs().mean() < 0.02


def test_the_context_does_not_reach_the_consumer(generator, images):
    for _ in translate(generator, images, TARGETS):
        assert torch.is_grad_enabled()


def test_without_self_reconstruction(generator, images):
    everything = dict(translate(generator, images, TARGETS))
    with patch.object(generator, "decode", wraps=generator.decode) as decode:
        found = dict(translate(generator, images, TARGETS, include_self=False))
    assert sorted(len(call.args[0]) for call in decode.call_args_list) == [2, 2, 4]  # sources · samples
    for target in TARGETS:
        for k, source in enumerate(images):
            expected = torch.zeros_like(everything[target][k]) if source == target else everything[target][k]
            torch.testing.assert_close(found[target][k], expected, rtol=1e-5, atol=1e-6)
    alone = {"t2": images["t2"]}
    (_, only) = next(translate(generator, alone, ["t2"], include_self=False))
    torch.testing.assert_close(only[0], everything["t2"][0], rtol=1e-5, atol=1e-6)


def test_no_source_and_unknown_target(generator, images):
    with pytest.raises(ValueError, match="no source"):
        list(translate(generator, {}, TARGETS))
    with pytest.raises(ValueError, match="Unknown sequence 'flair'"):
        list(translate(generator, images, ["flair"]))
