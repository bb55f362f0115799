# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, ResizeWithPadOrCropd, Spacingd

from seq2seq_mri.inference.differentiation_maps import AddDifferentiationMapsd, translated_differentiation_maps
from seq2seq_mri.inference.slice_inferer import SliceTranslationInferer
from seq2seq_mri.networks.generator import Seq2SeqGenerator

SEQUENCES = {"t1": 1, "dce": 6, "t2": 1}
CHANNELS = {"t1": slice(0, 1), "dce": slice(1, 7), "t2": slice(7, 8)}
SHAPE = (9, 11, 3)


class Unloaded:
    """A generator that must not be used."""

    sequences = SEQUENCES

    def __getattr__(self, name: str):
        raise AssertionError(f"{name} was loaded")


@pytest.fixture(scope="module")
def generator() -> SimpleNamespace:
    torch.manual_seed(0)
    network = Seq2SeqGenerator(
        2, SEQUENCES, channels=(3, 4), num_res_blocks=1, lstm_layers=1, weight_code_channels=2
    ).eval()
    # As in the bundles, whose syntheses leave the target out.
    inferer = SliceTranslationInferer(include_self=False)
    return SimpleNamespace(network=network, inferer=inferer, sequences=SEQUENCES)


def make_sample(*present: str) -> dict:
    image = 0.1 + 0.9 * torch.rand(8, *SHAPE, generator=torch.Generator().manual_seed(0))
    image[:, :2] = 0
    for name, channels in CHANNELS.items():
        if name not in present:
            image[channels] = 0
    return {
        "subject": "p1",
        "image": MetaTensor(image, affine=torch.diag(torch.tensor([2.0, 2.0, 3.0, 1.0]))),
        "available": torch.tensor([name in present for name in SEQUENCES]),
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
def test_maps_of_the_available_targets(generator, present, targets, computed, include_self):
    sample = make_sample(*present)
    before = sample["image"].clone()
    result = AddDifferentiationMapsd(generator, SEQUENCES, targets, include_self=include_self)(sample)
    maps = result["differentiation"]
    assert maps.shape == (8, *SHAPE)
    expected = translated_differentiation_maps(
        before, generator.network, generator.inferer, present, computed, include_self
    )
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
    maps = AddDifferentiationMapsd(Unloaded(), SEQUENCES, targets)(make_sample(*present))["differentiation"]
    assert maps.shape == (8, *SHAPE)
    assert maps.dtype == torch.float32
    assert not maps.any()


def test_without_availability_all_are_available(generator):
    sample = make_sample("t1", "dce", "t2")
    add = AddDifferentiationMapsd(generator, SEQUENCES, image_key="scan", output_key="md")
    maps = add({"scan": sample["image"].as_tensor()})["md"]
    assert not isinstance(maps, MetaTensor)
    expected = AddDifferentiationMapsd(generator, SEQUENCES)(sample)["differentiation"]
    assert torch.equal(maps, expected.as_tensor())


def test_spatial_transforms_after_it_take_both(generator):
    transform = Compose(
        [
            AddDifferentiationMapsd(generator, SEQUENCES),
            Spacingd(["image", "differentiation"], pixdim=(3.0, 3.0, 3.0)),
            ResizeWithPadOrCropd(["image", "differentiation"], (8, 8, 4)),
        ]
    )
    sample = transform(make_sample("t1", "dce"))
    assert sample["image"].shape == sample["differentiation"].shape == (8, 8, 8, 4)
    assert torch.equal(sample["image"].affine, sample["differentiation"].affine)
    # The background of both is the same.
    assert torch.equal((sample["image"] == 0).all(0).as_tensor(), (sample["differentiation"] == 0).all(0).as_tensor())


def test_the_generator_is_released(generator):
    AddDifferentiationMapsd(generator, SEQUENCES).release()  # one without such a method stays
    released = []
    loaded = SimpleNamespace(**vars(generator), release=lambda: released.append(True))
    AddDifferentiationMapsd(loaded, SEQUENCES).release()
    assert released == [True]


@pytest.mark.parametrize(
    ("sequences", "targets", "message"),
    [
        ({"t1": 1, "t2": 1}, None, "trained on the sequences .* use the generator of this sequence table"),
        ({"dce": 6, "t1": 1, "t2": 1}, None, "trained on the sequences"),
        ({"t1": 1, "dce": 5, "t2": 1}, None, "trained on the sequences"),
        (SEQUENCES, ["t1gd"], "Unknown sequence 't1gd'"),
    ],
)
def test_refuses(sequences, targets, message):
    with pytest.raises(ValueError, match=message):
        AddDifferentiationMapsd(Unloaded(), sequences, targets)


def test_an_image_of_another_table_is_refused(generator):
    sample = {**make_sample("t1", "t2"), "image": torch.zeros(3, *SHAPE)}
    with pytest.raises(ValueError, match=r"it needs \(1, 8, X, Y, Z\), one channel per timepoint of t1, dce, t2"):
        AddDifferentiationMapsd(generator, SEQUENCES)(sample)


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

    generator = SimpleNamespace(sequences=table, network=SimpleNamespace(sequences=table), inferer=Wrong())
    options = {} if include_self is None else {"include_self": include_self}
    found = []
    for number in (2, 3, 4):
        sample = {"image": MetaTensor(torch.rand(4, 3, 5, 2)), "available": [index < number for index in range(4)]}
        maps = AddDifferentiationMapsd(generator, table, ["t1"], **options)(sample)["differentiation"]
        found.append(maps[0].mean().item())
    assert found == pytest.approx(expected, abs=1e-6)
