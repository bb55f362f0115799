# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import pytest
import torch
from engine_parts import SEQUENCES

from seq2seq_mri.inference.fusion import MeanFusion
from seq2seq_mri.inference.slice_inferer import SliceTranslationInferer
from seq2seq_mri.inference.synthesis import SynthesisInferer


@pytest.fixture
def volume() -> torch.Tensor:
    """All sequences, of which t1 is missing."""
    image = torch.rand(1, 5, 11, 9, 6, generator=torch.Generator().manual_seed(1)) + 0.1
    image[:, 0] = 0
    return image


class First(MeanFusion):
    def source_weights(self, sources, target):
        return torch.eye(len(sources), dtype=torch.float64)[0]


def inferer(target: str | None = None) -> SynthesisInferer:
    return SynthesisInferer(SliceTranslationInferer(include_self=False), SEQUENCES, target)


@pytest.mark.parametrize(
    ("configured", "options", "target", "sources"),
    [
        (None, {}, "t1", ["dce", "t2"]),  # the missing one
        ("t1", {}, "t1", ["dce", "t2"]),
        ("t1", {"target": "dce"}, "dce", ["t2"]),  # there, but not its own source
        (None, {"fusion": First()}, "t1", ["dce"]),
    ],
)
def test_is_the_mean_over_the_sources_that_are_there(volume, generator, configured, options, target, sources):
    found = inferer(configured)(volume, generator, **options)
    translate = SliceTranslationInferer()
    made = [translate(volume, generator, [source], [target]) for source in sources]
    torch.testing.assert_close(found.as_tensor(), torch.cat(made).mean(0, keepdim=True), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("present", "target", "message"),
    [
        (["t1", "dce", "t2"], None, "No sequence is missing; name the one to synthesise"),
        (["t2"], None, "t1, dce are missing; name the one to synthesise as target"),
        (["t2"], "t2", "no sequence from which t2 could be synthesised; give at least one of t1, dce"),
        ([], "t1", "no sequence from which t1"),
    ],
)
def test_mistakes(volume, generator, present, target, message):
    there = torch.tensor([float(name in present) for name, timepoints in SEQUENCES.items() for _ in range(timepoints)])
    with pytest.raises(ValueError, match=message):
        inferer()((volume + 0.1) * there.view(1, -1, 1, 1, 1), generator, target)


def test_an_unknown_target_is_refused_at_once():
    with pytest.raises(ValueError, match="t9"):
        inferer("t9")
