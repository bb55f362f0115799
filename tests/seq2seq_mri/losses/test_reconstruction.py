# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import numpy as np
import pytest
import torch

from seq2seq_mri.losses.generator_loss import ReconstructionLoss


def smooth_l1(difference: np.ndarray) -> np.ndarray:
    size = np.abs(difference)
    return np.where(size < 1, 0.5 * size**2, size - 0.5)


@pytest.mark.parametrize(
    ("measure", "formula"),
    [("l1", np.abs), ("smooth_l1", smooth_l1), ("mse", np.square)],
    ids=["l1", "smooth_l1", "mse"],
)
@pytest.mark.parametrize("shape", [(2, 1, 3, 7, 5), (3, 4, 1, 5, 3, 9)])
def test_equals_formula_per_sample(measure, formula, shape):
    random = np.random.default_rng(0)
    prediction, truth = 3 * random.normal(size=shape), random.normal(size=shape)
    expected = [formula(p - t).mean() for p, t in zip(prediction, truth, strict=True)]
    found = ReconstructionLoss(measure)(torch.tensor(prediction), torch.tensor(truth))
    assert found.shape == (shape[0],)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


def test_half_precision_is_averaged_in_single():
    prediction = torch.full((1, 1, 1, 300, 300), 0.25, dtype=torch.bfloat16)
    found = ReconstructionLoss()(prediction, torch.zeros_like(prediction))
    assert found.dtype == torch.float32
    assert found.item() == 0.25


def test_shapes_are_not_broadcast():
    with pytest.raises(ValueError, match=r"\(2, 1, 3, 4, 4\) and its truth \(1, 1, 3, 4, 4\)"):
        ReconstructionLoss()(torch.zeros(2, 1, 3, 4, 4), torch.zeros(1, 1, 3, 4, 4))


def test_unknown_measure():
    with pytest.raises(ValueError, match="'huber'; choose one of l1, smooth_l1, mse"):
        ReconstructionLoss("huber")
