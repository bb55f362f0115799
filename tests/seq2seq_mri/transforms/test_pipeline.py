# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""MONAI's spatial transforms on our samples, there and back."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, decollate_batch
from monai.transforms import (
    Compose,
    CropForegroundd,
    EnsureChannelFirstd,
    EnsureTyped,
    Invertd,
    Orientationd,
    SpatialPadd,
)

from seq2seq_mri.io.load import LoadImageSequencesd
from seq2seq_mri.io.save import save_volume
from seq2seq_mri.transforms.intensity import NormalizeSequencesd
from seq2seq_mri.transforms.wash_maps import AddWashMapsd

BRATS = {"t1": 1, "t1gd": 1, "t2": 1, "flair": 1}
REAL_PATIENTS = ["BraTS-MET-00110-000", "TCGA-DU-7294", "patient07", "patient19"]


def to_ras_and_crop(sequences) -> list:
    return [
        LoadImageSequencesd(sequences),
        EnsureChannelFirstd(keys="image"),
        Orientationd(keys="image", axcodes="RAS", labels=None),
        CropForegroundd(keys="image", source_key="image", start_coord_key=None, end_coord_key=None),
    ]


def invert(preprocessing: Compose, sample: dict, pred: torch.Tensor) -> torch.Tensor:
    # Invertd passes over a plain tensor with no more than a warning.
    tracked = EnsureTyped(keys="pred", track_meta=True)(sample | {"pred": pred})
    return Invertd(keys="pred", transform=preprocessing, orig_keys="image", nearest_interp=False)(tracked)["pred"]


@pytest.mark.parametrize("axes", ["RAS", "LPS", "LAS", "PIR"])
def test_inverse_puts_values_back_at_their_world_positions(write_volume, tmp_path, oblique_affine, axes) -> None:
    """Of an asymmetric, anisotropic, oblique phantom every voxel gets its own value and its own place in space."""
    lps = nibabel.load(write_volume("lps.nii.gz", affine=oblique_affine))
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(oblique_affine), nibabel.orientations.axcodes2ornt(axes)
    )
    source = lps.as_reoriented(turn)
    path = write_volume("source.nii.gz", source.get_fdata(), source.affine)
    preprocessing = Compose(
        [
            *to_ras_and_crop({"t1": 1}),
            SpatialPadd(keys="image", spatial_size=[16, 5, 8]),
            NormalizeSequencesd({"t1": 1}),
        ]
    )
    sample = preprocessing({"subject": "p1", "t1": path})
    image = sample["image"]
    # write_volume frames its noise with 1+1, 2+1 and 1+2 planes of zeros.
    assert image.shape == (1, 16, 5, 8)
    assert np.ptp(np.argwhere(image[0].numpy()), axis=0).tolist() == [6, 4, 3]
    assert nibabel.aff2axcodes(image.affine.numpy()) == ("R", "A", "S")

    # World coordinates of each voxel of the network's grid, as three "synthesised" channels and the image itself.
    index = torch.stack(torch.meshgrid(*map(torch.arange, image.shape[1:]), indexing="ij")).double()
    world = torch.einsum("ij,jxyz->ixyz", image.affine[:3, :3], index) + image.affine[:3, 3].reshape(3, 1, 1, 1)
    pred = torch.cat([world.float() * (image > 0).as_tensor(), image.as_tensor()])
    back = invert(preprocessing, sample, pred)

    assert back.shape == (4, *source.shape)
    np.testing.assert_allclose(back.affine, source.affine, atol=1e-5)
    inside = source.get_fdata() > 0
    np.testing.assert_allclose(
        np.stack([channel.numpy()[inside] for channel in back[:3]]),
        source.affine[:3, :3] @ np.argwhere(inside).T + source.affine[:3, 3:],
        atol=1e-3,
    )
    assert not back.numpy()[:, ~inside].any()

    save_volume(tmp_path / "saved.nii.gz", back[3], path)
    saved = nibabel.load(tmp_path / "saved.nii.gz")
    assert nibabel.aff2axcodes(saved.affine) == tuple(axes)
    bound = 1.5 * np.percentile(source.get_fdata()[inside], 99)
    np.testing.assert_allclose(saved.get_fdata(), np.clip(source.get_fdata() / bound, 0, 1), rtol=1e-5)


@pytest.mark.real_data
@pytest.mark.parametrize("name", REAL_PATIENTS)
def test_inverse_of_real_patients(real_subject, tmp_path, name) -> None:
    subject = real_subject(name)
    preprocessing = Compose([*to_ras_and_crop(BRATS), SpatialPadd(keys="image", spatial_size=[160, 192, 128])])
    sample = preprocessing(subject)
    assert sample["available"].all()
    assert nibabel.aff2axcodes(sample["image"].affine.numpy()) == ("R", "A", "S")
    back = invert(preprocessing, sample, sample["image"].as_tensor()[[3, 0]])
    for channel, sequence in enumerate(["flair", "t1"]):
        source = nibabel.load(subject[sequence])
        # Negative values outside of the foreground's box are background.
        np.testing.assert_array_equal(back[channel].clamp(min=0).numpy(), source.get_fdata().clip(min=0))
        np.testing.assert_array_equal(back.affine, source.affine)
    path = tmp_path / "saved.nii"
    save_volume(path, back[1], sample["image"].meta["filename_or_obj"])
    saved, source = nibabel.load(path), nibabel.load(subject["t1"])
    np.testing.assert_array_equal(saved.affine, source.affine)
    for field in ("qform_code", "sform_code", "xyzt_units"):
        np.testing.assert_array_equal(saved.header[field], source.header[field])
    assert saved.header.get_zooms() == source.header.get_zooms()


def test_background_around_a_volume_changes_nothing(write_volume) -> None:
    """Crop to the foreground and padding to one size: what a network sees does not depend on the scanner's matrix."""
    source = nibabel.load(write_volume("t1.nii.gz"))
    affine = source.affine @ nibabel.affines.from_matvec(np.eye(3), [-3, 0, -6])
    voxels = np.pad(source.get_fdata(), [(3, 4), (0, 1), (6, 7)])
    table = {"t1": 1}
    transforms = Compose(
        [*to_ras_and_crop(table), NormalizeSequencesd(table), SpatialPadd(keys="image", spatial_size=[16, 12, -1])]
    )
    image = transforms({"t1": source.get_filename()})["image"]
    more = transforms({"t1": write_volume("more.nii.gz", voxels, affine)})["image"]
    assert torch.equal(image.as_tensor(), more.as_tensor())
    np.testing.assert_allclose(image.affine, more.affine, atol=1e-5)


def test_computed_wash_maps_do_not_disturb_the_inverse(write_volume) -> None:
    table = {"dce": 4, "wash_in": 1}
    series = np.random.default_rng(1).uniform(50, 200, (5, 4, 3, 4)).astype(np.float32)
    preprocessing = Compose(
        [
            LoadImageSequencesd(table),
            AddWashMapsd(table, "dce"),
            Orientationd(keys="image", axcodes="LPS", labels=None),
            SpatialPadd(keys="image", spatial_size=[8, 8, 8]),
            NormalizeSequencesd(table, signed=["wash_in"]),
        ]
    )
    given = {"subject": "p1", "dce": write_volume("dce.nii.gz", series)}
    (sample,) = decollate_batch(next(iter(DataLoader(Dataset([given], preprocessing), batch_size=1))))
    back = invert(preprocessing, sample, sample["image"].as_tensor()[:4])
    bound = 1.5 * np.percentile(series, 99, axis=(0, 1, 2)).max()
    np.testing.assert_allclose(back.numpy(), np.clip(np.moveaxis(series, -1, 0) / bound, 0, 1), rtol=1e-5)
    np.testing.assert_array_equal(back.affine, np.eye(4))
