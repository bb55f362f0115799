# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

from unittest.mock import patch

import pytest
import torch

from seq2seq_mri.inference.differentiation_maps import translated_differentiation_maps
from seq2seq_mri.inference.slice_inferer import SliceTranslationInferer
from seq2seq_mri.inference.volume_inferer import VolumeTranslationInferer
from seq2seq_mri.networks.specialised import SpecialisedGenerator
from seq2seq_mri.sequences import channel_slices, sequence_codes

SHAPE = (9, 11, 3)


def make_volume(shape: tuple[int, int, int]) -> torch.Tensor:
    """Five channels of t1, dce and t2, with background around."""
    image = 0.1 + 0.9 * torch.rand(5, *shape, generator=torch.Generator().manual_seed(0))
    image[:, :2] = 0
    image[:, :, -3:] = 0
    return image


@pytest.fixture
def volume() -> torch.Tensor:
    return make_volume(SHAPE)


@torch.no_grad()
def pair(volume, generator, source, target) -> torch.Tensor:
    """One sequence translated into another, ``[T, X, Y, Z]``, slice by slice or as a whole."""
    image = volume[channel_slices(generator.sequences)[source]]
    code = sequence_codes(generator.sequences, [target])
    if generator.spatial_dims == 3:
        return generator(image[None, :, None], code).reshape(-1, *image.shape[1:]).clamp(0, 1)
    slices = []
    for z in range(SHAPE[2]):
        stack = [image[..., min(max(k, 0), SHAPE[2] - 1)] for k in (z - 1, z, z + 1)]
        slices.append(generator(torch.stack(stack, dim=1)[None], code).reshape(-1, 3, *SHAPE[:2])[:, 1])
    return torch.stack(slices, dim=-1).clamp(0, 1)


def expected_maps(volume, generator, sources, targets, include_self) -> torch.Tensor:
    """Eq. 5, one pair after the other; background is where all sources are 0."""
    channels = channel_slices(generator.sequences)
    background = torch.cat([volume[channels[name]] for name in sources]).eq(0).all(dim=0)
    maps = torch.zeros_like(volume)
    for target in targets:
        used = [source for source in sources if include_self or source != target]
        for source in used:
            synthesis = pair(volume, generator, source, target).masked_fill(background, 0)
            maps[channels[target]] += (synthesis - volume[channels[target]]).abs() / len(used)
    return maps


@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("of_inferer", [True, False])
@pytest.mark.parametrize(
    ("sources", "targets"),
    [
        (["t1", "dce", "t2"], ["t1", "dce", "t2"]),
        (["t1", "dce", "t2"], ["dce"]),
        (["t1", "t2"], ["t2"]),
        (["dce", "t2"], ["t2", "dce"]),
        (["t1", "dce"], ["t2"]),  # measured, but silenced
        (["t1"], ["t2"]),
    ],
)
def test_equals_the_equation(volume, generator, sources, targets, include_self, of_inferer):
    inferer = SliceTranslationInferer(include_self=of_inferer)
    maps = translated_differentiation_maps(volume, generator, inferer, sources, targets, include_self)
    torch.testing.assert_close(
        maps, expected_maps(volume, generator, sources, targets, include_self), rtol=1e-4, atol=1e-6
    )
    assert maps.dtype == torch.float32
    assert not maps[:, :2].any()
    assert not maps[:, :, -3:].any()
    assert inferer.include_self is of_inferer


def test_volumes(volume_generator):
    volume = make_volume((6, 7, 5))
    inferer = VolumeTranslationInferer(roi_size=-1, include_self=False)
    maps = translated_differentiation_maps(volume, volume_generator, inferer)
    names = ["t1", "dce", "t2"]
    torch.testing.assert_close(maps, expected_maps(volume, volume_generator, names, names, True), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("targets", "include_self", "pairs"),
    [(["t2"], True, 3), (["t2"], False, 2), (["t1", "t2"], False, 4), (None, True, 9), ([], True, 0)],
)
def test_only_the_pairs_that_are_needed(volume, generator, targets, include_self, pairs):
    inferer = SliceTranslationInferer(slice_batch_size=SHAPE[2])
    decoded, decode = [], SpecialisedGenerator.decode

    def count(self, unrolled, target, spatial_size):
        decoded.append(len(unrolled) // SHAPE[2])
        return decode(self, unrolled, target, spatial_size)

    with patch.object(SpecialisedGenerator, "decode", count):
        translated_differentiation_maps(volume, generator, inferer, None, targets, include_self)
    assert sum(decoded) == pairs


def test_without_another_source_there_is_no_map(volume, generator):
    inferer = SliceTranslationInferer()
    assert not translated_differentiation_maps(volume, generator, inferer, ["t1"], ["t1"]).any()


def test_the_prepared_network_is_kept(volume, generator):
    inferer = SliceTranslationInferer(include_self=False)
    with patch.object(
        type(generator), "specialise", autospec=True, side_effect=type(generator).specialise
    ) as specialise:
        for _ in range(2):
            translated_differentiation_maps(volume, generator, inferer, None, ["t2"])
    assert specialise.call_count == 1
