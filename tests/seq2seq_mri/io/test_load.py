# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""LoadImageSequencesd: what it makes of good subjects, and what it says of bad ones."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import EnsureChannelFirstd, LoadImaged

from seq2seq_mri.io.load import LoadImageSequencesd

BRATS = {"t1": 1, "t1gd": 1, "t2": 1, "flair": 1}
TWO = {"t1": 1, "t2": 1}


def voxels_of(path: str) -> np.ndarray:
    return nibabel.load(path).get_fdata(dtype=np.float32)


def test_stacks_sequences_in_the_order_of_the_table(write_volume, oblique_affine) -> None:
    files = {name: write_volume(f"{name}.nii.gz", affine=oblique_affine, seed=i) for i, name in enumerate(BRATS)}
    subject = {"flair": files["flair"], "t1gd": files["t1gd"], "t1": files["t1"], "subject": "p1", "age": 61}
    subject["unique"] = {"t1gd": "mask.nii.gz"}
    sample = LoadImageSequencesd(BRATS)(subject)

    image = sample["image"]
    assert isinstance(image, MetaTensor)
    assert image.dtype == torch.float32
    for channel, name in enumerate(BRATS):
        expected = voxels_of(files[name]) if name != "t2" else np.zeros((9, 8, 7))
        np.testing.assert_array_equal(image[channel].numpy(), expected)
    np.testing.assert_allclose(image.affine, oblique_affine, atol=1e-6)
    assert image.meta["filename_or_obj"] == files["t1"]
    assert image.meta["original_channel_dim"] == 0
    assert sample["available"].tolist() == [True, True, False, True]
    assert sample["measured"].tolist() == [True, True, False, True]
    assert set(sample) == {"image", "available", "measured", "withheld", "subject", "unique", "age"}
    assert sample["unique"] == {"t1gd": "mask.nii.gz"}


def test_is_no_load_imaged_and_channel_first_leaves_it(write_volume) -> None:
    load = LoadImageSequencesd(TWO)
    assert not isinstance(load, LoadImaged)
    assert "LoadImage" in type(load).__name__
    sample = load({"subject": "p1", "t1": write_volume("a.nii.gz")})
    again = EnsureChannelFirstd(keys="image")(dict(sample))
    assert torch.equal(again["image"], sample["image"])


@pytest.mark.parametrize("load_withheld", [False, True])
def test_withheld_sequences_are_measured_but_never_available(write_volume, load_withheld) -> None:
    subject = {"subject": "p1", "t2": write_volume("t2.nii.gz"), "withheld": {"t1": write_volume("t1.nii.gz", seed=1)}}
    sample = LoadImageSequencesd(TWO, load_withheld=load_withheld)(subject)
    assert sample["available"].tolist() == [False, True]
    assert sample["measured"].tolist() == [load_withheld, True]
    assert bool(sample["image"][0].any()) == load_withheld
    assert sample["image"].meta["filename_or_obj"] == subject["t2"]
    assert sample["withheld"].tolist() == [True, False]


@pytest.mark.parametrize("form", ["one 4D file", "3D files", "vector file"])
def test_timepoints_become_channels(write_volume, form) -> None:
    series = np.random.default_rng(0).uniform(1, 9, (5, 4, 3, 3)).astype(np.float32)
    if form == "3D files":
        dce = [write_volume(f"{t}.nii.gz", series[..., t]) for t in range(3)]
    else:
        dce = write_volume("dce.nii.gz", series if form == "one 4D file" else series[:, :, :, None])
    sample = LoadImageSequencesd({"t1": 1, "dce": 3})({"subject": "p1", "dce": dce})
    np.testing.assert_array_equal(sample["image"][1:].numpy(), np.moveaxis(series, -1, 0))
    assert sample["available"].tolist() == [False, True]


def test_another_orientation_of_the_same_grid_is_reoriented(write_volume, oblique_affine) -> None:
    first = write_volume("t1.nii.gz", affine=oblique_affine, seed=1)
    plain = nibabel.load(write_volume("t2.nii.gz", affine=oblique_affine, seed=2))
    target = nibabel.orientations.axcodes2ornt("SAR")
    turn = nibabel.orientations.ornt_transform(nibabel.io_orientation(plain.affine), target)
    turned = plain.as_reoriented(turn)
    second = write_volume("t2_turned.nii.gz", turned.get_fdata(), turned.affine)
    assert turned.shape != plain.shape
    sample = LoadImageSequencesd(TWO)({"t1": first, "t2": second})
    np.testing.assert_array_equal(sample["image"][1].numpy(), plain.get_fdata())
    np.testing.assert_allclose(sample["image"].affine, oblique_affine, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "shift", "difference"),
    [((9, 8, 6), 0, r"shapes \(9, 8, 7\) and \(9, 8, 6\)"), ((9, 8, 7), 0.5, "corner 0.5 mm apart")],
)
def test_grids_that_differ_are_an_error_that_names_both_files(write_volume, shape, shift, difference) -> None:
    moved = np.eye(4)
    moved[0, 3] = shift
    first, second = write_volume("t1.nii.gz"), write_volume("t2.nii.gz", affine=moved, shape=shape)
    with pytest.raises(ValueError, match=difference) as caught:
        LoadImageSequencesd(TWO)({"subject": "p1", "t1": first, "t2": second})
    for part in ("'p1'", first, second, "resample: true"):
        assert part in str(caught.value)


def test_resample_puts_a_linear_ramp_at_its_world_positions(write_volume, oblique_affine) -> None:
    """A ramp is linear, so linear interpolation between any two grids is exact inside of both."""

    def ramp(affine, shape):
        index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
        world = index @ affine[:3, :3].T + affine[:3, 3]
        return 500 + world @ np.array([1.0, 2.0, 3.0])

    fine = oblique_affine.copy()
    fine[:3, :3] /= 2
    first = write_volume("t1.nii.gz", ramp(fine, (9, 8, 7)), fine)
    second = write_volume("t2.nii.gz", ramp(oblique_affine, (9, 8, 7)), oblique_affine)
    image = LoadImageSequencesd(TWO, resample=True)({"t1": first, "t2": second})["image"]
    np.testing.assert_allclose(image[1].numpy(), image[0].numpy(), rtol=1e-5)


def test_rounding_of_the_affine_is_no_difference(write_volume) -> None:
    moved = np.eye(4)
    moved[0, 3] = 1e-3
    subject = {"t1": write_volume("t1.nii.gz"), "t2": write_volume("t2.nii.gz", affine=moved)}
    assert LoadImageSequencesd(TWO)(subject)["image"].shape == (2, 9, 8, 7)


def test_resample_needs_overlap(write_volume) -> None:
    far = np.eye(4)
    far[:3, 3] = 1000
    subject = {"subject": "p1", "t1": write_volume("t1.nii.gz"), "t2": write_volume("t2.nii.gz", affine=far)}
    with pytest.raises(ValueError, match=r"Subject 'p1'.*do not overlap"):
        LoadImageSequencesd(TWO, resample=True)(subject)


@pytest.mark.parametrize("form", ["mapping", "list", "folder", "one 4D file"])
def test_hosts_give_the_image_in_other_forms(write_volume, tmp_path, form) -> None:
    """MONAI Label and Deploy put a path under "image", and Label adds keys such as "image_path"."""
    table = {"t1": 1, "fat_t1": 1, "t2": 1}
    (tmp_path / "p1").mkdir()
    first, second = write_volume("p1/p1_T1.nii.gz", seed=1), write_volume("p1/p1_fat_t1.nii.gz", seed=2)
    stacked = np.stack([voxels_of(first), voxels_of(second), np.zeros((9, 8, 7))], -1)
    image = {
        "mapping": {"t1": first, "fat_t1": second},
        "list": [first, second, None],
        "folder": str(tmp_path / "p1"),
        "one 4D file": write_volume("p1.nii.gz", stacked),
    }[form]
    sample = LoadImageSequencesd(table)({"image": image, "image_path": "p1.nii.gz"})
    np.testing.assert_array_equal(sample["image"].numpy(), np.moveaxis(stacked, -1, 0))
    assert sample["available"].tolist() == [True, True, False]
    if form in ("folder", "one 4D file"):
        assert sample["subject"] == "p1"


def damaged(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("t2.nii.gz", lambda content: content[: len(content) // 2], "corrupt or truncated"),
        ("t2.nii", lambda content: content[: len(content) // 2], "corrupt or truncated"),
        ("t2.nii.gz", damaged, "corrupt"),
        ("t2.nii.gz", lambda content: b"", "not a NIfTI file"),
        ("t2.nii.gz", lambda content: gzip.compress(b"no image"), "not a NIfTI file"),
        ("t2.nii.gz", None, "does not exist"),
    ],
)
def test_unreadable_files(write_volume, name, spoil, message) -> None:
    path = Path(write_volume(name, shape=(20, 20, 20)))
    path.write_bytes(spoil(path.read_bytes())) if spoil else path.unlink()
    with pytest.raises(ValueError if spoil else FileNotFoundError, match=message) as caught:
        LoadImageSequencesd(TWO)({"subject": "p1", "t1": write_volume("t1.nii.gz"), "t2": str(path)})
    assert str(caught.value).startswith(f"Subject 'p1': {path} ")


@pytest.mark.parametrize(
    ("voxels", "message"),
    [
        (np.arange(16.0).reshape(4, 4), r"is 2D, of shape \(4, 4\)"),
        (np.arange(64.0).reshape(2, 2, 4, 2, 2), "a 3D volume or a 4D series is expected"),
        (np.r_[np.nan, np.inf, np.arange(62.0)].reshape(4, 4, 4), "2 voxels that are NaN or infinite"),
        (np.zeros((4, 4, 4)), "is all zero"),
        (np.full((4, 4, 4), 3.0), r"is constant \(3 everywhere\)"),
        (np.arange(64.0).reshape(4, 4, 4, 1) * [1, 0], "timepoint 1, is all zero"),
        (np.arange(128.0).reshape(4, 4, 4, 2), "has 2 timepoints where sequence 't2' has 1"),
        (np.zeros((3, 3, 3), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")]), "not grey values"),
    ],
)
def test_unusable_voxels(write_volume, voxels, message) -> None:
    path = write_volume("t2.nii.gz", voxels, dtype=voxels.dtype)
    with pytest.raises(ValueError, match=message) as caught:
        LoadImageSequencesd(TWO)({"subject": "p1", "t2": path})
    assert str(caught.value).startswith(f"Subject 'p1': {path}")


def test_not_a_nifti_but_another_image(tmp_path) -> None:
    path = tmp_path / "t1.mgz"
    nibabel.save(nibabel.MGHImage(np.ones((3, 3, 3), dtype=np.float32), np.eye(4)), path)
    with pytest.raises(ValueError, match=r"t1\.mgz is not a NIfTI file"):
        LoadImageSequencesd(TWO)({"subject": "p1", "t1": str(path)})


@pytest.mark.parametrize(
    ("subject", "message"),
    [
        ({}, "no available sequence"),
        ({"t1": None, "t2": ""}, "no available sequence"),
        ({"withheld": {"t1": "a.nii.gz"}}, "no available sequence"),
        ({"t1ce": "a.nii.gz"}, "unknown sequence 't1ce'"),
        ({"t1": 3}, "sequence 't1' is 3"),
        ({"image": ["a.nii.gz"]}, "lists 1 files"),
        ({"image": {"pd": "a.nii.gz"}}, "unknown sequence 'pd'"),
        ({"t1": "t1.nii.gz", "withheld": {"t1": "b.nii.gz"}}, "'t1' is both available and withheld"),
        ({"t1": "t1.nii.gz", "withheld": {"pd": "b.nii.gz"}}, "unknown sequence 'pd'"),
        ({"t1": "t1.nii.gz", "unique": {"pd": "b.nii.gz"}}, "'unique': Unknown sequence 'pd'"),
    ],
)
def test_unusable_subjects(write_volume, tmp_path, monkeypatch, subject, message) -> None:
    write_volume("t1.nii.gz")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"Subject 'p1'.*{message}"):
        LoadImageSequencesd(TWO, load_withheld=True)({"subject": "p1", **subject})


def test_other_keys_are_passed_on(write_volume) -> None:
    others = {"lesion": "lesion.nii.gz", "patient": "a.nii.gz", "label": {"pcr": 1}, "atlas": "atlas.nii.gz"}
    subject = {"t1": write_volume("a.nii.gz"), **others}
    sample = LoadImageSequencesd(TWO, other_keys=["atlas"])(subject)
    assert {key: sample[key] for key in others} == others
    with pytest.raises(ValueError, match="unknown sequence 'atlas'"):
        LoadImageSequencesd(TWO)(subject)


def test_names_of_files_in_a_folder(write_volume, tmp_path) -> None:
    """Masks are no sequences, and two files of one sequence are one too many."""
    (tmp_path / "p1").mkdir()
    for name in ("p1-t1", "p1-unique-t1", "p1-unique-t2", "p1-lesion"):
        write_volume(f"p1/{name}.nii.gz")
    assert LoadImageSequencesd(TWO)({"image": str(tmp_path / "p1")})["available"].tolist() == [True, False]
    write_volume("p1/b_t1.nii.gz")
    with pytest.raises(ValueError, match="look like sequence 't1'"):
        LoadImageSequencesd(TWO)({"image": str(tmp_path / "p1")})


@pytest.mark.real_data
def test_real_patient_as_scanned(shared_data) -> None:
    folder = shared_data / "data" / "brain_raw" / "patient01"
    subject = {"t1": str(folder / "patient01_study1_T1W.nii.gz"), "t2": str(folder / "patient01_study1_T2W.nii.gz")}
    with pytest.raises(ValueError, match="lie on different grids"):
        LoadImageSequencesd(TWO)(subject)
    image = LoadImageSequencesd(TWO, resample=True)(subject)["image"]
    assert image.shape[1:] == nibabel.load(subject["t1"]).shape
    # Two contrasts of one head, each at its place in space, share their outline.
    inside = [sequence > sequence.mean() for sequence in image.as_tensor()]
    assert float((inside[0] & inside[1]).sum() / (inside[0] | inside[1]).sum()) > 0.5


@pytest.mark.real_data
def test_real_series_of_one_slice(shared_data) -> None:
    path = shared_data / "data" / "breast_dce" / "dce.nii.gz"
    sample = LoadImageSequencesd({"dce": 25})({"subject": "b", "dce": str(path)})
    assert sample["image"].shape == (25, 192, 192, 1)
