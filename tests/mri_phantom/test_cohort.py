# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What both cohorts share: grids and images on disk, dealing missing sequences, seeds, and refusals."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from mri_phantom.brain import SimulateBrain
from mri_phantom.breast import SimulateBreast
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


@pytest.fixture(params=[SimulateBrain, SimulateBreast])
def simulate(request: pytest.FixtureRequest) -> Callable[..., str]:
    """Simulates a small cohort of each kind in turn."""
    grid = {"shape": (36, 34, 32), "spacing": 5.0}
    # one kind of patient and examination in all cohorts, whatever their size
    alike = {"healthy": 0.0} | (
        {"malignant": 1.0, "mixed": 1.0, "diffusion": 1.0} if request.param is SimulateBreast else {}
    )
    return lambda folder, **options: request.param(folder, **(grid | alike | options))()


def checksums(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_equal_seeds_give_equal_bytes_and_others_do_not(simulate, tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        simulate(tmp_path / name, splits=(0, 0, 1), seed=seed)
    first, second, other = (checksums(tmp_path / name) for name in "abc")
    assert first == second
    assert set(first) == set(other)
    images = [name for name in first if name.endswith(("t1n.nii.gz", "t2f.nii.gz", "t1.nii.gz", "dce.nii.gz"))]
    assert len(images) >= 2
    assert all(first[name] != other[name] for name in images)


def test_a_subject_does_not_depend_on_the_size_of_the_cohort(simulate, tmp_path: Path) -> None:
    for name, count in (("small", 1), ("large", 2)):
        simulate(tmp_path / name, splits=(count, 0, 0), seed=6)
    small, large = checksums(tmp_path / "small"), checksums(tmp_path / "large")
    assert all(large[name] == value for name, value in small.items() if name != "datalist.json")


def test_an_existing_cohort_is_left_alone_unless_overwriting_is_allowed(simulate, tmp_path: Path) -> None:
    simulate(tmp_path, splits=(1, 0, 0))
    before = checksums(tmp_path)
    with pytest.raises(FileExistsError, match=r"datalist\.json exists"):
        simulate(tmp_path, splits=(1, 0, 0), seed=1)
    assert checksums(tmp_path) == before
    (tmp_path / "datalist.json").unlink()
    with pytest.raises(FileExistsError, match="-00000 exists"):
        simulate(tmp_path, splits=(1, 0, 0), seed=1)
    simulate(tmp_path, splits=(1, 0, 0), seed=1, overwrite=True)
    assert checksums(tmp_path) != before
    assert not list(tmp_path.rglob(".*partial*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (96, 112)}, "shape is"),
        ({"shape": (96, 112, 31)}, "at least 32"),
        ({"shape": 64}, "shape is 64"),
        ({"shape": (96.0, 112, 72)}, "shape is"),
        ({"spacing": 0}, "spacing is 0"),
        ({"spacing": (1, 1)}, "spacing is"),
        ({"spacing": "2mm"}, "spacing is '2mm'"),
        ({"subjects": 0}, "subjects is 0"),
        ({"subjects": 5, "splits": (1, 1, 1)}, "add up to 3, not to subjects = 5"),
        ({"splits": (1, 1)}, "splits is"),
        ({"splits": (0, 0, 0)}, "splits is"),
        ({"splits": (3, -1, 1)}, "splits is"),
        ({"noise": float("nan")}, "noise is nan"),
        ({"seed": -1}, "seed is -1; give a whole number from 0"),
        ({"seed": 1.5}, "seed is 1.5"),
    ],
)
def test_bad_arguments_are_named_and_nothing_is_written(
    simulate, tmp_path: Path, arguments: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        simulate(tmp_path / "cohort", **arguments)
    assert not (tmp_path / "cohort").exists()
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match="cannot be written"):
        simulate(tmp_path / "file")
