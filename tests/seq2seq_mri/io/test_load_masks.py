# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The masks of what only one sequence shows, and of the lesion."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch
from monai.transforms import Compose, CropForegroundd, Orientationd

from seq2seq_mri.io.load import LoadImageSequencesd
from seq2seq_mri.io.load_masks import LoadLesionMaskd, LoadUniqueMasksd

TABLE = {"t1": 1, "t1gd": 1}
LOAD = [LoadImageSequencesd(TABLE), LoadUniqueMasksd(TABLE)]


def test_masks_follow_the_image(write_volume, oblique_affine) -> None:
    mask = np.zeros((9, 8, 7))
    mask[3, 4, 2] = 3  # any value other than 0
    image = (mask > 0) * 500.0
    image[1:8, 2:7, 1:5] += 1
    # The mask's file is stored in another orientation.
    turned = nibabel.Nifti1Image(mask.astype(np.uint8), oblique_affine).as_reoriented(
        np.array([[2, -1], [0, 1], [1, -1]])
    )
    path = write_volume("mask.nii.gz", turned.dataobj, turned.affine, dtype=np.uint8)
    subject = {"subject": "p1", "t1": write_volume("t1.nii.gz", image, oblique_affine)}
    keys = ["image", "unique_masks", "lesion"]
    spatial = [
        Orientationd(keys, axcodes="RAS", labels=None, allow_missing_keys=True),
        CropForegroundd(keys, source_key="image", start_coord_key=None, end_coord_key=None, allow_missing_keys=True),
    ]
    sample = Compose([*LOAD, LoadLesionMaskd(), *spatial])(subject | {"unique": {"t1gd": path}, "lesion": path})
    assert sample["unique_masks"].shape == (2, 7, 5, 4)
    assert not sample["unique_masks"][0].any()
    assert sample["lesion"].shape == (1, 7, 5, 4)
    for found in (sample["unique_masks"][1], sample["lesion"][0]):
        # The brightest voxel of the image is the one that the mask marks, whatever was turned and cropped.
        assert np.argmax(sample["image"][0]) == np.argmax(found)
        assert found.sum() == 1
        assert found.dtype == torch.float32
    torch.testing.assert_close(sample["lesion"].affine, sample["image"].affine)


class TestLesion:
    @pytest.mark.parametrize("entry", [{}, {"lesion": None}])
    def test_without_one_nothing_is_added(self, write_volume, entry) -> None:
        sample = Compose([*LOAD, LoadLesionMaskd()])({"subject": "p1", "t1": write_volume("t1.nii.gz")} | entry)
        assert sample.keys().isdisjoint({"lesion", "unique_masks"})

    def test_an_empty_mask_stays_empty(self, write_volume) -> None:
        path = write_volume("lesion.nii.gz", np.zeros((9, 8, 7)))
        for resample in (False, True):
            load = Compose([LOAD[0], LoadLesionMaskd(resample=resample)])
            sample = load({"subject": "p1", "t1": write_volume("t1.nii.gz"), "lesion": path})
            assert sample["lesion"].shape == (1, 9, 8, 7)
            assert not sample["lesion"].any()

    def test_is_resampled_if_asked(self, write_volume) -> None:
        mask = np.zeros((18, 16, 14))
        mask[4:10, 6:12, 2:8] = 1
        affine = np.diag([0.5, 0.5, 0.5, 1.0])
        affine[:3, 3] = -0.25  # each voxel of the image holds 2 x 2 x 2 of the mask
        subject = {
            "subject": "p1",
            "t1": write_volume("t1.nii.gz"),
            "lesion": write_volume("lesion.nii.gz", mask, affine),
        }
        with pytest.raises(ValueError, match=r"'p1': .*lesion\.nii\.gz lie on different grids: shapes"):
            LoadLesionMaskd()(LOAD[0](subject))
        lesion = Compose([LOAD[0], LoadLesionMaskd(resample=True)])(subject)["lesion"][0]
        expected = np.zeros((9, 8, 7))
        expected[2:5, 3:6, 1:4] = 1
        np.testing.assert_array_equal(lesion, expected)

    def test_refuses(self, write_volume, tmp_path, oblique_affine) -> None:
        subject = LOAD[0]({"subject": "p1", "t1": write_volume("t1.nii.gz")})
        wrong = {
            "lie on different grids: affines": write_volume("other.nii.gz", np.ones((9, 8, 7)), oblique_affine),
            "has 2 timepoints; a mask is a 3D volume": write_volume("series.nii.gz", np.ones((9, 8, 7, 2))),
        }
        for message, path in wrong.items():
            for load, entry in ((LoadLesionMaskd(), path), (LOAD[1], {"t1gd": path})):
                with pytest.raises(ValueError, match=f"'p1': .*{message}"):
                    load(subject | {"lesion": entry, "unique": entry})
        with pytest.raises(FileNotFoundError, match="p1"):
            LoadLesionMaskd()(subject | {"lesion": str(tmp_path / "none.nii.gz")})

    def test_one_that_is_required(self, write_volume) -> None:
        subject = LOAD[0]({"subject": "p1", "t1": write_volume("t1.nii.gz")})
        with pytest.raises(ValueError, match=r"Subject 'p1' has no mask of a lesion; name its file .* under 'lesion'"):
            LoadLesionMaskd(required=True)(subject)
        path = write_volume("lesion.nii.gz", np.zeros((9, 8, 7)))
        with pytest.raises(ValueError, match=r"'p1': .*lesion\.nii\.gz marks no voxel of the image"):
            LoadLesionMaskd(required=True)(subject | {"lesion": path})
