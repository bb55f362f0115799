# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What the writers of cohorts share: grids and images on disk, and dealing missing sequences."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pytest

from mri_phantom.cohort import check_splits, draw_classes, draw_silenced, write_image
from mri_phantom.grid import fill_volume, grid_affine, grid_points


def test_points_are_those_of_the_affine() -> None:
    shape, spacing = (3, 4, 5), (1.0, 2.0, 3.0)
    indices = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).reshape(3, -1)
    expected = grid_affine(shape, spacing) @ np.vstack([indices, np.ones(indices.shape[1])])
    np.testing.assert_allclose(grid_points(shape, spacing), expected[:3], atol=1e-5)


def test_values_fill_the_points_inside() -> None:
    inside = np.random.default_rng(0).random((3, 4, 5)) > 0.5
    series = np.arange(2 * inside.sum(), dtype=np.int16).reshape(2, -1)
    filled = fill_volume(series, inside)
    assert filled.dtype == np.int16
    np.testing.assert_array_equal(filled[:, inside], series)
    assert not filled[:, ~inside].any()


def test_a_series_is_written_with_its_time_step(tmp_path: Path) -> None:
    series = np.random.default_rng(0).integers(0, 4000, (3, 4, 5, 6)).astype(np.int16)
    affine = grid_affine((4, 5, 6), (1.0, 2.0, 3.0))
    write_image(tmp_path / "a" / "dce.nii.gz", series, affine, time_step=90.0)
    image = nibabel.load(tmp_path / "a" / "dce.nii.gz")
    assert image.get_data_dtype() == np.int16
    assert image.header.get_zooms() == (1.0, 2.0, 3.0, 90.0)
    assert image.header.get_xyzt_units() == ("mm", "sec")
    np.testing.assert_array_equal(np.moveaxis(np.asarray(image.dataobj), -1, 0), series)
    np.testing.assert_allclose(image.affine, affine)
    with pytest.raises(FileExistsError, match=r"dce\.nii\.gz exists"):
        write_image(tmp_path / "a" / "dce.nii.gz", series, affine)
    write_image(tmp_path / "a" / "dce.nii.gz", series[0], affine, overwrite=True)
    image = nibabel.load(tmp_path / "a" / "dce.nii.gz")
    assert image.shape == (4, 5, 6)
    assert image.header.get_xyzt_units() == ("mm", "unknown")


def test_every_set_of_missing_sequences_is_dealt_before_one_comes_again() -> None:
    dealt = draw_silenced(np.random.default_rng(0), "abc", 12, 1, 2)
    assert set(Counter(map(frozenset, dealt)).values()) == {2}
    assert all(1 <= len(names) <= 2 for names in dealt)


def test_classes_are_balanced_in_any_number_of_subjects() -> None:
    longest = draw_classes(np.random.default_rng(0), 41)
    assert set(longest) == {0, 1}
    for count in range(42):
        drawn = draw_classes(np.random.default_rng(0), count)
        assert drawn == longest[:count]
        assert abs(2 * sum(drawn) - count) <= 1
    assert longest != draw_classes(np.random.default_rng(1), 41)
    assert {tuple(longest[first : first + 2]) for first in range(0, 40, 2)} == {(0, 1), (1, 0)}


@pytest.mark.parametrize(
    ("subjects", "splits", "counts"),
    [(None, None, (8, 2, 2)), (12, None, (8, 2, 2)), (1, None, (1, 0, 0)), (6, (3, 2, 1), (3, 2, 1))],
)
def test_splits(subjects: int | None, splits: tuple[int, ...] | None, counts: tuple[int, ...]) -> None:
    assert check_splits(subjects, splits) == counts
