# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The shapes of the letters A to Z, drawn at any size, angle and sub-pixel position."""

from __future__ import annotations

import math
import string
from functools import lru_cache

import matplotlib
import numpy as np
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from scipy.ndimage import distance_transform_edt, map_coordinates
from skimage.draw import polygon2mask

__all__ = ["LETTERS", "add_disc", "add_letter", "letter_reach"]

#: The letters; a letter's number is its position here.
LETTERS = string.ascii_uppercase

#: Grid points per capital height on which a letter's outline is known: several for each pixel of a drawn letter.
_RESOLUTION = 160
#: Width of the rim around a letter in which its distance is known, in capital heights.
_RIM = 0.2


def add_letter(canvas: np.ndarray, letter: int, centre: tuple[float, float], height: float, angle: float) -> None:
    """Add a letter's coverage of each pixel, 0 to 1, to ``canvas``; its edges are anti-aliased.

    Args:
        canvas: float ``[rows, columns]``, first row on top; changed in place.
        letter: its number, 0 to 25.
        centre: row and column of the middle of the letter's bounding box, in pixels; pixel centres are whole numbers.
        height: of the capital H, in pixels.
        angle: by which the letter is turned counter-clockwise, in degrees.
    """
    distance = _letter_distance(letter)
    radius = letter_reach() * height + 1
    window, rows, columns = _around(canvas, centre, radius)
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    # From the canvas back to the upright letter, in grid points from its middle.
    scale = _RESOLUTION / height
    points = np.stack(
        [
            (cosine * rows + sine * columns) * scale + (distance.shape[0] - 1) / 2,
            (cosine * columns - sine * rows) * scale + (distance.shape[1] - 1) / 2,
        ]
    )
    inside = map_coordinates(distance, points, order=1, mode="nearest") * height
    canvas[window] += np.clip(inside + 0.5, 0, 1)


def add_disc(canvas: np.ndarray, centre: tuple[float, float], radius: float) -> None:
    """Add a disc's coverage of each pixel, 0 to 1, to ``canvas`` (float ``[rows, columns]``); lengths in pixels."""
    window, rows, columns = _around(canvas, centre, radius + 1)
    canvas[window] += np.clip(radius - np.hypot(rows, columns) + 0.5, 0, 1)


@lru_cache(maxsize=1)
def letter_reach() -> float:
    """Return how far the widest letter reaches from its middle, whatever the angle, in capital heights."""
    boxes = (np.ptp(np.concatenate(_outline(letter)), axis=0) for letter in range(len(LETTERS)))
    return max(math.hypot(*box) for box in boxes) / 2


def _around(
    canvas: np.ndarray, centre: tuple[float, float], radius: float
) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
    """Return the part of ``canvas`` around ``centre``, and the row and column offsets of its pixels from there."""
    window = tuple(
        slice(max(0, math.floor(middle - radius)), min(size, math.ceil(middle + radius) + 1))
        for middle, size in zip(centre, canvas.shape, strict=True)
    )
    rows, columns = np.mgrid[window]
    return (window[0], window[1]), rows - centre[0], columns - centre[1]


def _outline(letter: int) -> list[np.ndarray]:
    """Return the closed contours of a letter, each ``[points, (x, y)]`` with y upwards, in capital heights."""
    # The file that matplotlib brings along, whatever fonts are installed or configured.
    font = FontProperties(fname=f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans-Bold.ttf")
    capital = TextPath((0, 0), "H", size=100, prop=font).get_extents().height
    contours = TextPath((0, 0), LETTERS[letter], size=100, prop=font).to_polygons()
    return [np.asarray(contour, dtype=np.float64) / capital for contour in contours]


@lru_cache(maxsize=len(LETTERS))
def _letter_distance(letter: int) -> np.ndarray:
    """Return the distance into a letter, positive inside, in capital heights, on a grid around its middle."""
    contours = _outline(letter)
    points = np.concatenate(contours)
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    half = np.ceil((np.ptp(points, axis=0) / 2 + _RIM) * _RESOLUTION).astype(int)[::-1]
    filled = np.zeros(2 * half + 1, dtype=bool)
    for contour in contours:
        rows_and_columns = (contour - middle)[:, ::-1] * (-_RESOLUTION, _RESOLUTION) + half
        # A contour inside another one is a hole.
        filled ^= polygon2mask(filled.shape, rows_and_columns)
    distance = distance_transform_edt(filled) - distance_transform_edt(~filled)
    # The edge lies half way between the last grid point inside and the first one outside.
    return ((distance - 0.5 * np.sign(distance)) / _RESOLUTION).astype(np.float32)
