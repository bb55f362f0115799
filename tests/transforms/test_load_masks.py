# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The masks of what only one sequence shows."""

from __future__ import annotations

import numpy as np
import pytest
from monai.transforms import Compose, CropForegroundd, Orientationd

from seq2seq_mri.transforms.load import LoadImageSequencesd
from seq2seq_mri.transforms.load_masks import LoadUniqueMasksd

TABLE = {"t1": 1, "t1gd": 1}
LOAD = [LoadImageSequencesd(TABLE), LoadUniqueMasksd(TABLE)]


def test_masks_follow_the_image(write_volume, oblique_affine) -> None:
    mask = np.zeros((9, 8, 7))
    mask[3, 4, 2] = 1
    image = mask * 500
    image[1:8, 2:7, 1:5] += 1
    subject = {
        "subject": "p1",
        "t1": write_volume("t1.nii.gz", image, oblique_affine),
        "unique": {"t1gd": write_volume("mask.nii.gz", mask, oblique_affine)},
    }
    keys = ["image", "unique_masks"]
    spatial = [
        Orientationd(keys, axcodes="RAS", labels=None, allow_missing_keys=True),
        CropForegroundd(keys, source_key="image", start_coord_key=None, end_coord_key=None, allow_missing_keys=True),
    ]
    sample = Compose([*LOAD, *spatial])(subject)
    assert sample["unique_masks"].shape == (2, 7, 5, 4)
    assert not sample["unique_masks"][0].any()
    # The brightest voxel of the image is the one that the mask marks, whatever was turned and cropped.
    assert np.argmax(sample["image"][0]) == np.argmax(sample["unique_masks"][1])
    assert sample["unique_masks"].sum() == 1


def test_without_masks_nothing_is_added(write_volume) -> None:
    sample = Compose(LOAD)({"subject": "p1", "t1": write_volume("t1.nii.gz")})
    assert "unique_masks" not in sample


def test_refuses(write_volume, tmp_path, oblique_affine) -> None:
    subject = {"subject": "p1", "t1": write_volume("t1.nii.gz")}
    other = write_volume("mask.nii.gz", np.ones((9, 8, 7)), oblique_affine)
    with pytest.raises(ValueError, match=r"'p1': .*mask\.nii\.gz is on another grid"):
        LOAD[1](LOAD[0](subject | {"unique": {"t1gd": other}}))
    with pytest.raises(FileNotFoundError, match="p1"):
        LOAD[1](LOAD[0](subject | {"unique": {"t1gd": str(tmp_path / "none.nii.gz")}}))
