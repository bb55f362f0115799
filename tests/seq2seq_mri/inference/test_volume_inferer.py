# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import pytest
import torch
from monai.inferers import sliding_window_inference
from slow_translation import slow_translation

from seq2seq_mri.inference.fusion import MeanFusion
from seq2seq_mri.inference.volume_inferer import VolumeTranslationInferer
from seq2seq_mri.networks.generator import Seq2SeqGenerator
from seq2seq_mri.sequences import channel_slices

SOURCES, TARGETS = ["t2", "dce"], ["dce", "t1"]
ROWS = channel_slices({"dce": 3, "t1": 1})


@pytest.fixture(scope="module")
def volume() -> torch.Tensor:
    return torch.rand(1, 5, 13, 10, 9, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("window", "sw_batch_size"), [(-1, 1), ((8, 8, 16), 1), ((8, 8, 16), 3)])
def test_equals_monai_on_each_pair(volume, volume_generator, window, sw_batch_size):
    """A window of -1 is the whole volume."""
    found = VolumeTranslationInferer(window, sw_batch_size, overlap=0.5)(volume, volume_generator, SOURCES, TARGETS)
    assert found.shape == (2, 4, 13, 10, 9)
    for k, source in enumerate(SOURCES):
        for target in TARGETS:

            def pair(part, source=source, target=target):
                return slow_translation(part[0], volume_generator, source, target)[None]

            expected = pair(volume)
            if window != -1:
                expected = sliding_window_inference(volume, window, 1, pair, overlap=0.5, mode="gaussian")
            torch.testing.assert_close(found[k, ROWS[target]][None], expected, rtol=1e-4, atol=1e-5)


def test_fused_windows_are_the_fusion_of_windows(volume, volume_generator):
    inferer = VolumeTranslationInferer(8, overlap=0.25)
    pairs = inferer(volume, volume_generator, SOURCES, TARGETS)
    fused, deviation = inferer(volume, volume_generator, SOURCES, TARGETS, reduce=MeanFusion())
    torch.testing.assert_close(fused, torch.cat([pairs[0, :3], pairs[:, 3:].mean(0)]), rtol=1e-5, atol=1e-6)
    assert (deviation[:3] == 0).all()  # dce comes from t2 alone
    # A mean of windows' deviations is at least the deviation of the windows' means.
    assert (deviation[3] - pairs[:, 3].std(0, correction=0) > -1e-5).all()


def test_mistakes(volume, generator, volume_generator):
    with pytest.raises(ValueError, match="spatial_dims 3, this one has 2; use SliceTranslationInferer for 2"):
        VolumeTranslationInferer()(volume, generator)
    with pytest.raises(ValueError, match="4 x 13 x 9 voxels; the generator needs at least 5"):
        VolumeTranslationInferer((4, 13, -1))(volume, volume_generator)
    three = Seq2SeqGenerator(3, volume_generator.sequences, 3, (2, 2), 1, 1, 4, 2)
    with pytest.raises(ValueError, match="one channel, this one has 3"):
        VolumeTranslationInferer()(volume, three)
    with pytest.raises(ValueError, match="sw_batch_size is 0"):
        VolumeTranslationInferer(sw_batch_size=0)
    with pytest.raises(ValueError, match="overlap of windows is 1"):
        VolumeTranslationInferer(overlap=1)
