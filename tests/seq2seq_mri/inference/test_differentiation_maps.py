# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

from types import SimpleNamespace
from unittest.mock import patch

import pytest
import torch
from engine_parts import SEQUENCES, make_sample
from monai.data import MetaTensor
from slow_translation import slow_translation

from seq2seq_mri.inference.differentiation_maps import AddDifferentiationMapsd, translated_differentiation_maps
from seq2seq_mri.inference.slice_inferer import SliceTranslationInferer
from seq2seq_mri.networks.generator import SpecialisedGenerator
from seq2seq_mri.sequences import channel_slices

SHAPE = (9, 11, 3)
NAMES = list(SEQUENCES)
CHANNELS = channel_slices(SEQUENCES)


@pytest.fixture
def volume() -> torch.Tensor:
    """All sequences, with background around."""
    return make_sample("p1", NAMES, shape=SHAPE)["image"].as_tensor()


def expected_maps(volume, generator, sources, targets, include_self) -> torch.Tensor:
    """Eq. 5, one pair after the other; background is where all sources are 0."""
    background = torch.cat([volume[CHANNELS[name]] for name in sources]).eq(0).all(dim=0)
    maps = torch.zeros_like(volume)
    for target in targets:
        used = [source for source in sources if include_self or source != target]
        for source in used:
            synthesis = slow_translation(volume, generator, source, target).masked_fill(background, 0)
            maps[CHANNELS[target]] += (synthesis - volume[CHANNELS[target]]).abs() / len(used)
    return maps


@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize(
    ("sources", "targets"),
    [
        (NAMES, NAMES),
        (NAMES, ["dce"]),
        (["dce", "t2"], ["t2", "dce"]),
        (["t1", "dce"], ["t2"]),  # measured, but silenced
        (["t1"], ["t2"]),
    ],
)
def test_equals_the_equation(volume, generator, sources, targets, include_self):
    inferer = SliceTranslationInferer(include_self=not include_self)
    maps = translated_differentiation_maps(volume, generator, inferer, sources, targets, include_self)
    expected = expected_maps(volume, generator, sources, targets, include_self)
    torch.testing.assert_close(maps, expected, rtol=1e-4, atol=1e-6)
    assert not maps[:, 0].any()
    assert inferer.include_self is not include_self


@pytest.mark.parametrize(
    ("sources", "targets", "include_self", "pairs"),
    [
        (None, ["t2"], True, 3),
        (None, ["t1", "t2"], False, 4),
        (None, None, True, 9),
        (None, [], True, 0),
        (["t1"], ["t1"], True, 0),  # from itself alone it has no map
    ],
)
def test_only_the_pairs_that_are_needed(volume, generator, sources, targets, include_self, pairs):
    decode = SpecialisedGenerator.decode
    with patch.object(SpecialisedGenerator, "decode", autospec=True, side_effect=decode) as decoded:
        inferer = SliceTranslationInferer(slice_batch_size=SHAPE[2])
        maps = translated_differentiation_maps(volume, generator, inferer, sources, targets, include_self)
    assert sum(len(call.args[1]) for call in decoded.call_args_list) == pairs * SHAPE[2]
    assert bool(maps.any()) == (pairs > 0)


class Unloaded:
    """A generator that must not be used."""

    sequences = SEQUENCES

    def __getattr__(self, name: str):
        raise AssertionError(f"{name} was loaded")


@pytest.fixture
def loaded(generator) -> SimpleNamespace:
    # As in the bundles, whose syntheses leave the target out.
    return SimpleNamespace(network=generator, inferer=SliceTranslationInferer(include_self=False), sequences=SEQUENCES)


@pytest.mark.parametrize(
    ("present", "targets", "computed", "options"),
    [
        (NAMES, None, NAMES, {}),
        (NAMES, ["dce"], ["dce"], {"include_self": True}),
        (["t1", "dce"], None, ["t1", "dce"], {"include_self": True}),
        (["t1", "dce"], ["t2", "dce"], ["dce"], {}),
    ],
)
def test_maps_of_the_available_targets(loaded, present, targets, computed, options):
    sample = make_sample("p1", present, shape=SHAPE)
    before = sample["image"].clone()
    result = AddDifferentiationMapsd(loaded, SEQUENCES, targets, **options)(sample)
    include_self = options.get("include_self", False)
    expected = translated_differentiation_maps(before, loaded.network, loaded.inferer, present, computed, include_self)
    maps = result["differentiation"].as_tensor()
    assert torch.equal(maps, expected)
    assert torch.equal(result["differentiation"].affine, sample["image"].affine)
    assert all(bool(maps[CHANNELS[name]].any()) == (name in computed) for name in NAMES)
    assert torch.equal(result["image"], before)
    assert "differentiation" not in sample


@pytest.mark.parametrize(("present", "targets"), [(["t1", "dce"], ["t2"]), (["dce"], None), ([], None), (NAMES, [])])
def test_without_maps_the_generator_is_never_loaded(present, targets):
    sample = make_sample("p1", present, shape=SHAPE)
    maps = AddDifferentiationMapsd(Unloaded(), SEQUENCES, targets)(sample)["differentiation"]
    assert (maps.shape, maps.dtype) == ((5, *SHAPE), torch.float32)
    assert not maps.any()


def test_without_availability_all_are_available(loaded, volume):
    maps = AddDifferentiationMapsd(loaded, SEQUENCES, image_key="scan", output_key="md")({"scan": volume})["md"]
    assert not isinstance(maps, MetaTensor)
    expected = AddDifferentiationMapsd(loaded, SEQUENCES)(make_sample("p1", NAMES, shape=SHAPE))["differentiation"]
    assert torch.equal(maps, expected.as_tensor())


def test_the_generator_is_released(loaded):
    released = []
    loaded.release = lambda: released.append(True)
    AddDifferentiationMapsd(loaded, SEQUENCES).release()
    assert released == [True]


@pytest.mark.parametrize(
    ("sequences", "targets", "message"),
    [
        ({"t1": 1, "t2": 1}, None, "trained on the sequences .* use the generator of this sequence table"),
        ({"dce": 3, "t1": 1, "t2": 1}, None, "trained on the sequences"),
        ({"t1": 1, "dce": 5, "t2": 1}, None, "trained on the sequences"),
        (SEQUENCES, ["t1gd"], "Unknown sequence 't1gd'"),
    ],
)
def test_refuses(sequences, targets, message):
    with pytest.raises(ValueError, match=message):
        AddDifferentiationMapsd(Unloaded(), sequences, targets)
