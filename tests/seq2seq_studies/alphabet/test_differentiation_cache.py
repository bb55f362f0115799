# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import numpy as np
import pytest
import torch

from seq2seq_mri.inference.slice_inferer import SliceTranslationInferer
from seq2seq_mri.networks.generator import Seq2SeqGenerator
from seq2seq_mri.sequences import sequence_codes
from seq2seq_studies.alphabet.alphabet import ALPHABET_SEQUENCES, AlphabetDataset
from seq2seq_studies.alphabet.differentiation_cache import DifferentiationDataset

HALF = 2**-10  # of what is stored in half precision


def make_generator(seed: int = 0) -> Seq2SeqGenerator:
    torch.manual_seed(seed)
    sizes = {"in_channels": 1, "channels": (4, 6), "num_res_blocks": 1, "lstm_layers": 1, "weight_code_channels": 2}
    return Seq2SeqGenerator(2, ALPHABET_SEQUENCES, **sizes, output_activation="sigmoid")


@pytest.fixture(scope="module")
def generator() -> Seq2SeqGenerator:
    return make_generator()


@pytest.fixture
def dataset() -> AlphabetDataset:
    return AlphabetDataset("training", 5, shape=(36, 41))


def compute(dataset, generator, folder, inferer=None, chunk_size=64) -> DifferentiationDataset:
    return DifferentiationDataset(dataset, generator, folder, inferer or inference(), chunk_size)


def inference(**options) -> SliceTranslationInferer:
    return SliceTranslationInferer(**{"slice_batch_size": 2, **options})


def values(maps: DifferentiationDataset) -> np.ndarray:
    """All maps, ``[N, 2, X, Y, 1]``."""
    return torch.stack([maps[index]["differentiation"] for index in range(len(maps))]).numpy()


@torch.no_grad()
def expected_map(image: torch.Tensor, generator: Seq2SeqGenerator, include_self: bool) -> torch.Tensor:
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
    maps = compute(dataset, generator, tmp_path, inference(include_self=include_self), chunk_size)
    assert len(maps) == 5
    for index in range(5):
        sample, expected = maps[index], expected_map(dataset[index]["image"], generator, include_self)
        assert sample["differentiation"].dtype == torch.float32
        np.testing.assert_allclose(sample["differentiation"], expected.numpy(), rtol=HALF, atol=1e-6)
        assert torch.equal(sample["image"], dataset[index]["image"])
    with pytest.raises(IndexError):
        maps[5]


@pytest.mark.parametrize(
    ("changed", "different"),
    [
        ({"generator": make_generator(seed=1)}, "generator"),
        ({"dataset": AlphabetDataset("training", 5, seed=1, shape=(36, 41))}, "dataset, first_image"),
        ({"dataset": AlphabetDataset("training", 4, shape=(36, 41))}, "dataset"),
        ({"inferer": SliceTranslationInferer(include_self=False)}, "include_self"),
        ({"inferer": SliceTranslationInferer(autocast_dtype="bfloat16")}, "computed_in"),
        ({"inferer": SliceTranslationInferer(output_range=None)}, "output_range"),
        ({"chunk_size": 4}, "chunk_size"),
    ],
)
def test_maps_of_something_else_are_refused(dataset, generator, tmp_path, changed, different):
    before = compute(dataset, generator, tmp_path)
    arguments = {"dataset": dataset, "generator": generator, "folder": tmp_path, **changed}
    with pytest.raises(ValueError, match=rf"\(different: {different}\)"):
        compute(**arguments)
    np.testing.assert_array_equal(values(before), values(compute(dataset, generator, tmp_path)))
