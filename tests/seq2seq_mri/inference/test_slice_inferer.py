# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

from functools import partial

import pytest
import torch
from monai.data import MetaTensor
from slow_translation import slow_translation

from seq2seq_mri.inference.activation_memory import activation_memory
from seq2seq_mri.inference.fusion import MeanFusion
from seq2seq_mri.inference.slice_inferer import SliceTranslationInferer
from seq2seq_mri.transforms.slice_stack import slice_stacks

SOURCES, TARGETS = ["t2", "dce"], ["dce", "t1"]

close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-6)


@pytest.fixture
def volume() -> torch.Tensor:
    return torch.rand(1, 5, 11, 9, 6, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def expected(volume, generator) -> torch.Tensor:
    pairs = [[slow_translation(volume[0], generator, source, target) for target in TARGETS] for source in SOURCES]
    return torch.stack([torch.cat(made) for made in pairs])


@pytest.mark.parametrize("slice_batch_size", [1, 4, 100])
def test_equals_slow_loop_for_any_batch_size(volume, generator, expected, slice_batch_size):
    close(SliceTranslationInferer(slice_batch_size)(volume, generator, SOURCES, TARGETS), expected)


def test_reduce_equals_reduction_of_the_whole(volume, generator, expected):
    fused, deviation = SliceTranslationInferer(2)(volume, generator, SOURCES, TARGETS, reduce=MeanFusion())
    # Of dce, which is its own source, only the translation from t2 counts; t1 comes from both.
    close(fused[:3], expected[0, :3])
    assert (deviation[:3] == 0).all()
    close(fused[3], expected[:, 3].mean(0))
    torch.testing.assert_close(deviation[3], expected[:, 3].std(0, correction=0), rtol=1e-4, atol=1e-6)


def test_default_sources_and_targets(volume, generator):
    volume[:, 0] = 0  # t1 is absent
    inferer = SliceTranslationInferer()
    close(inferer(volume, generator), inferer(volume, generator, ["dce", "t2"], ["t1", "dce", "t2"]))


@pytest.mark.parametrize("lowest", [0.0, -1.0])
def test_what_is_empty_in_all_sources_is_background(volume, generator, lowest):
    volume[..., 0] = lowest
    volume[:, 1:4, :, :, 5] = lowest  # of the last slice, dce is empty and t2 is not
    volume[:, :, :3] = lowest
    volume[:, 0] = 0.5  # t1 is no source and does not matter
    inferer = SliceTranslationInferer(output_range=(lowest, 1))
    fused, deviation = inferer(volume, generator, SOURCES, TARGETS, reduce=MeanFusion())
    for found in (*inferer(volume, generator, SOURCES, TARGETS), fused):
        assert (found[..., 0] == lowest).all()
        assert (found[:, :3] == lowest).all()
        assert (found[:, 3:, :, 1:] != lowest).all()
    assert not deviation[..., 0].any()
    assert not deviation[:, :3].any()


def test_all_empty(generator):
    found = SliceTranslationInferer()(torch.zeros(1, 5, 8, 8, 1), generator, SOURCES, TARGETS)
    assert found.shape == (2, 4, 8, 8, 1)
    assert (found == 0).all()


def test_values_are_clamped(volume, generator, expected):
    lower, upper = expected.quantile(torch.tensor([0.25, 0.75])).tolist()
    found = SliceTranslationInferer(output_range=(lower, upper))(volume, generator, SOURCES, TARGETS)
    close(found, expected.clamp(lower, upper))
    close(SliceTranslationInferer(output_range=None)(volume, generator, SOURCES, TARGETS), expected)


def test_bfloat16(volume, generator, expected):
    found = SliceTranslationInferer(autocast_dtype="bfloat16")(volume, generator, SOURCES, TARGETS)
    assert found.dtype == torch.float32
    assert 0 < (found - expected).abs().mean() < 0.02


def test_memory_limit_is_kept_and_changes_nothing(volume, generator, expected, monkeypatch):
    sizes, translate_batch = [], SliceTranslationInferer.translate_batch

    def record(self, images, *rest):
        sizes.append(len(next(iter(images.values()))))
        return translate_batch(self, images, *rest)

    monkeypatch.setattr(SliceTranslationInferer, "translate_batch", record)
    limit = 0.2
    inferer = SliceTranslationInferer(memory_limit_mb=limit)
    close(inferer(volume, generator, SOURCES, TARGETS), expected)
    assert sizes[:2] == [1, 2]  # they are measured
    chosen, network = sizes[2], inferer.prepare(generator, TARGETS)

    def run(size: int) -> None:
        parts = {"t2": volume[0, 4:], "dce": volume[0, 1:4]}
        images = {name: slice_stacks(part, torch.arange(size), 3) for name, part in parts.items()}
        for _ in inferer.translate_batch(images, network, TARGETS, None):
            pass

    assert 1 < chosen < 6
    assert activation_memory(lambda: run(chosen)) <= limit * 2**20 < activation_memory(lambda: run(chosen + 1))
    sizes.clear()
    close(SliceTranslationInferer(memory_limit_mb=1e-6)(volume, generator, SOURCES, TARGETS), expected)
    assert sizes[2:] == [1] * 6


def test_meta_tensor_wrapped_network_and_progress(volume, generator, expected, capsys):
    class Wrapper(torch.nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

    found = SliceTranslationInferer(progress=True)(MetaTensor(volume), Wrapper(generator), SOURCES, TARGETS)
    assert type(found) is torch.Tensor
    close(found, expected)
    assert "6/6" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("shape", "sources", "targets", "message"),
    [
        ((5, 11, 9, 6), ["flair"], TARGETS, "Unknown sequence 'flair'"),
        ((5, 11, 9, 6), SOURCES, ["flair"], "Unknown sequence 'flair'"),
        ((5, 11, 9, 6), [], TARGETS, "no source sequence"),
        ((5, 11, 9, 6), None, None, "no source sequence"),  # all are background
        ((5, 11, 9, 6), SOURCES, [], "no target sequence"),
        ((4, 11, 9, 6), None, None, r"\(1, 4, 11, 9, 6\); it needs \(1, 5, X, Y, Z\).* timepoint of t1, dce, t2"),
        ((5, 4, 9, 6), SOURCES, TARGETS, "4 x 9 voxels; the generator needs at least 5"),
    ],
)
def test_mistakes_in_the_call(generator, shape, sources, targets, message):
    with pytest.raises(ValueError, match=message):
        SliceTranslationInferer()(torch.zeros(1, *shape), generator, sources, targets)


def test_another_kind_of_generator(volume, volume_generator):
    with pytest.raises(ValueError, match=r"spatial_dims 2, this one has 3; use .* VolumeTranslationInferer for 3"):
        SliceTranslationInferer()(volume, volume_generator)


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
