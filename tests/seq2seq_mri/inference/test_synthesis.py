# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import pytest
import torch
from monai.inferers import Inferer

from seq2seq_mri.inference.fusion import MeanFusion
from seq2seq_mri.inference.slice_inferer import SliceTranslationInferer
from seq2seq_mri.inference.synthesis import SynthesisInferer
from seq2seq_mri.sequences import channel_slices


@pytest.fixture
def volume(generator) -> torch.Tensor:
    """All sequences, of which t1 is missing."""
    image = torch.rand(1, sum(generator.sequences.values()), 11, 9, 6, generator=torch.Generator().manual_seed(1))
    image[:, channel_slices(generator.sequences)["t1"]] = 0
    return image


def mean_of_sources(volume, generator, sources, target):
    """Each source translated by itself, and averaged."""
    made = [SliceTranslationInferer()(volume, generator, [source], [target]) for source in sources]
    return torch.cat(made).mean(dim=0, keepdim=True)


@pytest.mark.parametrize("target", [None, "t1"])
def test_the_missing_sequence_comes_from_all_others(volume, generator, target):
    inferer = SynthesisInferer(SliceTranslationInferer(include_self=False), generator.sequences, target)
    assert isinstance(inferer, Inferer)
    others = [name for name in generator.sequences if name != "t1"]
    expected = mean_of_sources(volume, generator, others, "t1")
    found = inferer(volume, generator)
    assert found.shape == (1, generator.sequences["t1"], 11, 9, 6)
    torch.testing.assert_close(found.as_tensor(), expected, rtol=1e-5, atol=1e-6)


def test_a_sequence_that_is_there_is_not_its_own_source(volume, generator):
    inferer = SynthesisInferer(SliceTranslationInferer(include_self=False), generator.sequences, "t1")
    others = [name for name in generator.sequences if name not in ("t1", "dce")]
    found = inferer(volume, generator, target="dce")
    assert found.shape[1] == generator.sequences["dce"] > 1
    torch.testing.assert_close(
        found.as_tensor(), mean_of_sources(volume, generator, others, "dce"), rtol=1e-5, atol=1e-6
    )


def test_fusion_of_a_call_counts(volume, generator):
    class First(MeanFusion):
        def source_weights(self, sources, target):
            return torch.eye(len(sources), dtype=torch.float64)[0]

    inferer = SynthesisInferer(SliceTranslationInferer(include_self=False), generator.sequences)
    first = next(name for name in generator.sequences if name != "t1")
    expected = mean_of_sources(volume, generator, [first], "t1")
    torch.testing.assert_close(inferer(volume, generator, fusion=First()).as_tensor(), expected, rtol=1e-5, atol=1e-6)


def test_clear_errors(volume, generator):
    translation = SliceTranslationInferer(include_self=False)
    with pytest.raises(ValueError, match="t9"):
        SynthesisInferer(translation, generator.sequences, "t9")
    inferer = SynthesisInferer(translation, generator.sequences)
    with pytest.raises(ValueError, match="t9"):
        inferer(volume, generator, target="t9")
    with pytest.raises(ValueError, match="No sequence is missing; name the one to synthesise"):
        inferer(torch.rand_like(volume) + 0.1, generator)
    alone = torch.zeros_like(volume)
    alone[:, channel_slices(generator.sequences)["t2"]] = 0.5
    with pytest.raises(ValueError, match=r"t1, dce.* missing; name the one to synthesise as target"):
        inferer(alone, generator)
    with pytest.raises(
        ValueError, match="no sequence from which t2 could be synthesised; give at least one of t1, dce"
    ):
        inferer(alone, generator, target="t2")
    with pytest.raises(ValueError, match="no sequence from which t1"):
        inferer(torch.zeros_like(volume), generator, target="t1")
