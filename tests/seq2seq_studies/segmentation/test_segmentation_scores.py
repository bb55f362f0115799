# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""DSC and ASSD against their definitions, and where masks are empty."""

from __future__ import annotations

import math

import numpy as np
import pytest

from seq2seq_studies.segmentation.segmentation_scores import mask_agreement


def surface(mask: np.ndarray, spacing) -> np.ndarray:
    """Return the positions in mm of the voxels of a mask that have a neighbour across a face that is not in it."""
    padded = np.pad(mask, 1)
    found = []
    for voxel in np.argwhere(padded):
        neighbours = [voxel + step * unit for unit in np.eye(3, dtype=int) for step in (-1, 1)]
        if not all(padded[tuple(neighbour)] for neighbour in neighbours):
            found.append((voxel - 1) * np.asarray(spacing))
    return np.array(found)


def slow_assd(first: np.ndarray, second: np.ndarray, spacing) -> float:
    a, b = surface(first, spacing), surface(second, spacing)
    distances = np.linalg.norm(a[:, None] - b[None], axis=-1)
    return float((distances.min(axis=1).sum() + distances.min(axis=0).sum()) / (len(a) + len(b)))


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.9, 2.0, 3.5)])
@pytest.mark.parametrize("seed", range(4))
def test_against_the_definitions(spacing, seed) -> None:
    random = np.random.default_rng(seed)
    shape = (9, 8, 7)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    masks = [
        np.linalg.norm(grid - random.uniform(2, 6, 3), axis=-1) + random.normal(0, 0.3, shape) < radius
        for radius in (3.2, 2.5)
    ]
    result = mask_agreement(*masks, spacing)
    assert result["empty"] == ""
    assert result["dsc"] == pytest.approx(2 * (masks[0] & masks[1]).sum() / (masks[0].sum() + masks[1].sum()))
    assert result["assd"] == pytest.approx(slow_assd(*masks, spacing), rel=1e-5)


def test_masks_at_the_edge_of_the_image() -> None:
    masks = [np.zeros((5, 6, 7), dtype=bool) for _ in range(2)]
    masks[0][:3, :, :4] = True
    masks[1][:2, 1:, :] = True
    result = mask_agreement(*masks, (1.0, 2.0, 0.5))
    assert result["assd"] == pytest.approx(slow_assd(*masks, (1.0, 2.0, 0.5)), rel=1e-5)


@pytest.mark.parametrize(
    ("prediction", "truth", "dsc", "distance", "empty"),
    [
        (0, 0, 1.0, 0.0, "both"),
        (1, 0, 0.0, math.sqrt(4**2 + 10**2 + 18**2), "truth"),
        (0, 1, 0.0, math.sqrt(4**2 + 10**2 + 18**2), "prediction"),
    ],
)
def test_empty_masks(prediction, truth, dsc, distance, empty) -> None:
    masks = [np.full((4, 5, 6), bool(value)) for value in (prediction, truth)]
    result = mask_agreement(*masks, (1, 2, 3))
    assert result == {"dsc": dsc, "assd": pytest.approx(distance), "empty": empty}
