# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from seq2seq_mri.plots.frames import frame_axis
from seq2seq_mri.plots.slices import (
    as_array,
    axial_view,
    choose_slice,
    foreground_box,
    informative_slice,
    shown_images,
    shown_timepoint,
)


@pytest.mark.parametrize(
    ("voxel", "pixel"),
    # RAS: X grows to the patient's right, Y to anterior; the patient's right is on the image's left, anterior up.
    [((0, 6), (0, -1)), ((4, 6), (0, 0)), ((0, 0), (-1, -1)), ((4, 0), (-1, 0))],
    ids=["left anterior", "right anterior", "left posterior", "right posterior"],
)
@pytest.mark.parametrize("kind", [np.asarray, MetaTensor])
def test_axial_view_is_radiological(voxel, pixel, kind):
    volume = np.zeros((5, 7, 3), dtype=np.float32)
    volume[(*voxel, 1)] = 1
    view = axial_view(kind(volume), 1)
    assert view.shape == (7, 5)
    assert type(view) is np.ndarray
    assert view[pixel] == view.sum() == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.bool])
def test_as_array_takes_any_tensor(dtype):
    values = torch.tensor([0, 1]).to(dtype)
    array = as_array(values.requires_grad_() if dtype.is_floating_point else values)
    assert array.dtype == np.float32
    assert array.tolist() == [0, 1]


def test_informative_slice_has_the_most_foreground_or_mask():
    volume = np.zeros((8, 8, 5))
    volume[2:4, 2:4, 1] = 1
    volume[2:7, 2:7, 3] = 1
    assert informative_slice(volume) == informative_slice(np.stack([volume] * 3)) == 3
    mask = np.zeros((8, 8, 5), dtype=bool)
    assert informative_slice(volume, mask) == 3  # an empty mask says nothing
    mask[1, 1, 4] = True
    assert informative_slice(volume, torch.as_tensor(mask)) == 4


def test_informative_slice_is_in_the_middle_of_equals():
    volume = np.zeros((4, 4, 9))
    assert informative_slice(volume) == 4
    volume[1:3, 1:3, 2:] = 1
    assert informative_slice(volume) == 4


@pytest.mark.parametrize(
    ("axis", "shown", "note"),
    [
        (None, 2, "timepoint 3/4"),
        (frame_axis(4, times=[0, 90, 180, 270]), 2, "180 s"),
        (frame_axis(4, b_values=[0, 150, 1500, 800]), 2, "b = 1500"),
        (frame_axis(4, b_values=[0, 150, 800, 1500.5]), 3, "b = 1500.5"),
    ],
)
def test_one_timepoint_is_shown_and_named(axis, shown, note):
    image, text = shown_timepoint(np.arange(4).reshape(-1, 1, 1, 1) * np.ones((1, 2, 2, 2)), axis)
    assert image[0, 0, 0] == shown
    assert text == note
    assert shown_timepoint(image)[1] == shown_timepoint(image[None])[1] == ""


def test_foreground_box():
    view = np.zeros((20, 30))
    view[8:10, 12:20] = 1
    other = np.zeros((20, 30))
    other[8, 27] = 1  # the margin ends at the view's edge
    assert foreground_box([view], 0.5) == (slice(4, 14), slice(8, 24))
    assert foreground_box([view, other], 0.5) == (slice(4, 14), slice(8, 30))
    assert foreground_box([np.zeros((3, 3))], 0.5) == (slice(None), slice(None))


@pytest.mark.parametrize(("brightest", "factor"), [(0.9, 1), (0.34, 2), (0.001, 10), (0.0, 1)])
def test_a_high_b_value_is_shown_brighter(brightest, factor):
    images = {"t1": np.ones((4, 4, 4)), "dwi": np.full((2, 4, 4, 4), brightest), "dce": np.ones((2, 4, 4, 4)) / 5}
    frames = {"dwi": frame_axis(2, b_values=[0, 1500]), "dce": frame_axis(2, times=[0, 90])}
    shown = shown_images(images | {"t2": None}, frames, labels={"t1": "T1"})
    of_dwi = "dwi\nb = 1500" + (f" ({factor}x)" if factor > 1 else "")
    assert [image.heading for image in shown.values()] == ["T1", of_dwi, "dce\n90 s"]
    assert [image.white for image in shown.values()] == [1, 1 / factor, 1]


def test_the_slice_is_that_of_the_mean_of_the_images():
    first, second = np.zeros((4, 4, 5)), np.zeros((4, 4, 5))
    first[1:3, 1:3, 0] = 0.01
    second[1, 1, 3] = 1.0
    second[1:3, 1:3, 4] = 1.0
    images = shown_images({"t1": first, "t2": second}).values()
    assert choose_slice(images) == 4
    assert choose_slice(images, 2) == 2
