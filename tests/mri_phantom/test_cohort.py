# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What both cohorts share: grids, dealing missing sequences, seeds, and refusals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from folder_contents import folder_contents

from mri_phantom.brain import SimulateBrain
from mri_phantom.breast import SimulateBreast
from mri_phantom.cohort import check_splits, draw_classes, draw_silenced
from mri_phantom.grid import fill_volume, grid_affine, grid_points

BOTH = (SimulateBrain, SimulateBreast)


def test_points_are_those_of_the_affine_and_are_filled_in_their_order() -> None:
    shape, spacing = (3, 4, 5), (1.0, 2.0, 3.0)
    indices = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).reshape(3, -1)
    expected = grid_affine(shape, spacing) @ np.vstack([indices, np.ones(indices.shape[1])])
    np.testing.assert_allclose(grid_points(shape, spacing), expected[:3], atol=1e-5)

    inside = np.random.default_rng(0).random(shape) > 0.5
    filled = fill_volume(indices[:, inside.ravel()].astype(np.int16), inside)
    assert filled.dtype == np.int16
    np.testing.assert_array_equal(filled, np.where(inside, np.indices(shape), 0))


def test_every_set_of_missing_sequences_is_dealt_before_one_comes_again() -> None:
    dealt = draw_silenced(np.random.default_rng(0), "abc", 12, 1, 2)
    assert set(Counter(map(frozenset, dealt)).values()) == {2}
    assert all(1 <= len(names) <= 2 for names in dealt)


def test_classes_are_balanced_in_any_number_of_subjects() -> None:
    longest = draw_classes(np.random.default_rng(0), 41)
    for count in range(42):
        drawn = draw_classes(np.random.default_rng(0), count)
        assert drawn == longest[:count]
        assert abs(2 * sum(drawn) - count) <= 1
    assert {tuple(longest[first : first + 2]) for first in range(0, 40, 2)} == {(0, 1), (1, 0)}


@pytest.mark.parametrize(
    ("subjects", "splits", "counts"),
    [(None, None, (8, 2, 2)), (12, None, (8, 2, 2)), (1, None, (1, 0, 0)), (6, (3, 2, 1), (3, 2, 1))],
)
def test_splits(subjects: int | None, splits: tuple[int, ...] | None, counts: tuple[int, ...]) -> None:
    assert check_splits(subjects, splits) == counts


@pytest.fixture(params=BOTH)
def simulate(request: pytest.FixtureRequest) -> Callable[..., str]:
    """Simulates a small cohort of each kind in turn."""
    grid = {"shape": (36, 34, 32), "spacing": 5.0}
    # one kind of patient and examination in all cohorts, whatever their size
    alike = {"healthy": 0.0} | (
        {"malignant": 1.0, "mixed": 1.0, "diffusion": 1.0} if request.param is SimulateBreast else {}
    )
    return lambda folder, **options: request.param(folder, **(grid | alike | options))()


def test_files_depend_on_the_seed_and_the_number_of_the_subject_alone(simulate, tmp_path: Path) -> None:
    for name, count, seed in (("a", 1, 3), ("b", 2, 3), ("c", 1, 4)):
        simulate(tmp_path / name, splits=(count, 0, 0), seed=seed)
    first, larger, other = (folder_contents(tmp_path / name) for name in "abc")
    assert all(larger[name] == content for name, content in first.items() if name != "datalist.json")
    shared = [name for name in first.keys() & other.keys() if name.endswith(("t1n.nii.gz", "t1.nii.gz", "dce.nii.gz"))]
    assert shared
    assert all(first[name] != other[name] for name in shared)


def test_an_existing_cohort_is_left_alone_unless_overwriting_is_allowed(simulate, tmp_path: Path) -> None:
    simulate(tmp_path, splits=(1, 0, 0))
    before = folder_contents(tmp_path)
    with pytest.raises(FileExistsError, match=r"datalist\.json exists"):
        simulate(tmp_path, splits=(1, 0, 0), seed=1)
    assert folder_contents(tmp_path) == before
    (tmp_path / "datalist.json").unlink()
    with pytest.raises(FileExistsError, match="-00000 exists"):
        simulate(tmp_path, splits=(1, 0, 0), seed=1)
    for seed in (1, 0):
        simulate(tmp_path, splits=(1, 0, 0), seed=seed, overwrite=True)
        assert (folder_contents(tmp_path) == before) == (seed == 0)
    with pytest.raises(ValueError, match="cannot be written"):
        simulate(tmp_path / "datalist.json")


@pytest.mark.parametrize(
    ("kinds", "arguments", "message"),
    [
        (BOTH, {"shape": (96, 112)}, "shape is"),
        (BOTH, {"shape": (96, 112, 31)}, "at least 32"),
        (BOTH, {"shape": 64}, "shape is 64"),
        (BOTH, {"shape": (96.0, 112, 72)}, "shape is"),
        (BOTH, {"spacing": 0}, "spacing is 0"),
        (BOTH, {"spacing": (1, 1)}, "spacing is"),
        (BOTH, {"spacing": "2mm"}, "spacing is '2mm'"),
        (BOTH, {"subjects": 0}, "subjects is 0"),
        (BOTH, {"subjects": 5, "splits": (1, 1, 1)}, "add up to 3, not to subjects = 5"),
        (BOTH, {"splits": (1, 1)}, "splits is"),
        (BOTH, {"splits": (0, 0, 0)}, "splits is"),
        (BOTH, {"splits": (3, -1, 1)}, "splits is"),
        (BOTH, {"missing": 4}, "missing is 4; give a number from 0 to 3"),
        (BOTH, {"missing": (2, 1)}, "missing is"),
        (BOTH, {"seed": -1}, "seed is -1; give a whole number from 0"),
        (BOTH, {"seed": 1.5}, "seed is 1.5"),
        (BOTH, {"noise": float("nan")}, "noise is nan"),
        (BOTH, {"bias": 2}, "bias is 2"),
        (BOTH, {"healthy": "few"}, "healthy is 'few'"),
        ([SimulateBrain], {"missing_in_evaluation": -1}, "missing_in_evaluation is -1"),
        ([SimulateBrain], {"texture": -0.1}, "texture is -0.1; give a number from 0 to 5"),
        ([SimulateBreast], {"mixed": 1.5}, "mixed is 1.5"),
        ([SimulateBreast], {"diffusion": -0.1}, "diffusion is -0.1"),
        ([SimulateBreast], {"malignant": 2}, "malignant is 2"),
        ([SimulateBreast], {"motion": 11}, "motion is 11"),
        ([SimulateBreast], {"timepoints": 2}, "timepoints is 2; give a whole number from 3"),
        ([SimulateBreast], {"time_step": 30}, "time_step is 30; give a number from 60"),
        ([SimulateBreast], {"b_values": 800}, "b_values is 800; give at least two numbers"),
        ([SimulateBreast], {"b_values": (0, 800, 800)}, "that rise"),
        ([SimulateBreast], {"b_values": (-5, 800)}, "b_values is"),
        ([SimulateBreast], {"b_values": (0, "800")}, "b_values is"),
    ],
)
def test_bad_arguments_are_named_and_nothing_is_written(
    kinds: list[type], arguments: dict, message: str, tmp_path: Path
) -> None:
    for kind in kinds:
        with pytest.raises(ValueError, match=message):
            kind(tmp_path / "cohort", **arguments)()
    assert not (tmp_path / "cohort").exists()
