# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import pytest
import torch
from monai.inferers import sliding_window_inference

from seq2seq_mri.inference.fusion import MeanFusion
from seq2seq_mri.inference.volume_inferer import VolumeTranslationInferer
from seq2seq_mri.networks.generator import Seq2SeqGenerator
from seq2seq_mri.sequences import channel_slices, sequence_codes

SOURCES, TARGETS = ["t2", "dce"], ["dce", "t1"]


@pytest.fixture(scope="module")
def volume() -> torch.Tensor:
    return torch.rand(1, 5, 13, 10, 9, generator=torch.Generator().manual_seed(1))


def pair(generator, volume, source, target):
    """One pair through ``forward``: ``(1, T_source, x, y, z)`` to ``(1, T_target, x, y, z)``."""
    code = sequence_codes(generator.sequences, [target])
    return generator(volume[:, channel_slices(generator.sequences)[source]][:, :, None], code)[:, :, 0]


def test_whole_volume_equals_forward_of_each_pair(volume, volume_generator):
    found = VolumeTranslationInferer(roi_size=-1)(volume, volume_generator, SOURCES, TARGETS)
    assert found.shape == (2, 4, 13, 10, 9)
    with torch.no_grad():
        for k, source in enumerate(SOURCES):
            expected = torch.cat([pair(volume_generator, volume, source, t) for t in TARGETS], dim=1)
            torch.testing.assert_close(found[k][None], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sw_batch_size", [1, 3])
def test_windows_equal_monai_on_each_pair(volume, volume_generator, sw_batch_size):
    inferer = VolumeTranslationInferer((8, 8, 16), sw_batch_size, overlap=0.5)
    found = inferer(volume, volume_generator, SOURCES, TARGETS)
    rows = channel_slices({t: volume_generator.sequences[t] for t in TARGETS})
    with torch.no_grad():
        for k, source in enumerate(SOURCES):
            for target in TARGETS:
                expected = sliding_window_inference(
                    volume,
                    (8, 8, 16),
                    1,
                    lambda window, s=source, t=target: pair(volume_generator, window, s, t),
                    overlap=0.5,
                    mode="gaussian",
                )
                torch.testing.assert_close(found[k, rows[target]][None], expected, rtol=1e-4, atol=1e-5)


def test_reduce_equals_reduction_of_the_whole(volume, volume_generator):
    whole = VolumeTranslationInferer(roi_size=-1)
    pairs = whole(volume, volume_generator, SOURCES, TARGETS)
    fused, deviation = whole(volume, volume_generator, SOURCES, TARGETS, reduce=MeanFusion())
    torch.testing.assert_close(fused, torch.cat([pairs[0, :3], pairs[:, 3:].mean(0)]))
    torch.testing.assert_close(deviation[3], pairs[:, 3].std(0, correction=0), rtol=1e-4, atol=1e-6)
    assert (deviation[:3] == 0).all()


def test_fused_windows_are_the_fusion_of_windows(volume, volume_generator):
    inferer = VolumeTranslationInferer(8, overlap=0.25)
    pairs = inferer(volume, volume_generator, SOURCES, ["t1"])
    fused, deviation = inferer(volume, volume_generator, SOURCES, ["t1"], reduce=MeanFusion())
    torch.testing.assert_close(fused, pairs.mean(0), rtol=1e-5, atol=1e-6)
    assert deviation.shape == fused.shape
    # A mean of windows' deviations is at least the deviation of the windows' means.
    assert (deviation - pairs.std(0, correction=0) > -1e-5).all()


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
