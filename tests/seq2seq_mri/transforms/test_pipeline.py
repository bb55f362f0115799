# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""MONAI's spatial transforms on our samples, there and back."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch
from monai.transforms import Compose, CropForegroundd, EnsureTyped, Invertd, Orientationd, SpatialPadd

from seq2seq_mri.io.load import LoadImageSequencesd
from seq2seq_mri.io.save import save_volume
from seq2seq_mri.transforms.intensity import NormalizeSequencesd


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR"])
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
            LoadImageSequencesd({"t1": 1}),
            Orientationd(keys="image", axcodes="RAS", labels=None),
            CropForegroundd(keys="image", source_key="image", start_coord_key=None, end_coord_key=None),
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
    # Invertd passes over a plain tensor with no more than a warning.
    tracked = EnsureTyped(keys="pred", track_meta=True)(sample | {"pred": pred})
    back = Invertd(keys="pred", transform=preprocessing, orig_keys="image", nearest_interp=False)(tracked)["pred"]

    assert back.shape == (4, *source.shape)
    np.testing.assert_allclose(back.affine, source.affine, atol=1e-5)
    inside = source.get_fdata() > 0
    expected = source.affine[:3, :3] @ np.argwhere(inside).T + source.affine[:3, 3:]
    np.testing.assert_allclose(back[:3].numpy()[:, inside], expected, atol=1e-3)
    assert not back.numpy()[:, ~inside].any()

    save_volume(tmp_path / "saved.nii.gz", back[3], path)
    saved = nibabel.load(tmp_path / "saved.nii.gz")
    assert nibabel.aff2axcodes(saved.affine) == tuple(axes)
    bound = 1.5 * np.percentile(source.get_fdata()[inside], 99)
    np.testing.assert_allclose(saved.get_fdata(), np.clip(source.get_fdata() / bound, 0, 1), rtol=1e-5)
