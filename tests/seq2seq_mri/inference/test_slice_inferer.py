# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer

from seq2seq_mri.inference.activation_memory import activation_memory
from seq2seq_mri.inference.fusion import MeanFusion
from seq2seq_mri.inference.slice_inferer import SliceTranslationInferer
from seq2seq_mri.sequences import channel_slices, sequence_codes

SOURCES, TARGETS = ["t2", "dce"], ["dce", "t1"]


@pytest.fixture(scope="module")
def volume() -> torch.Tensor:
    return torch.rand(1, 5, 11, 9, 6, generator=torch.Generator().manual_seed(1))


def slow_translation(volume, generator, sources, targets):
    """Every pair and slice by itself through ``forward``, neighbours picked one by one."""
    channels, depth = channel_slices(generator.sequences), volume.shape[-1]
    result = torch.zeros(len(sources), sum(generator.sequences[t] for t in targets), *volume.shape[2:])
    for k, source in enumerate(sources):
        part = volume[0, channels[source]]
        for z in range(depth):
            neighbours = [part[..., min(max(z + offset, 0), depth - 1)] for offset in (-1, 0, 1)]
            image = torch.stack(neighbours, dim=1)[None]
            made = [generator(image, sequence_codes(generator.sequences, [t]))[0, :, 1] for t in targets]
            result[k, ..., z] = torch.cat(made)
    return result


@pytest.fixture(scope="module")
def expected(volume, generator) -> torch.Tensor:
    with torch.no_grad():
        return slow_translation(volume, generator, SOURCES, TARGETS)


@pytest.mark.parametrize("slice_batch_size", [1, 4, 100])
def test_equals_slow_loop_for_any_batch_size(volume, generator, expected, slice_batch_size):
    inferer = SliceTranslationInferer(slice_batch_size, skip_empty=False)
    assert isinstance(inferer, Inferer)
    found = inferer(volume, generator, sources=SOURCES, targets=TARGETS)
    assert found.shape == (2, 4, 11, 9, 6)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_one_slice(volume, generator):
    with torch.no_grad():
        expected = slow_translation(volume[..., :1], generator, SOURCES, TARGETS)
    torch.testing.assert_close(SliceTranslationInferer()(volume[..., :1], generator, SOURCES, TARGETS), expected)


def test_reduce_equals_reduction_of_the_whole(volume, generator, expected):
    fused, deviation = SliceTranslationInferer(2)(volume, generator, SOURCES, TARGETS, reduce=MeanFusion())
    # Of dce, which is its own source, only the translation from t2 counts; t1 comes from both.
    torch.testing.assert_close(fused[:3], expected[0, :3], rtol=1e-5, atol=1e-6)
    assert (deviation[:3] == 0).all()
    torch.testing.assert_close(fused[3], expected[:, 3].mean(0), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(deviation[3], expected[:, 3].std(0, correction=0), rtol=1e-4, atol=1e-6)


def test_default_sources_and_targets(volume, generator):
    volume = volume.clone()
    volume[:, 0] = 0  # t1 is absent
    inferer = SliceTranslationInferer()
    found = inferer(volume, generator)
    torch.testing.assert_close(found, inferer(volume, generator, ["dce", "t2"], ["t1", "dce", "t2"]))


@pytest.mark.parametrize("lowest", [0.0, -1.0])
def test_empty_slices_are_background(volume, generator, expected, lowest):
    volume = volume.clone()
    volume[..., 0] = lowest
    volume[:, 1:4, :, :, 5] = lowest  # of the last slice, dce is empty and t2 is not
    volume[:, 0] = 0.5  # t1 is no source and does not matter
    inferer = SliceTranslationInferer(output_range=(lowest, 1))
    found = inferer(volume, generator, SOURCES, TARGETS)
    assert (found[..., 0] == lowest).all()
    assert (found[..., 1:] != lowest).all()
    fused, deviation = inferer(volume, generator, SOURCES, TARGETS, reduce=MeanFusion())
    assert (fused[..., 0] == lowest).all()
    assert (deviation[..., 0] == 0).all()


@pytest.mark.parametrize("with_fusion", [False, True])
def test_voxels_empty_in_all_sources_are_background(volume, generator, with_fusion):
    volume = volume.clone()
    volume[..., :3, :, :] = 0
    volume[:, 0, 3] = 0  # empty in one source only
    sources = ["t1", "t2"]
    inferer = SliceTranslationInferer()
    result = inferer(volume, generator, sources, ["t1"], MeanFusion() if with_fusion else None)
    for values in result:
        assert not values[..., :3, :, :].any()
    assert result[0][..., 3:, :, :].all()


def test_all_empty(generator):
    found = SliceTranslationInferer()(torch.zeros(1, 5, 8, 8, 3), generator, SOURCES, TARGETS)
    assert found.shape == (2, 4, 8, 8, 3)
    assert (found == 0).all()


def test_values_are_clamped(volume, generator, expected):
    found = SliceTranslationInferer(output_range=(0.45, 0.55))(volume, generator, SOURCES, TARGETS)
    torch.testing.assert_close(found, expected.clamp(0.45, 0.55), rtol=1e-5, atol=1e-6)
    assert (expected < 0.45).any()
    found = SliceTranslationInferer(output_range=None)(volume, generator, SOURCES, TARGETS)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_bfloat16(volume, generator, expected):
    found = SliceTranslationInferer(autocast_dtype="bfloat16")(volume, generator, SOURCES, TARGETS)
    assert found.dtype == torch.float32
    assert 0 < (found - expected).abs().mean() < 0.02


def test_memory_limit_is_kept_and_changes_nothing(volume, generator, expected):
    limit = 0.25 * 2**20
    inferer = SliceTranslationInferer(memory_limit_mb=0.25, skip_empty=False)
    found = inferer(volume, generator, SOURCES, TARGETS)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    (chosen,) = inferer._measured.values()
    parts = {"t2": volume[0, 4:], "dce": volume[0, 1:4]}
    network = inferer.prepare(generator, TARGETS)

    def run(count: int) -> None:
        images = inferer._images(parts, torch.zeros(count, dtype=torch.long), 3)
        for _ in inferer.translate_batch(images, network, TARGETS, None):
            pass

    assert chosen > 1
    assert activation_memory(lambda: run(chosen)) <= limit < activation_memory(lambda: run(chosen + 1))


def test_memory_limit_below_one_slice(volume, generator, expected):
    found = SliceTranslationInferer(memory_limit_mb=1e-6)(volume, generator, SOURCES, TARGETS)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_meta_tensor_wrapped_network_and_progress(volume, generator, expected, capsys):
    class Wrapper(torch.nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

    found = SliceTranslationInferer(progress=True)(MetaTensor(volume), Wrapper(generator), SOURCES, TARGETS)
    assert type(found) is torch.Tensor
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert "6/6" in capsys.readouterr().err


def test_mistakes_in_the_call(volume, generator, volume_generator):
    inferer = SliceTranslationInferer()
    with pytest.raises(ValueError, match="Unknown sequence 'flair'"):
        inferer(volume, generator, ["flair"], TARGETS)
    with pytest.raises(ValueError, match="Unknown sequence 'flair'"):
        inferer(volume, generator, SOURCES, ["flair"])
    with pytest.raises(ValueError, match="no source sequence"):
        inferer(volume, generator, [], TARGETS)
    with pytest.raises(ValueError, match="no source sequence"):
        inferer(torch.zeros_like(volume), generator)
    with pytest.raises(ValueError, match="no target sequence"):
        inferer(volume, generator, SOURCES, [])
    with pytest.raises(ValueError, match=r"\(1, 4, 11, 9, 6\); it needs \(1, 5, X, Y, Z\)"):
        inferer(volume[:, :4], generator)
    with pytest.raises(ValueError, match="4 x 9 voxels; the generator needs at least 5"):
        inferer(volume[:, :, :4], generator)
    with pytest.raises(ValueError, match=r"spatial_dims 2, this one has 3; use .* VolumeTranslationInferer for 3"):
        inferer(volume, volume_generator)


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("slice_batch_size", 0, "slice_batch_size is 0"),
        ("memory_limit_mb", 0, "memory_limit_mb is 0"),
        ("autocast_dtype", "int8", "autocast_dtype 'int8'; choose bfloat16, float16"),
        ("output_range", (1, 0), r"range \(1, 0\)"),
    ],
)
def test_mistakes_in_the_arguments(argument, value, message):
    with pytest.raises(ValueError, match=message):
        SliceTranslationInferer(**{argument: value})
