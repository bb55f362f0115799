# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Reading a file; what can be wrong with one is tested with the subjects that are loaded."""

from __future__ import annotations

import gzip

import nibabel
import numpy as np
import pytest

from seq2seq_mri.io.read_nifti import read_volume


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_values_are_scaled_as_the_header_says(tmp_path, ending, kind) -> None:
    voxels = np.random.default_rng(0).integers(-5, 900, (5, 6, 7, 2)).astype(np.int16)
    image = kind(voxels, np.diag([1.0, 2.0, 3.0, 1.0]))
    image.header.set_slope_inter(0.5, 3)
    path = tmp_path / f"image{ending}"
    nibabel.save(image, path)
    volume = read_volume(path, "p1")
    expected = np.moveaxis(nibabel.load(path).get_fdata(), -1, 0)
    assert volume.voxels.dtype == np.float32
    np.testing.assert_allclose(volume.voxels, expected, rtol=1e-6)
    assert expected.max() != voxels.max()
    np.testing.assert_array_equal(volume.affine, np.diag([1.0, 2.0, 3.0, 1.0]))


def test_a_file_is_decompressed_once(write_volume, monkeypatch) -> None:
    path = write_volume("t1.nii.gz", shape=(40, 40, 40))
    sizes: list[int] = []

    def counted(function):
        def call(*arguments, **options):
            data = function(*arguments, **options)
            sizes.append(len(data))
            return data

        return call

    monkeypatch.setattr(gzip, "decompress", counted(gzip.decompress))
    monkeypatch.setattr(gzip._GzipReader, "read", counted(gzip._GzipReader.read))
    volume = read_volume(path, "p1")
    assert volume.voxels.nbytes <= sum(sizes) < 1.2 * volume.voxels.nbytes
