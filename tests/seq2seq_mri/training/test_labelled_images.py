# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Labelled images: what comes out, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from seq2seq_mri.training.labelled_images import LabelledImages


def items(count=3, **changes):
    made = [{"subject": f"p{k}", "image": MetaTensor(torch.rand(2, 4, 3)), "label": k % 2} for k in range(count)]
    made[-1] |= changes
    return made


@pytest.mark.parametrize("kind", [int, np.int64, torch.tensor, float, lambda label: torch.tensor([label])])
def test_item(kind) -> None:
    images = LabelledImages(items(label=kind(1), affine=np.eye(4)))
    item = images[2]
    assert set(item) == {"image", "label", "subject"}
    assert type(item["image"]) is torch.Tensor
    assert item["label"].dtype == torch.int64
    assert item["label"].shape == ()
    assert images.labels.tolist() == [0, 1, 1]
    assert images.subjects == ["p0", "p1", "p2"]


def test_labels_without_loading() -> None:
    class Dataset:
        labels = (0, 1)
        subjects = ("a", "b")

        def __len__(self):
            return 2

        def __getitem__(self, index):
            raise OSError("read from disc")

    images = LabelledImages(Dataset())
    assert images.labels.tolist() == [0, 1]
    assert images.subjects == ["a", "b"]


def test_unlabelled() -> None:
    image = torch.zeros(1, 2, 2)
    assert set(LabelledImages([{"image": image}], need_labels=False)[0]) == {"image", "subject"}
    with pytest.raises(ValueError, match="Subject '0': the label is None"):
        LabelledImages([{"image": image}])[0]


@pytest.mark.parametrize("label", [2, -1, 0.5, "pcr", float("nan"), torch.tensor([0, 1])])
def test_label_of_no_class(label) -> None:
    images = LabelledImages(items(label=label))
    with pytest.raises(ValueError, match=r"Subject 'p2': the label is .* whole number from 0 to 1"):
        images[2]
    with pytest.raises(ValueError, match="Subject 'p2'"):
        _ = images.labels


def test_bad_images() -> None:
    with pytest.raises(ValueError, match="The validation data set is empty"):
        LabelledImages([], name="validation")
    broken = torch.zeros(2, 4, 3)
    broken[0, 1, 1] = float("nan")
    with pytest.raises(ValueError, match="Subject 'p2': the image has values that are not finite"):
        LabelledImages(items(image=broken))[2]
    images = LabelledImages(items(image=torch.zeros(2, 4, 4)))
    _ = images[0]
    with pytest.raises(ValueError, match=r"Subject 'p2': the image has shape \(2, 4, 4\), others \(2, 4, 3\)"):
        _ = images[2]
