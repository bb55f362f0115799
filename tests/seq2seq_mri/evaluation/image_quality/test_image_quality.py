# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from seq2seq_mri.evaluation.image_quality.image_quality import check_volume_pair, image_quality
from seq2seq_mri.evaluation.image_quality.ssim import ssim_map

RADIUS = 5
WANG = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}  # for scikit-image


def phantom(shape, seed=0):
    """Two images that are both 0 outside a box off the centre, and the mask of that box."""
    generator = np.random.default_rng(seed)
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(size // 4, size - size // 6) for size in shape)] = True
    truth = np.where(mask, generator.random(shape), 0.0)
    prediction = np.where(mask, np.clip(truth + 0.2 * generator.standard_normal(shape), 0, 1), 0.0)
    return prediction, truth, mask


def surrounded_map(prediction, truth):
    """scikit-image's map of images with so much background around them that its mirrored edges are not seen."""
    width = 2 * RADIUS
    images = [np.pad(image, width) for image in (prediction, truth)]
    inner = (slice(width, -width),) * truth.ndim
    return structural_similarity(*images, data_range=1.0, full=True, **WANG)[1][inner]


def similarity(prediction, truth):
    return ssim_map(torch.from_numpy(prediction), torch.from_numpy(truth)).numpy()


@pytest.mark.parametrize("shape", [(31, 24), (37, 26, 23), (11, 40, 13)])
def test_agrees_with_scikit_image_on_the_uncropped_volume(shape):
    prediction, truth, mask = phantom(shape)
    result = image_quality(prediction, truth, mask)
    mean = structural_similarity(prediction, truth, data_range=1.0, **WANG)
    full_map = surrounded_map(prediction, truth)
    assert result["psnr"] == pytest.approx(peak_signal_noise_ratio(truth, prediction, data_range=1.0), abs=1e-9)
    assert result["ssim"] == pytest.approx(mean, abs=1e-12)
    assert result["ssim_foreground"] == pytest.approx(full_map[mask].mean(), abs=1e-12)
    error = np.mean([(prediction[place] - truth[place]) ** 2 for place in zip(*np.nonzero(mask), strict=True)])
    assert result["psnr_foreground"] == pytest.approx(10 * math.log10(1 / error), abs=1e-9)


@pytest.mark.parametrize("place", [(0, 0, 0), (15, 16, 14), (0, 16, 27)])
def test_cropping_around_one_differing_voxel_is_exact(place):
    truth = np.random.default_rng(1).random((30, 32, 28))
    prediction = truth.copy()
    prediction[place] += 0.5
    expected = surrounded_map(prediction, truth)
    np.testing.assert_allclose(similarity(prediction, truth), expected, atol=1e-12)


@pytest.mark.parametrize("shape", [(70, 33, 12), (12, 65, 97)])
def test_axes_longer_and_shorter_than_a_block_of_the_filter(shape):
    prediction, truth = np.random.default_rng(2).random((2, *shape))
    np.testing.assert_allclose(similarity(prediction, truth), surrounded_map(prediction, truth), atol=1e-12)


def test_single_precision_map_in_smooth_bright_tissue():
    """Where variances are differences of large numbers, of which float32 would leave 3e-4."""
    smooth = np.linspace(0.6, 0.9, 40)[:, None, None] * np.ones((40, 36, 33))
    truth = smooth + 0.01 * np.random.default_rng(3).standard_normal(smooth.shape)
    single = similarity(smooth.astype(np.float32), truth.astype(np.float32))
    expected = surrounded_map(smooth.astype(np.float32).astype(float), truth.astype(np.float32).astype(float))
    np.testing.assert_allclose(single, expected, atol=1e-9)


def test_foreground_does_not_depend_on_the_background_around_it():
    """Tissue up to the edges of a crop, as CropForegroundd leaves it, padded by different amounts."""
    prediction, truth = np.random.default_rng(4).random((2, 14, 13, 12))
    expected = None
    for widths in ([(0, 0)] * 3, [(3, 1), (0, 9), (20, 2)], [(30, 30)] * 3):
        arrays = [np.pad(image, widths) for image in (prediction, truth, np.ones_like(truth))]
        found = image_quality(*arrays, regions=["foreground"])
        assert set(found) == {"psnr_foreground", "ssim_foreground"}
        expected = expected or found
        assert found == pytest.approx(expected, abs=1e-12)


def test_foreground_of_fewer_slices_than_the_window():
    prediction, truth = np.random.default_rng(5).random((2, 30, 28, 4))
    found = image_quality(prediction, truth, np.ones_like(truth), regions=["foreground"])
    assert found["ssim_foreground"] == pytest.approx(surrounded_map(prediction, truth).mean(), abs=1e-12)


@pytest.mark.parametrize(
    ("shape", "box"), [((40, 37, 31), np.s_[10:30, 11:26, 8:22]), ((40, 13, 12), np.s_[10:30, :, :])]
)
def test_central_crop_is_measured_as_if_it_were_the_volume(shape, box):
    prediction, truth, mask = phantom(shape)
    found = image_quality(prediction, truth, mask, regions=["central_crop"], central_crop=(20, 15, 14))
    expected = image_quality(prediction[box], truth[box], np.ones_like(truth[box]), regions=["whole"])
    assert found["psnr_central_crop"] == pytest.approx(expected["psnr"], abs=1e-12)
    assert found["ssim_central_crop"] == pytest.approx(expected["ssim"], abs=1e-12)


def test_data_range_scales():
    prediction, truth, mask = phantom((24, 24, 24))
    expected = image_quality(prediction, truth, mask)
    assert image_quality(prediction * 255, truth * 255, mask, data_range=255) == pytest.approx(expected, abs=1e-9)
    wider = image_quality(prediction, truth, mask, data_range=2.0)
    assert wider["psnr"] - expected["psnr"] == pytest.approx(20 * math.log10(2.0))


def test_constant_error_in_closed_form():
    truth = np.zeros((13, 15, 17))
    inside = np.zeros(truth.shape)
    inside[5:8, 5:10, 5:12] = 1  # the voxels whose windows see nothing from beyond the edges
    result = image_quality(truth + 0.1, truth, inside)
    ssim = 1e-4 / (0.1**2 + 1e-4)  # no variance: only the luminance term
    assert result == pytest.approx({"psnr": 20, "psnr_foreground": 20, "ssim": ssim, "ssim_foreground": ssim})


def test_identical_images():
    _, truth, mask = phantom((16, 16, 16))
    best = {"psnr": math.inf, "ssim": 1.0}
    assert image_quality(truth, truth, mask) == best | {f"{name}_foreground": value for name, value in best.items()}


@pytest.mark.parametrize("mask_per_timepoint", [False, True])
def test_timepoints_are_averaged(mask_per_timepoint):
    predictions, truths, masks = map(np.stack, zip(*(phantom((20, 18, 16), seed) for seed in range(3)), strict=True))
    masks[1, 8:10] = False
    mask = masks if mask_per_timepoint else masks[0]
    result = image_quality(predictions, truths, mask)
    each_mask = np.broadcast_to(mask, masks.shape)
    single = [image_quality(*images) for images in zip(predictions, truths, each_mask, strict=True)]
    assert result == pytest.approx({name: np.mean([each[name] for each in single]) for name in result})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"foreground": np.zeros((12, 12, 12))}, "foreground is empty"),
        ({"prediction": np.zeros((12, 12, 13))}, r"prediction has shape \(12, 12, 13\) but the truth"),
        ({"prediction": np.full((12, 12, 12), np.nan)}, "prediction has NaN"),
        ({"truth": np.full((12, 12, 12), np.inf)}, "truth has NaN or infinite"),
        (dict.fromkeys(["prediction", "truth", "foreground"], np.ones((10, 13, 11))), "the SSIM window of 11 voxels"),
    ],
)
def test_refuses_wrong_input(wrong, message):
    arguments = {name: np.ones((12, 12, 12)) for name in ("prediction", "truth", "foreground")}
    with pytest.raises(ValueError, match=message):
        image_quality(**(arguments | wrong))


def test_gives_plain_tensors_of_what_a_network_made():
    made = MetaTensor(torch.rand(3, 4, 5, 6, requires_grad=True)).bfloat16()
    tensors = check_volume_pair(made, np.flip(np.ones((3, 4, 5, 6))), made > 0)
    assert [type(tensor) for tensor in tensors] == [torch.Tensor] * 3
    assert not any(tensor.requires_grad for tensor in tensors)
