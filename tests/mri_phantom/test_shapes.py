# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Distances to solids against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from mri_phantom.random_fields import RandomField
from mri_phantom.shapes import coverage, ellipsoid, intersection, tube, union


@pytest.fixture
def points() -> np.ndarray:
    return np.random.default_rng(0).uniform(-30, 30, (3, 500))


def test_a_ball_is_an_ellipsoid_and_a_tube(points: np.ndarray) -> None:
    distance = 12 - np.linalg.norm(points - [[1], [2], [3]], axis=0)
    np.testing.assert_allclose(ellipsoid(points, (1, 2, 3), (12, 12, 12)), distance, atol=1e-9)
    ball = tube(points, [(1, 2, 3, 12), (1, 2, 3.000001, 12)])
    np.testing.assert_allclose(ball, distance, atol=1e-5)


def test_ellipsoid_is_zero_on_its_surface_positive_inside_and_first_order_exact() -> None:
    radii = np.array([5.0, 10.0, 20.0])
    surface = np.diag(radii)
    np.testing.assert_allclose(ellipsoid(surface, (0, 0, 0), radii), 0, atol=1e-12)
    np.testing.assert_allclose(ellipsoid(surface * (1 - 0.1 / radii), (0, 0, 0), radii), 0.1, rtol=0.03)
    assert ellipsoid(np.zeros((3, 1)), (0, 0, 0), radii) == 5


def test_tube_is_a_cylinder_between_its_ends() -> None:
    points = np.array([[0.0, 3.0, 0.0], [0.0, 0.0, 4.0], [5.0, 5.0, 13.0]])
    np.testing.assert_allclose(tube(points, [(0, 0, 0, 2), (0, 0, 10, 2)]), [2, -1, -3])


def test_union_and_intersection(points: np.ndarray) -> None:
    first, second = ellipsoid(points, (-5, 0, 0), (9, 9, 9)), ellipsoid(points, (5, 0, 0), (9, 9, 9))
    np.testing.assert_array_equal(union(first, second), np.maximum(first, second))
    np.testing.assert_array_equal(intersection(first, second), np.minimum(first, second))
    blended = union(first, second, 4.0)
    assert (blended >= union(first, second)).all()
    assert blended.max() <= union(first, second).max() + 1.0
    far = np.abs(first - second) > 4
    np.testing.assert_array_equal(blended[far], union(first, second)[far])


def test_coverage_is_the_share_of_a_voxel_cut_by_a_plane() -> None:
    np.testing.assert_allclose(coverage(np.array([-2.0, -1.0, 0.0, 0.5, 1.0, 2.0]), 2.0), [0, 0, 0.5, 0.75, 1, 1])


def test_random_field_has_unit_variance_and_the_wavelength() -> None:
    field = RandomField(np.random.default_rng(0), wavelength=24.0, bandwidth=0.1)
    assert field.lattice.std() == pytest.approx(1, rel=1e-3)
    line = np.zeros((3, 1921))
    line[0] = np.linspace(0, 192, 1921)
    # a plane wave that runs at an angle to the line crosses zero less often: between one and two wavelengths
    crossings = np.count_nonzero(np.diff(np.sign(field(line))))
    assert 192 / 24 <= crossings <= 2 * 192 / 24
    np.testing.assert_allclose(field(line), field(line + 192.0), atol=1e-3)


def test_random_field_distance_to_zero_grows_like_a_distance() -> None:
    field = RandomField(np.random.default_rng(1), wavelength=40.0, bandwidth=0.1)
    points = np.random.default_rng(2).uniform(0, 192, (3, 20000))
    distance = field.distance_to_zero(points)
    near = distance < 2
    values = np.abs(field(points))
    assert values[near].mean() < 0.5 * values.mean()
    # the zero surfaces of a wave are half a wavelength apart
    assert np.median(distance) == pytest.approx(40 / 8, rel=0.5)
