# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from seq2seq_mri.evaluation.image_quality.volume_pair import as_array, check_volume_pair


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (2, 5, 7, 3)])
def test_gives_all_three_an_axis_of_timepoints(shape):
    image = np.random.default_rng(0).random(shape)
    foreground = np.ones(shape[-3:]) if len(shape) == 4 else np.ones(shape)
    expected = shape if len(shape) == 4 else (1, *shape)
    for array in check_volume_pair(image, image, foreground):
        assert array.shape == expected
    assert check_volume_pair(image, image)[2].all()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.uint8, torch.float32),
        (np.float16, torch.float32),
        (np.float32, torch.float32),
        (np.float64, torch.float64),
    ],
)
def test_works_in_at_least_single_precision(given, expected):
    image = np.ones((4, 4, 4), dtype=given)
    prediction, truth, mask = check_volume_pair(image, image.astype(np.float32))
    assert prediction.dtype == truth.dtype == expected
    assert mask.dtype == torch.bool


def test_gives_plain_tensors_of_what_a_network_made():
    made = MetaTensor(torch.rand(3, 4, 5, 6, requires_grad=True)).bfloat16()
    prediction, truth, mask = check_volume_pair(made, np.flip(np.ones((3, 4, 5, 6))), made > 0)
    assert [type(tensor) for tensor in (prediction, truth, mask)] == [torch.Tensor] * 3
    assert prediction.dtype == truth.dtype == torch.float64
    assert not prediction.requires_grad


def test_tensors_of_any_kind_become_arrays():
    values = torch.rand(2, 3, requires_grad=True)
    for tensor in (values, MetaTensor(values.detach()), values.detach().bfloat16()):
        array = as_array(tensor)
        assert type(array) is np.ndarray
        np.testing.assert_allclose(array, values.detach().numpy(), atol=1e-2)


@pytest.mark.parametrize(
    ("prediction", "truth", "foreground", "message"),
    [
        (np.ones((4, 4)), np.ones((4, 5)), None, r"shape \(4, 4\) but the truth \(4, 5\)"),
        (np.ones(4), np.ones(4), None, "cannot be compared"),
        (np.ones((0, 4)), np.ones((0, 4)), None, "no voxels"),
        (np.full((4, 4), np.nan), np.ones((4, 4)), None, "prediction has NaN"),
        (np.ones((4, 4)), np.full((4, 4), np.inf), None, "truth has NaN or infinite"),
        (np.ones((4, 4)), np.ones((4, 4)), np.zeros((4, 4)), "foreground is empty"),
        (np.ones((2, 4, 4, 4)), np.ones((2, 4, 4, 4)), np.stack([np.ones((4, 4, 4)), np.zeros((4, 4, 4))]), "is empty"),
        (np.ones((4, 4, 4)), np.ones((4, 4, 4)), np.ones((4, 4)), r"foreground has shape \(4, 4\)"),
    ],
)
def test_refuses_what_cannot_be_compared(prediction, truth, foreground, message):
    with pytest.raises(ValueError, match=message):
        check_volume_pair(prediction, truth, foreground)
