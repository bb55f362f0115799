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
    ("target", "include_self", "sources"), [(2, True, [0, 1, 2, 3]), (2, False, [0, 1, 3]), (None, False, [0, 1, 2, 3])]
)
def test_equals_the_equation(shape, target, include_self, sources):
    generator = np.random.default_rng(0)
    predictions, truth = generator.random((4, *shape)), generator.random(shape)
    expected = np.zeros(shape)
    for place in np.ndindex(shape):
        expected[place] = sum(abs(predictions[(j, *place)] - truth[place]) for j in sources) / len(sources)
    for given in (torch.from_numpy(predictions), list(torch.from_numpy(predictions))):
        made = differentiation_map(given, torch.from_numpy(truth), target=target, include_self=include_self)
        np.testing.assert_allclose(made, expected, atol=1e-12)


def test_inputs_stay_and_metadata_of_the_truth_is_kept():
    truth = MetaTensor(torch.zeros(2, 3, 4), affine=torch.diag(torch.tensor([2.0, 3, 4, 1])))
    predictions = torch.stack([torch.ones(2, 3, 4), torch.full((2, 3, 4), -3.0)])
    result = differentiation_map(predictions, truth)
    assert (result == 2.0).all()
    assert (predictions[0] == 1.0).all()
    assert (truth == 0.0).all()
    assert isinstance(result, MetaTensor)
    assert torch.equal(result.affine, truth.affine)


def test_refuses_a_map_that_is_not_finite():
    with pytest.raises(ValueError, match="NaN or infinite"):
        differentiation_map(torch.full((2, 4, 4, 4), torch.nan), torch.ones(4, 4, 4))


def auc(scores, mask, foreground=None):
    foreground = np.ones(mask.shape) if foreground is None else foreground
    return voxel_auc(*(torch.as_tensor(array) for array in (scores, mask, foreground)))


def test_auc_equals_the_fraction_of_ordered_pairs():
    generator = np.random.default_rng(0)
    mask = generator.random((6, 5, 4)) > 0.7
    scores = np.round(generator.random((6, 5, 4)) + 0.3 * mask, 1)  # rounded: ties count half
    foreground = generator.random((6, 5, 4)) > 0.2
    inside, outside = scores[mask & foreground], scores[~mask & foreground]
    expected = np.mean([(a > b) + 0.5 * (a == b) for a in inside for b in outside])
    assert auc(scores, mask, foreground) == pytest.approx(expected)
    assert auc(scores, mask * 1.0, foreground * 2.0) == pytest.approx(expected)


def test_auc_of_a_lesion_that_only_the_map_shows():
    mask = np.pad(ball(3), 5) > 0
    assert auc(mask * 1.0, mask) == 1.0
    assert auc(-1.0 * mask, mask) == 0.0
    assert auc(np.zeros(mask.shape), mask) == 0.5
    timepoints = np.stack([np.zeros(mask.shape), mask * 3.0])
    assert auc(timepoints, mask) == 1.0


def test_background_does_not_flatter():
    generator = np.random.default_rng(0)
    foreground = np.zeros((10, 10, 10), dtype=bool)
    foreground[3:7, 3:7, 3:7] = True
    mask = foreground & (generator.random((10, 10, 10)) > 0.5)
    scores = foreground * (1.0 + 0.1 * generator.random((10, 10, 10)))
    assert auc(scores, mask) > 0.95
    assert auc(scores, mask, foreground) < 0.75


@pytest.mark.parametrize("mask", [np.zeros((4, 4, 4)), np.ones((4, 4, 4))])
def test_auc_needs_two_kinds_of_voxels(mask):
    with pytest.raises(ValueError, match="none or all of the foreground"):
        auc(np.ones((4, 4, 4)), mask)
