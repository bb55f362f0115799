# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from skimage.morphology import ball

from seq2seq_mri.evaluation.differentiation.differentiation import differentiation_map, voxel_auc


@pytest.mark.parametrize("shape", [(5, 7, 3), (3, 5, 7, 3)])
@pytest.mark.parametrize(
    ("available", "include_self", "sources"),
    [
        (None, True, [0, 1, 2, 3]),
        (None, False, [0, 1, 3]),
        ([True, False, True, True], True, [0, 2, 3]),
        ([True, False, True, True], False, [0, 3]),
        ([True, True, False, False], True, [0, 1]),
    ],
)
def test_equals_the_equation(shape, available, include_self, sources):
    generator = np.random.default_rng(0)
    predictions, truth = generator.random((4, *shape)), generator.random(shape)
    if available is not None:
        predictions[~np.array(available)] = np.nan  # must not be looked at
    expected = np.zeros(shape)
    for place in np.ndindex(shape):
        expected[place] = sum(abs(predictions[(j, *place)] - truth[place]) for j in sources) / len(sources)
    options = {"available": available, "target": 2, "include_self": include_self}
    np.testing.assert_allclose(differentiation_map(predictions, truth, **options), expected, atol=1e-12)
    np.testing.assert_allclose(differentiation_map(list(predictions), truth, **options), expected, atol=1e-12)
    tensor = differentiation_map(torch.from_numpy(predictions), torch.from_numpy(truth), **options)
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_allclose(tensor, expected, atol=1e-12)


def test_inputs_stay_and_metadata_of_the_truth_is_kept():
    truth = MetaTensor(torch.zeros(2, 3, 4), affine=torch.diag(torch.tensor([2.0, 3, 4, 1])))
    predictions = torch.stack([torch.ones(2, 3, 4), torch.full((2, 3, 4), -3.0)])
    result = differentiation_map(predictions, truth, available=torch.tensor([True, True]))
    assert (result == 2.0).all()
    assert (predictions[0] == 1.0).all()
    assert (truth == 0.0).all()
    assert isinstance(result, MetaTensor)
    assert torch.equal(result.affine, truth.affine)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"truth": np.ones((4, 4, 5))}, "source 0 has shape"),
        ({"available": [True]}, "2 predictions but availability"),
        ({"available": [False, False]}, "No source is available"),
        ({"include_self": False}, "give target"),
        ({"target": 2}, "sources 0 to 1"),
        ({"target": 1, "include_self": False, "available": [False, True]}, "No source is available"),
        ({"predictions": np.full((2, 4, 4, 4), np.nan)}, "NaN or infinite"),
    ],
)
def test_refuses_wrong_input(options, message):
    arguments = {"predictions": np.ones((2, 4, 4, 4)), "truth": np.ones((4, 4, 4))}
    with pytest.raises(ValueError, match=message):
        differentiation_map(**(arguments | options))


def test_auc_equals_the_fraction_of_ordered_pairs():
    generator = np.random.default_rng(0)
    mask = generator.random((6, 5, 4)) > 0.7
    scores = np.round(generator.random((6, 5, 4)) + 0.3 * mask, 1)  # rounded: ties count half
    foreground = generator.random((6, 5, 4)) > 0.2
    inside, outside = scores[mask & foreground], scores[~mask & foreground]
    expected = np.mean([(a > b) + 0.5 * (a == b) for a in inside for b in outside])
    assert voxel_auc(scores, mask, foreground) == pytest.approx(expected)
    assert voxel_auc(torch.from_numpy(scores), torch.from_numpy(mask).float(), foreground) == pytest.approx(expected)


def test_auc_of_a_lesion_that_only_the_map_shows():
    mask = np.pad(ball(3), 5) > 0
    assert voxel_auc(mask * 1.0, mask) == 1.0
    assert voxel_auc(-1.0 * mask, mask) == 0.0
    assert voxel_auc(np.zeros(mask.shape), mask) == 0.5
    timepoints = np.stack([np.zeros(mask.shape), mask * 3.0])
    assert voxel_auc(timepoints, mask) == 1.0


def test_background_does_not_flatter():
    generator = np.random.default_rng(0)
    foreground = np.zeros((10, 10, 10), dtype=bool)
    foreground[3:7, 3:7, 3:7] = True
    mask = foreground & (generator.random((10, 10, 10)) > 0.5)
    scores = foreground * (1.0 + 0.1 * generator.random((10, 10, 10)))
    assert voxel_auc(scores, mask) > 0.95
    assert voxel_auc(scores, mask, foreground) < 0.75


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask": np.zeros((4, 4, 4))}, "mask is empty"),
        ({"mask": np.ones((4, 4, 4))}, "covers the whole foreground"),
        ({"foreground": np.zeros((4, 4, 4))}, "mask is empty within the foreground"),
        ({"mask": np.eye(4)[None]}, "map has shape"),
        ({"differentiation": np.full((4, 4, 4), np.nan)}, "NaN or infinite"),
    ],
)
def test_auc_refuses_wrong_input(options, message):
    mask = np.zeros((4, 4, 4))
    mask[1] = 1
    with pytest.raises(ValueError, match=message):
        voxel_auc(**({"differentiation": np.ones((4, 4, 4)), "mask": mask} | options))
