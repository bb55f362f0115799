# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import label

from seq2seq_studies.alphabet.glyphs import LETTERS, add_disc, add_letter, letter_reach

HOLES = {"A": 1, "B": 2, "D": 1, "O": 1, "P": 1, "Q": 1, "R": 1}


def letter(name: str, height: float = 30.0, angle: float = 0.0, centre=(40.0, 40.0), size: int = 81) -> np.ndarray:
    canvas = np.zeros((size, size), dtype=np.float32)
    add_letter(canvas, LETTERS.index(name), centre, height, angle)
    return canvas


@pytest.mark.parametrize("name", LETTERS)
def test_every_letter_is_one_piece_with_its_holes(name):
    canvas = letter(name, angle=7)
    assert canvas.min() == 0
    assert canvas.max() == 1
    assert label(canvas > 0.5)[1] == 1
    assert label(canvas < 0.5)[1] == 1 + HOLES.get(name, 0)


@pytest.mark.parametrize("height", [5.0, 12.5, 30.0])
def test_height_and_area(height):
    """The letter I of DejaVu Sans Bold is a plain bar, 0.2578 capital heights wide."""
    canvas = letter("I", height)
    assert canvas[:, 40].sum() == pytest.approx(height, rel=0.01)
    assert canvas.sum() == pytest.approx(0.2578 * height**2, rel=0.01)


def test_upright():
    canvas = letter("L")
    assert canvas[:40].sum() < 0.7 * canvas[41:].sum()  # the bar is below
    assert canvas[:, :40].sum() > canvas[:, 41:].sum()  # the stem is on the left


def test_turning_by_a_right_angle_counter_clockwise():
    np.testing.assert_allclose(letter("F", angle=90), np.rot90(letter("F")), atol=1e-5)


def test_sub_pixel_shift():
    rows, columns = np.mgrid[:81, :81]
    for shift in ((0.0, 0.0), (0.3, -0.4), (2.25, 1.5)):
        canvas = letter("I", centre=(40 + shift[0], 40 + shift[1]))
        centroid = [(canvas * axis).sum() / canvas.sum() for axis in (rows, columns)]
        np.testing.assert_allclose(centroid, [40 + shift[0], 40 + shift[1]], atol=0.03)


@pytest.mark.parametrize("angle", [-15.0, 0.0, 15.0, 45.0])
def test_reach_holds_for_every_letter(angle):
    rows, columns = np.mgrid[:81, :81]
    for name in LETTERS:
        touched = letter(name, angle=angle) > 0
        assert np.hypot(rows - 40, columns - 40)[touched].max() <= 30 * letter_reach() + 1


def test_what_was_drawn_before_stays():
    canvas = np.full((81, 81), 2.0, dtype=np.float32)
    add_letter(canvas, 3, (40, 40), 30, 0)
    np.testing.assert_allclose(canvas, letter("D") + 2)


def test_beyond_the_edge():
    """A letter or disc that is cut off by the edge is the same as on a larger canvas."""
    cut = letter("W", centre=(3.0, 5.0))
    large = letter("W", centre=(43.0, 45.0), size=161)
    np.testing.assert_allclose(cut, large[40:121, 40:121], atol=1e-5)
    disc, large = np.zeros((20, 20), dtype=np.float32), np.zeros((60, 60), dtype=np.float32)
    add_disc(disc, (0.0, 19.0), 8.0)
    add_disc(large, (20.0, 39.0), 8.0)
    np.testing.assert_allclose(disc, large[20:40, 20:40], atol=1e-6)


@pytest.mark.parametrize("radius", [3.0, 6.4, 12.8])
def test_area_of_a_disc(radius):
    canvas = np.zeros((41, 41), dtype=np.float32)
    add_disc(canvas, (19.7, 20.4), radius)
    assert canvas.sum() == pytest.approx(math.pi * radius**2, rel=0.01)
