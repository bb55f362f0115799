# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import json
import pickle
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, Subset

from seq2seq_mri.inference.generator_bundle import generator_fingerprint
from seq2seq_mri.inference.slice_inferer import SliceTranslationInferer
from seq2seq_mri.networks.generator import Seq2SeqGenerator
from seq2seq_mri.sequences import sequence_codes
from seq2seq_studies.alphabet.alphabet import ALPHABET_SEQUENCES, AlphabetDataset
from seq2seq_studies.alphabet.differentiation_cache import (
    DifferentiationDataset,
    DifferentiationMaps,
)

HALF = 2**-10  # of what is stored in half precision


def make_generator(sequences=ALPHABET_SEQUENCES, seed: int = 0, **options) -> Seq2SeqGenerator:
    torch.manual_seed(seed)
    sizes = {"in_channels": 1, "channels": (4, 6), "num_res_blocks": 1, "lstm_layers": 1, "weight_code_channels": 2}
    return Seq2SeqGenerator(2, sequences, **{**sizes, "output_activation": "sigmoid", **options})


@pytest.fixture(scope="module")
def generator() -> Seq2SeqGenerator:
    return make_generator()


@pytest.fixture
def dataset() -> AlphabetDataset:
    return AlphabetDataset("training", 5, shape=(36, 41))


class Given(Dataset):
    """Samples as they are given, with one image for each."""

    def __init__(self, images, **entries) -> None:
        self.images, self.entries = images, entries

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"subject": f"p{index}", "image": self.images[index], **self.entries}


def compute(dataset, generator, folder, **options) -> DifferentiationMaps:
    inferer = options.pop("inferer", SliceTranslationInferer(slice_batch_size=2))
    return DifferentiationMaps(dataset, generator, folder, inferer, progress=False, **options)


def values(maps: DifferentiationMaps) -> np.ndarray:
    """All maps, ``[N, ΣT, X, Y, 1]``."""
    return torch.stack([maps[index] for index in range(len(maps))]).numpy()


@torch.no_grad()
def expected_map(image: torch.Tensor, generator: Seq2SeqGenerator, include_self: bool = True) -> torch.Tensor:
    """Eq. 5, one pair after the other; background is where all images are 0."""
    names = list(generator.sequences)
    background = (image == 0).all(dim=0)
    maps = torch.zeros_like(image)
    for i, target in enumerate(names):
        code = sequence_codes(generator.sequences, [target])
        sources = [j for j in range(len(names)) if include_self or j != i]
        for j in sources:
            synthesis = generator(image[j].movedim(-1, 0)[None], code)[0].movedim(0, -1).clamp(0, 1)
            maps[i] += (synthesis.masked_fill(background, 0) - image[i]).abs() / len(sources)
    return maps


@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("chunk_size", [2, 64])
def test_equals_the_equation(dataset, generator, tmp_path, include_self, chunk_size):
    inferer = SliceTranslationInferer(include_self=include_self)
    maps = compute(dataset, generator, tmp_path, inferer=inferer, chunk_size=chunk_size)
    assert len(maps) == 5
    for index in range(5):
        expected = expected_map(dataset[index]["image"], generator, include_self)
        assert maps[index].shape == (2, 36, 41, 1)
        np.testing.assert_allclose(maps[index], expected.numpy(), rtol=HALF, atol=1e-6)
    assert torch.equal(maps[-1], maps[4])
    with pytest.raises(IndexError):
        maps[5]


def test_timepoints(tmp_path):
    """Of a sequence with several timepoints each has its own map."""
    generator = make_generator({"t1": 1, "dce": 3})
    images = torch.rand(2, 4, 9, 11, 1, generator=torch.Generator().manual_seed(0))
    maps = values(compute(Given(images), generator, tmp_path, parameters={}))
    with torch.no_grad():
        for i, part in enumerate((slice(0, 1), slice(1, 4))):
            code = sequence_codes(generator.sequences, ["t1", "dce"])[i : i + 1]
            one, other = (
                generator(images[:, source].movedim(-1, 2), code).flatten(1, 2) for source in (slice(0, 1), slice(1, 4))
            )
            truth = images[:, part, ..., 0]
            expected = ((one - truth).abs() + (other - truth).abs()) / 2
            np.testing.assert_allclose(maps[:, part, ..., 0], expected.numpy(), rtol=HALF, atol=1e-6)


def test_is_read_the_second_time(dataset, generator, tmp_path):
    first = compute(dataset, generator, tmp_path)
    with patch.object(SliceTranslationInferer, "__call__", side_effect=AssertionError("computed again")):
        second = compute(dataset, generator, tmp_path)
    np.testing.assert_array_equal(values(first), values(second))
    description = json.loads((tmp_path / "00000000.json").read_text())["origin"]["settings"]
    assert description["dataset"] == dataset.parameters
    assert description["generator"] == generator_fingerprint(generator)
    assert description["include_self"] is True


def test_an_interrupted_computation_goes_on(dataset, generator, tmp_path):
    inferer = SliceTranslationInferer()
    expected = compute(dataset, generator, tmp_path / "whole", inferer=inferer, chunk_size=2)
    call = SliceTranslationInferer.__call__
    with patch.object(SliceTranslationInferer, "__call__", autospec=True) as interrupted:
        interrupted.side_effect = [call(inferer, _volume(dataset, range(2)), generator), KeyboardInterrupt]
        with pytest.raises(KeyboardInterrupt):
            compute(dataset, generator, tmp_path / "parts", inferer=inferer, chunk_size=2)
    with patch.object(SliceTranslationInferer, "__call__", autospec=True, side_effect=call) as resumed:
        found = compute(dataset, generator, tmp_path / "parts", inferer=inferer, chunk_size=2)
    assert [len(call.args[1][0, 0, 0, 0]) for call in resumed.call_args_list] == [2, 1]
    np.testing.assert_array_equal(values(found), values(expected))


def _volume(dataset, indices) -> torch.Tensor:
    return torch.cat([dataset[index]["image"] for index in indices], dim=-1)[None]


@pytest.mark.parametrize(
    ("changed", "different"),
    [
        ({"generator": make_generator(seed=1)}, "generator"),
        ({"dataset": AlphabetDataset("training", 5, seed=1, shape=(36, 41))}, "dataset, first_image"),
        ({"dataset": AlphabetDataset("training", 4, shape=(36, 41))}, "dataset"),
        (
            {
                "dataset": Given([s["image"] / 2 for s in AlphabetDataset("training", 5, shape=(36, 41))]),
                "parameters": AlphabetDataset("training", 5, shape=(36, 41)).parameters,
            },
            "first_image",
        ),
        ({"inferer": SliceTranslationInferer(include_self=False)}, "include_self"),
        ({"inferer": SliceTranslationInferer(autocast_dtype="bfloat16")}, "computed_in"),
        ({"inferer": SliceTranslationInferer(output_range=None)}, "output_range"),
        ({"chunk_size": 4}, "chunk_size"),
    ],
)
def test_maps_of_something_else_are_refused_or_replaced(dataset, generator, tmp_path, changed, different):
    before = compute(dataset, generator, tmp_path)
    arguments = {"dataset": dataset, "generator": generator, "folder": tmp_path, **changed}
    with pytest.raises(ValueError, match=rf"\(different: {different}\)"):
        compute(**arguments)
    np.testing.assert_array_equal(values(before), values(compute(dataset, generator, tmp_path)))
    after = compute(**arguments, overwrite=True)
    np.testing.assert_array_equal(values(after), values(compute(**{**arguments, "folder": tmp_path / "new"})))


def test_the_fingerprint_follows_every_weight(generator):
    first = generator_fingerprint(generator)
    assert generator_fingerprint(make_generator()) == first
    other = make_generator()
    for weight in other.parameters():
        with torch.no_grad():
            flat = weight.view(-1)
            before = flat[-1].clone()
            flat[-1] += 1e-3
            assert generator_fingerprint(other) != first
            flat[-1] = before
    assert generator_fingerprint(other) == first
    assert generator_fingerprint(make_generator().to(torch.bfloat16)) != first


def test_channels_last_weights_have_the_same_fingerprint(generator):
    other = make_generator()
    other.encoder.to(memory_format=torch.channels_last)
    assert generator_fingerprint(other) == generator_fingerprint(generator)


def test_dataset_with_maps(dataset, generator, tmp_path):
    maps = compute(dataset, generator, tmp_path)
    together = DifferentiationDataset(dataset, maps)
    assert len(together) == 5
    sample = together[3]
    assert sample["image_md"].dtype == torch.float32
    np.testing.assert_array_equal(sample["image_md"], maps[3])
    assert torch.equal(sample["image"], dataset[3]["image"])
    assert "image_md" not in dataset[3]
    assert len(list(together)) == 5
    stacked = DifferentiationDataset(dataset, maps, "md", lambda s: torch.cat([s["image"], s["md"]]))
    assert stacked[0].shape == (4, 36, 41, 1)
    with pytest.raises(ValueError, match="5 differentiation maps for 2 samples"):
        DifferentiationDataset(Subset(dataset, [0, 1]), maps)


def test_workers_read_the_file_and_get_no_copy(generator, tmp_path):
    dataset = AlphabetDataset("training", 3, shape=(64, 64))
    maps = compute(dataset, generator, tmp_path)
    together = DifferentiationDataset(dataset, maps)
    assert len(pickle.dumps(together)) < values(maps).nbytes / 10
    loader = DataLoader(together, batch_size=3, num_workers=1, multiprocessing_context="spawn")
    np.testing.assert_array_equal(next(iter(loader))["image_md"], values(maps))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chunk_size": 0}, "chunk_size is 0"),
        ({"generator": make_generator(in_channels=3)}, "in_channels 3; maps of single images need 2 and 1"),
        ({"dataset": Given([])}, "no samples"),
        ({"dataset": Given(torch.zeros(2, 2, 9, 9, 1))}, "What a Given depends on is unknown; give parameters"),
        ({"dataset": Given(torch.zeros(2, 2, 9, 9, 3))}, r"image of p0 has shape \(2, 9, 9, 3\); \(2, X, Y, 1\) is"),
        ({"dataset": Given(torch.zeros(2, 3, 9, 9, 1))}, "one channel per timepoint of x1, x2"),
        (
            {"dataset": Given([torch.zeros(2, 9, 9, 1), torch.zeros(2, 9, 8, 1)]), "parameters": {}},
            r"image of p1 has shape \(2, 9, 8, 1\), but that of others is \(2, 9, 9, 1\)",
        ),
        ({"dataset": Given(torch.zeros(2, 2, 9, 9, 1), available=[True, False]), "parameters": {}}, "p0 lacks a seq"),
    ],
)
def test_refuses(dataset, generator, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        compute(**{"dataset": dataset, "generator": generator, "folder": tmp_path, **options})
