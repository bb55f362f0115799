# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import CenterSpatialCrop, Compose, CropForeground, Orientation, Spacing, SpatialPad

from seq2seq_mri.io.grids import on_source_grid, source_margins
from seq2seq_mri.io.load import LoadImageSequencesd

SHAPE = (14, 11, 9)


@pytest.fixture
def image(tmp_path) -> MetaTensor:
    """Read an image with tissue off its centre, stored as posterior, left, superior in voxels of 2, 1 and 3 mm."""
    voxels = np.zeros(SHAPE, dtype=np.float32)
    voxels[2:9, 3:10, 1:6] = np.random.default_rng(0).uniform(0.1, 1, (7, 7, 5))
    affine = np.array([[0, -1.0, 0, 40], [-2.0, 0, 0, -7], [0, 0, 3.0, 5], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(voxels, affine), tmp_path / "t1.nii.gz")
    return LoadImageSequencesd({"t1": 1})({"subject": "p1", "t1": str(tmp_path / "t1.nii.gz")})["image"]


def ras(image: MetaTensor) -> MetaTensor:
    return Orientation(axcodes="RAS", labels=None)(image)


@pytest.mark.parametrize(
    "steps",
    [
        [],
        [CropForeground(allow_smaller=True)],
        [CropForeground(allow_smaller=True), SpatialPad((9, 12, -1))],
        [CropForeground(allow_smaller=True), SpatialPad((30, 31, 32))],
        [SpatialPad((13, 20, 9)), CropForeground(allow_smaller=True), SpatialPad((8, 8, 8))],
    ],
)
def test_crops_and_pads_lead_back_to_the_file(image, steps) -> None:
    expected = ras(image).as_tensor()
    changed = Compose(steps)(ras(image))
    assert torch.equal(on_source_grid(changed.as_tensor(), source_margins(changed)), expected)


def test_what_a_crop_cut_away_becomes_background(image) -> None:
    expected = ras(image).as_tensor()
    changed = CenterSpatialCrop((5, 6, 3))(ras(image))
    expected[:, :3] = expected[:, 8:] = expected[:, :, :4] = expected[:, :, 10:] = 0
    expected[..., :3] = expected[..., 6:] = 0
    assert torch.equal(on_source_grid(changed.as_tensor(), source_margins(changed)), expected)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 2.0, 2.0), (0.7, 1.9, 2.3)])
def test_a_resampled_image_has_the_voxels_in_the_field_of_view(image, spacing) -> None:
    resampled = Spacing(spacing)(ras(image))
    padded = SpatialPad((40, 60, 50))(CropForeground(allow_smaller=True)(resampled))
    found = on_source_grid(padded.as_tensor(), source_margins(padded))
    for size, step, extent in zip(found.shape[1:], spacing, (11.0, 28.0, 27.0), strict=True):
        assert abs(size - extent / step) <= 1.0 + 1e-6
    again = on_source_grid(resampled.as_tensor(), source_margins(resampled))
    assert torch.equal(found, again)


def test_an_image_without_a_file_is_its_own_grid() -> None:
    for image in (torch.ones(1, 3, 4, 5), MetaTensor(torch.ones(1, 3, 4, 5))):
        assert source_margins(image) == [0] * 6
        assert on_source_grid(image, source_margins(image)) is image
