# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

from types import SimpleNamespace
from unittest.mock import patch

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, ResizeWithPadOrCropd, Spacingd

from seq2seq_mri.inference.differentiation_maps import AddDifferentiationMapsd, translated_differentiation_maps
from seq2seq_mri.inference.slice_inferer import SliceTranslationInferer
from seq2seq_mri.inference.volume_inferer import VolumeTranslationInferer
from seq2seq_mri.networks.generator import Seq2SeqGenerator, SpecialisedGenerator
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
    cls = type(generator)
    with patch.object(cls, "specialise", autospec=True, side_effect=cls.specialise) as specialise:
        for _ in range(2):
            translated_differentiation_maps(volume, generator, inferer, None, ["t2"])
    assert specialise.call_count == 1


TABLE = {"t1": 1, "dce": 6, "t2": 1}
CHANNELS = {"t1": slice(0, 1), "dce": slice(1, 7), "t2": slice(7, 8)}


class Unloaded:
    """A generator that must not be used."""

    sequences = TABLE

    def __getattr__(self, name: str):
        raise AssertionError(f"{name} was loaded")


@pytest.fixture(scope="module")
def loaded() -> SimpleNamespace:
    torch.manual_seed(0)
    network = Seq2SeqGenerator(
        2, TABLE, channels=(3, 4), num_res_blocks=1, lstm_layers=1, weight_code_channels=2
    ).eval()
    # As in the bundles, whose syntheses leave the target out.
    inferer = SliceTranslationInferer(include_self=False)
    return SimpleNamespace(network=network, inferer=inferer, sequences=TABLE)


def make_sample(*present: str) -> dict:
    image = 0.1 + 0.9 * torch.rand(8, *SHAPE, generator=torch.Generator().manual_seed(0))
    image[:, :2] = 0
    for name, channels in CHANNELS.items():
        if name not in present:
            image[channels] = 0
    return {
        "subject": "p1",
        "image": MetaTensor(image, affine=torch.diag(torch.tensor([2.0, 2.0, 3.0, 1.0]))),
        "available": torch.tensor([name in present for name in TABLE]),
    }


@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize(
    ("present", "targets", "computed"),
    [
        (["t1", "dce", "t2"], None, ["t1", "dce", "t2"]),
        (["t1", "dce", "t2"], ["dce"], ["dce"]),
        (["t1", "dce"], None, ["t1", "dce"]),
        (["t1", "dce"], ["t2", "dce"], ["dce"]),
    ],
)
def test_maps_of_the_available_targets(loaded, present, targets, computed, include_self):
    sample = make_sample(*present)
    before = sample["image"].clone()
    result = AddDifferentiationMapsd(loaded, TABLE, targets, include_self=include_self)(sample)
    maps = result["differentiation"]
    assert maps.shape == (8, *SHAPE)
    expected = translated_differentiation_maps(before, loaded.network, loaded.inferer, present, computed, include_self)
    assert torch.equal(maps.as_tensor(), expected)
    for name, channels in CHANNELS.items():
        assert all(frame.any() == (name in computed) for frame in maps[channels].as_tensor())
    assert not maps[:, :2].any()
    assert torch.equal(result["image"], before)
    assert "differentiation" not in sample


@pytest.mark.parametrize(
    ("present", "targets"),
    [(["t1", "dce"], ["t2"]), (["dce"], None), ([], None), (["t1", "dce", "t2"], [])],
    ids=["absent target", "one sequence", "none", "no target"],
)
def test_without_maps_the_generator_is_never_loaded(present, targets):
    maps = AddDifferentiationMapsd(Unloaded(), TABLE, targets)(make_sample(*present))["differentiation"]
    assert maps.shape == (8, *SHAPE)
    assert maps.dtype == torch.float32
    assert not maps.any()


def test_without_availability_all_are_available(loaded):
    sample = make_sample("t1", "dce", "t2")
    add = AddDifferentiationMapsd(loaded, TABLE, image_key="scan", output_key="md")
    maps = add({"scan": sample["image"].as_tensor()})["md"]
    assert not isinstance(maps, MetaTensor)
    expected = AddDifferentiationMapsd(loaded, TABLE)(sample)["differentiation"]
    assert torch.equal(maps, expected.as_tensor())


def test_spatial_transforms_after_it_take_both(loaded):
    transform = Compose(
        [
            AddDifferentiationMapsd(loaded, TABLE),
            Spacingd(["image", "differentiation"], pixdim=(3.0, 3.0, 3.0)),
            ResizeWithPadOrCropd(["image", "differentiation"], (8, 8, 4)),
        ]
    )
    sample = transform(make_sample("t1", "dce"))
    assert sample["image"].shape == sample["differentiation"].shape == (8, 8, 8, 4)
    assert torch.equal(sample["image"].affine, sample["differentiation"].affine)
    # The background of both is the same.
    assert torch.equal((sample["image"] == 0).all(0).as_tensor(), (sample["differentiation"] == 0).all(0).as_tensor())


def test_the_generator_is_released(loaded):
    AddDifferentiationMapsd(loaded, TABLE).release()  # one without such a method stays
    released = []
    releasable = SimpleNamespace(**vars(loaded), release=lambda: released.append(True))
    AddDifferentiationMapsd(releasable, TABLE).release()
    assert released == [True]


@pytest.mark.parametrize(
    ("sequences", "targets", "message"),
    [
        ({"t1": 1, "t2": 1}, None, "trained on the sequences .* use the generator of this sequence table"),
        ({"dce": 6, "t1": 1, "t2": 1}, None, "trained on the sequences"),
        ({"t1": 1, "dce": 5, "t2": 1}, None, "trained on the sequences"),
        (TABLE, ["t1gd"], "Unknown sequence 't1gd'"),
    ],
)
def test_refuses(sequences, targets, message):
    with pytest.raises(ValueError, match=message):
        AddDifferentiationMapsd(Unloaded(), sequences, targets)


def test_an_image_of_another_table_is_refused(loaded):
    sample = {**make_sample("t1", "t2"), "image": torch.zeros(3, *SHAPE)}
    with pytest.raises(ValueError, match=r"it needs \(1, 8, X, Y, Z\), one channel per timepoint of t1, dce, t2"):
        AddDifferentiationMapsd(loaded, TABLE)(sample)


@pytest.mark.parametrize(("include_self", "expected"), [(None, [0.2, 0.2, 0.2]), (True, [0.1, 0.4 / 3, 0.15])])
def test_scale_where_sequences_are_missing(include_self, expected) -> None:
    """2, 3 or 4 sequences; translations into another one are wrong by 0.2 everywhere, reconstructions by nothing."""
    table = {"t1": 1, "t1gd": 1, "t2": 1, "flair": 1}

    class Wrong:
        include_self = False

        def __call__(self, inputs, network, sources, targets):
            places = [list(table).index(target) for target in targets]
            wrong = [[0.2 * (source != target) for target in targets] for source in sources]
            return torch.stack([inputs[0, places] + torch.tensor(one).view(-1, 1, 1, 1) for one in wrong])

    loaded = SimpleNamespace(sequences=table, network=SimpleNamespace(sequences=table), inferer=Wrong())
    options = {} if include_self is None else {"include_self": include_self}
    found = []
    for number in (2, 3, 4):
        sample = {"image": MetaTensor(torch.rand(4, 3, 5, 2)), "available": [index < number for index in range(4)]}
        maps = AddDifferentiationMapsd(loaded, table, ["t1"], **options)(sample)["differentiation"]
        found.append(maps[0].mean().item())
    assert found == pytest.approx(expected, abs=1e-6)
