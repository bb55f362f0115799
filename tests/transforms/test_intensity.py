# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""NormalizeSequencesd against a few lines of NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from seq2seq_mri.transforms import NormalizeSequencesd

TABLE = {"t1": 1, "dce": 3, "t2": 1}


@pytest.fixture
def image() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(5, 7, 6, 5, generator=generator) * 100 + 80
    image[1:4] *= torch.tensor([1.0, 4.0, 2.0]).reshape(3, 1, 1, 1)
    image[4] = 0
    return image


@pytest.mark.parametrize(
    ("percentile", "clip_factor", "output_range"),
    [(99.5, 1.0, (0.0, 1.0)), (99, 2.0, (-1.0, 1.0)), (100, 1.0, (0.0, 255.0)), (50, 0.5, (-3.0, -1.0))],
)
def test_against_numpy(image, percentile, clip_factor, output_range) -> None:
    normalize = NormalizeSequencesd(TABLE, percentile=percentile, clip_factor=clip_factor, output_range=output_range)
    result = normalize({"image": MetaTensor(image), "subject": "p1"})["image"]
    lower, upper = output_range
    for part in (slice(0, 1), slice(1, 4)):
        values = image[part].double().numpy()
        bound = clip_factor * max(np.percentile(frame[frame > 0], percentile) for frame in values)
        expected = lower + (upper - lower) * np.clip(values, 0, bound) / bound
        np.testing.assert_allclose(result[part].numpy(), expected, rtol=1e-5, atol=1e-5 * (upper - lower))
    assert (result[4] == lower).all()
    assert isinstance(result, MetaTensor)
    assert result.dtype == torch.float32


def test_defaults_reach_both_ends_and_background_is_zero(image) -> None:
    result = NormalizeSequencesd(TABLE)({"image": image})["image"]
    assert float(result.min()) == 0
    assert float(result.max()) == pytest.approx(1.0, abs=1e-6)
    assert ((image <= 0) == (result == 0)).all()


def test_timepoints_keep_their_course(image) -> None:
    image = image.abs()
    result = NormalizeSequencesd(TABLE, percentile=100)({"image": image})["image"]
    torch.testing.assert_close(result[2] / result[1], image[2] / image[1], rtol=1e-4, atol=1e-4)


def test_input_is_not_changed(image) -> None:
    before = image.clone()
    NormalizeSequencesd(TABLE)({"image": image})
    assert torch.equal(image, before)


def test_measured_sequence_without_positive_voxels(image) -> None:
    sample = {"image": image, "measured": torch.tensor([True, True, True]), "subject": "p1"}
    with pytest.raises(ValueError, match="Subject 'p1': sequence 't2' has no voxel above zero"):
        NormalizeSequencesd(TABLE)(sample)


def test_channels_must_fit_the_table(image) -> None:
    with pytest.raises(ValueError, match=r"'p1': 'image' has 4 channels.*5"):
        NormalizeSequencesd(TABLE)({"image": image[:4], "subject": "p1"})


@pytest.mark.parametrize(
    ("argument", "value"),
    [("percentile", 0), ("percentile", 101), ("clip_factor", 0), ("output_range", (1, 0)), ("output_range", (0, 1, 2))],
)
def test_arguments_out_of_range(argument, value) -> None:
    with pytest.raises(ValueError, match=argument):
        NormalizeSequencesd(TABLE, **{argument: value})
