# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Whole volumes on the GPU as on the CPU: inferers, M_d, quality, LPIPS, Grad-CAM."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from agreement import IMAGE, no_waiting, relative_error
from completion import small_mm_gan
from small_generator import small

from seq2seq_mri.evaluation.classification.gradcam import gradcam_map
from seq2seq_mri.evaluation.differentiation.differentiation import differentiation_map, voxel_auc
from seq2seq_mri.evaluation.image_quality.image_quality import image_quality
from seq2seq_mri.evaluation.image_quality.lpips import SliceLPIPS
from seq2seq_mri.inference.differentiation_maps import translated_differentiation_maps
from seq2seq_mri.inference.fusion import MeanFusion
from seq2seq_mri.inference.slice_inferer import SliceTranslationInferer
from seq2seq_mri.inference.volume_inferer import VolumeTranslationInferer
from seq2seq_mri.networks.classifier import build_classifier
from seq2seq_studies.comparison.completion import complete_volume

SEQUENCES = {"t1": 1, "dce": 3, "t2": 1}
INFERERS = {
    "one slice": lambda **options: SliceTranslationInferer(slice_batch_size=1, **options),
    "default": SliceTranslationInferer,
    "memory limit": lambda **options: SliceTranslationInferer(memory_limit_mb=0.5, **options),
    "three slices": lambda **options: SliceTranslationInferer(slice_batch_size=3, **options),
    "3D": lambda **options: VolumeTranslationInferer((16, 16, 8), sw_batch_size=2, **options),
}


@pytest.fixture(scope="module")
def volume() -> torch.Tensor:
    """An image ``[ΣT, X, Y, Z]`` in [0, 1] with background around it and a sequence that lacks slices."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 5, 6, 5, 5, generator=generator)
    image = torch.nn.functional.interpolate(coarse, (21, 18, 11), mode="trilinear")[0]
    image[:, :3] = image[..., :2] = image[..., -1:] = 0
    image[0, ..., :5] = 0
    return image


def network(name: str) -> torch.nn.Module:
    return small(3, SEQUENCES, in_channels=1).eval() if name == "3D" else small(2, SEQUENCES, in_channels=3).eval()


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
@pytest.mark.parametrize("reduce", [None, MeanFusion()], ids=["every source", "fused"])
@pytest.mark.parametrize("name", INFERERS)
def test_inferer(device: torch.device, volume, name, reduce, dtype) -> None:
    generator = network(name)
    options = {"sources": ["t1", "dce"], "targets": ["dce", "t2"], "reduce": reduce}
    expected = INFERERS[name]()(volume[None], generator, **options)
    inferer = INFERERS[name](autocast_dtype=dtype, include_self=False)
    if reduce is None:
        expected[1, :3] = 0  # dce from itself
    for image in (volume, volume.to(device)):
        found = inferer(image[None], generator.to(device), **options)
        pairs = [(found, expected)] if reduce is None else zip(found, expected, strict=True)
        # The deviation is the small difference of two images that have these errors.
        for factor, (part, truth) in zip((1, 10), pairs, strict=False):
            assert part.device.type == "cpu"
            assert part.isfinite().all()
            assert relative_error(part, truth) < factor * IMAGE[dtype]
    generator.cpu()


def test_batches_do_not_wait_for_the_gpu(device: torch.device, volume) -> None:
    """While slices are cut, translated and fused."""
    specialised = network("default").to(device).specialise(["dce", "t2"])
    inferer, there = SliceTranslationInferer(), volume.to(device)
    volumes = {"t1": there[:1], "dce": there[1:4]}
    list(inferer.translate_batch(inferer._images(volumes, torch.arange(3), 3), specialised, ["t2"], None))  # a warm-up
    made = []
    with no_waiting(device):
        for reduce in (None, MeanFusion()):
            images = inferer._images(volumes, torch.arange(5, 9), 3)
            made += inferer.translate_batch(images, specialised, ["dce", "t2"], reduce)
    assert [part.shape[0] for part in made] == [2, 2, 2, 2]


@pytest.mark.parametrize("name", ["default", "3D"])
def test_results_may_stay_on_the_device(device: torch.device, volume, name) -> None:
    generator = network(name)
    expected = INFERERS[name]()(volume[None], generator)
    found = INFERERS[name](output_device=device)(volume[None], generator.to(device))
    assert found.device.type == device.type
    assert relative_error(found, expected) < IMAGE[None]


@pytest.mark.parametrize("name", ["default", "3D"])
def test_differentiation_maps(device: torch.device, volume, name) -> None:
    generator = network(name)
    expected = translated_differentiation_maps(volume, generator, INFERERS[name]())
    found = translated_differentiation_maps(volume.to(device), generator.to(device), INFERERS[name]())
    assert found.device.type == "cpu"
    assert relative_error(found, expected) < IMAGE[None]


def test_measures_of_tensors_on_the_device(device: torch.device, volume) -> None:
    truth, prediction, foreground = volume[1:4], 0.9 * volume[1:4].flip(-1), volume[1] > 0
    there = [value.to(device) for value in (prediction, truth, foreground)]
    expected = image_quality(prediction, truth, foreground)
    assert image_quality(*there) == pytest.approx(expected, rel=1e-9)
    mask = truth[0] > truth[0].median()
    difference = differentiation_map(there[0][None], there[1])
    assert voxel_auc(difference, mask.to(device), there[2]) == pytest.approx(
        voxel_auc((prediction - truth).abs(), mask, foreground)
    )


def test_completion(device: torch.device, volume) -> None:
    torch.manual_seed(0)
    completing = small_mm_gan(2, SEQUENCES, in_channels=3).eval()
    expected = complete_volume(completing, volume, ["t1", "t2"])
    found = complete_volume(completing.to(device), volume.to(device), ["t1", "t2"])
    assert relative_error(found, expected) < IMAGE[None]


def test_lpips(device: torch.device, volume) -> None:
    try:
        on_device = SliceLPIPS("squeeze", device=device)
    except ValueError as error:
        pytest.skip(f"no weights of LPIPS: {error}")
    truth = torch.nn.functional.interpolate(volume[None, :3], (40, 44, 11))[0]
    images = truth.flip(1), truth, truth > 0
    expected = SliceLPIPS("squeeze")(*images)
    assert on_device(*(image.to(device) for image in images)) == pytest.approx(expected, rel=1e-3)


def test_gradcam(device: torch.device) -> None:
    torch.manual_seed(0)
    classifier = build_classifier(3, 2, widen_factor=0.0625).eval()
    image = torch.rand(2, 33, 37, 35)
    expected = gradcam_map(classifier, image, label=1, layer="layer2")
    found = gradcam_map(classifier.to(device), image, label=1, layer="layer2")
    np.testing.assert_allclose(found, expected, atol=1e-3)
