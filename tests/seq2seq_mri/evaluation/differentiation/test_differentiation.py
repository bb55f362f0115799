# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from seq2seq_mri.evaluation.differentiation.differentiation import differentiation_map, voxel_auc


@pytest.mark.parametrize(
    ("shape", "target", "include_self", "sources"),
    [
        ((5, 7, 3), 2, True, [0, 1, 2, 3]),
        ((3, 5, 7, 3), 2, False, [0, 1, 3]),
        ((3, 5, 7, 3), None, False, [0, 1, 2, 3]),
    ],
)
def test_equals_the_equation(shape, target, include_self, sources):
    generator = np.random.default_rng(0)
    predictions, truth = generator.random((4, *shape)), generator.random(shape)
    expected = np.zeros(shape)
    for place in np.ndindex(shape):
        expected[place] = sum(abs(predictions[(j, *place)] - truth[place]) for j in sources) / len(sources)
    measured = MetaTensor(truth, affine=torch.diag(torch.tensor([2.0, 3, 4, 1])))
    for given in (torch.from_numpy(predictions), list(torch.from_numpy(predictions))):
        made = differentiation_map(given, measured, target=target, include_self=include_self)
        np.testing.assert_allclose(made, expected, atol=1e-12)
        assert torch.equal(made.affine, measured.affine)
    assert (measured.numpy() == truth).all()


def test_refuses_a_map_that_is_not_finite():
    with pytest.raises(ValueError, match="NaN or infinite"):
        differentiation_map(torch.full((2, 4, 4, 4), torch.nan), torch.ones(4, 4, 4))


@pytest.mark.parametrize("timepoints", [None, 3])
def test_auc_equals_the_fraction_of_ordered_pairs(timepoints):
    generator = np.random.default_rng(0)
    mask, foreground = generator.random((6, 5, 4)) > 0.7, generator.random((6, 5, 4)) > 0.2
    scores = np.round(generator.random((6, 5, 4)) + 0.3 * mask, 1)  # rounded: ties count half
    inside, outside = scores[mask & foreground], scores[~mask & foreground]
    expected = np.mean([(a > b) + 0.5 * (a == b) for a in inside for b in outside])
    given = scores if timepoints is None else scores * np.arange(timepoints).reshape(-1, 1, 1, 1)  # the mean is scores
    arrays = [torch.from_numpy(array) for array in (given, mask * 1.0, foreground * 2.0)]
    assert voxel_auc(*arrays) == pytest.approx(expected)


@pytest.mark.parametrize("mask", [torch.zeros(4, 4, 4), torch.ones(4, 4, 4)])
def test_auc_needs_two_kinds_of_voxels(mask):
    with pytest.raises(ValueError, match="none or all of the foreground"):
        voxel_auc(torch.ones(4, 4, 4), mask, torch.ones(4, 4, 4))
