# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""A subject in DICOM: loaded, turned and cropped, inverted, and saved as NIfTI on the grid of its series."""

from __future__ import annotations

import numpy as np
import pytest
from dicom_writer import write_classic
from monai.data import DataLoader, Dataset, decollate_batch
from monai.transforms import Compose, CropForegroundd, EnsureTyped, Invertd, Orientationd, SpatialPadd

from seq2seq_mri.io.load import LoadImageSequencesd
from seq2seq_mri.io.nifti import read_volume
from seq2seq_mri.io.save import SaveImageSequencesd
from seq2seq_mri.transforms.wash_maps import AddWashMapsd, wash_maps

TABLE = {"t1": 1, "dce": 4, "dwi": 3, "wash_in": 1, "wash_out": 1}
TIMES = {"dce": [0, 90, 180, 270]}
B_VALUES = {"dwi": [0, 150, 800]}


@pytest.fixture
def subject(tmp_path, affine) -> dict:
    """A DCE in a folder for each frame, given out of order, and a DWI with a frame too many."""
    rng = np.random.default_rng(0)
    dce, dwi = (rng.integers(100, 3000, (4, 7, 6, 5)).astype(np.float32) for _ in range(2))
    write_classic(tmp_path / "dce", dce, affine, times=[0, 88, 181, 270.5], folder_for_each_frame=True)
    write_classic(tmp_path / "dwi", dwi, affine, b_values=[0, 150, 400, 800])
    frames = sorted((path for path in (tmp_path / "dce").iterdir() if path.is_dir()), reverse=True)
    assert len(frames) == 4
    return {
        "subject": "p1",
        "dce": [str(path) for path in frames],
        "dwi": str(tmp_path / "dwi"),
        "expected": {"dce": dce, "dwi": dwi[[0, 1, 3]]},
    }


def test_there_and_back(subject, affine, tmp_path) -> None:
    expected = subject.pop("expected")
    preprocessing = Compose(
        [
            LoadImageSequencesd(TABLE, times=TIMES, b_values=B_VALUES),
            AddWashMapsd(TABLE, "dce"),
            Orientationd(keys="image", axcodes="RAS", labels=None),
            CropForegroundd(keys="image", source_key="image", start_coord_key=None, end_coord_key=None),
            SpatialPadd(keys="image", spatial_size=[9, 8, 7]),
        ]
    )
    (sample,) = decollate_batch(next(iter(DataLoader(Dataset([subject], preprocessing), batch_size=1))))
    assert sample["available"].tolist() == [False, True, True, True, True]
    sample["pred"] = sample["image"].as_tensor()
    postprocessing = Compose(
        [
            EnsureTyped(keys="pred", track_meta=True),
            Invertd(keys="pred", transform=preprocessing, orig_keys="image", nearest_interp=False),
            SaveImageSequencesd("pred", TABLE, tmp_path / "out", times=TIMES, b_values=B_VALUES),
        ]
    )
    postprocessing(sample)
    # What was not brought back to the grid of the folder is not saved.
    with pytest.raises(ValueError, match=r"p1_t1\.nii\.gz: shape \(9, 8, 7\) is not that of .*, \(7, 6, 5\)"):
        SaveImageSequencesd("pred", TABLE, tmp_path / "other")(sample)
    saved = {
        name: read_volume(tmp_path / "out" / "p1" / f"p1_{name}.nii.gz", "p1", allow_constant=True) for name in TABLE
    }
    for volume in saved.values():
        np.testing.assert_allclose(volume.affine, affine, atol=1e-5)
    np.testing.assert_allclose(saved["dce"].voxels, expected["dce"], rtol=1e-6)
    np.testing.assert_allclose(saved["dwi"].voxels, expected["dwi"], rtol=1e-6)
    np.testing.assert_allclose(saved["wash_in"].voxels[0], wash_maps(expected["dce"])[0], rtol=1e-6)
    assert saved["dce"].times == (0, 90, 180, 270)
    assert saved["dwi"].b_values == (0, 150, 800)


def test_other_times_than_the_table(tmp_path, affine) -> None:
    series = np.random.default_rng(1).integers(100, 3000, (5, 7, 6, 5)).astype(np.float32)
    write_classic(tmp_path / "long", series, affine, times=[0, 70, 140, 210, 280])
    given = {"subject": "p1", "dce": str(tmp_path / "long")}
    with pytest.raises(ValueError, match=r"at 0, 70, 140, 210, 280 s.*resample_time: true.*headers of its DICOM files"):
        LoadImageSequencesd(TABLE, times=TIMES)(given)
    image = LoadImageSequencesd(TABLE, times=TIMES, resample_time=True)(given)["image"].numpy()
    np.testing.assert_allclose(image[2], series[1] * 5 / 7 + series[2] * 2 / 7, rtol=1e-5)


def test_dwi_without_b_values(tmp_path, affine) -> None:
    series = np.random.default_rng(1).integers(100, 3000, (3, 7, 6, 5)).astype(np.float32)
    write_classic(tmp_path / "dwi", series, affine, times=[0, 10, 20])
    with pytest.raises(ValueError, match=r"'p1'.*dwi has no b-values.*correct the b-values in the headers") as caught:
        LoadImageSequencesd(TABLE, b_values=B_VALUES)({"subject": "p1", "dwi": str(tmp_path / "dwi")})
    assert str(tmp_path / "dwi") in str(caught.value)
