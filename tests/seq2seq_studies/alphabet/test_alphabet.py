# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What a sample of the alphabet task is, and what its images show."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from seq2seq_studies.alphabet.alphabet import (
    ALPHABET_SEQUENCES,
    AlphabetDataset,
    AlphabetSubject,
    draw_images,
    draw_subject,
)
from seq2seq_studies.alphabet.glyphs import letter_reach

SMALL = (48, 48)


@pytest.fixture(scope="module")
def subjects() -> list[AlphabetSubject]:
    return [draw_subject("training", index) for index in range(500)]


@pytest.mark.parametrize("shape", [(128, 128), (33, 57), (70, 41)])
def test_sample(shape):
    dataset = AlphabetDataset("validation", 3, shape=shape)
    assert len(dataset) == 3
    sample = dataset[2]
    assert sample["subject"] == "validation-00002"
    assert sample["image"].shape == (2, *shape, 1)
    assert sample["image"].dtype == torch.float32
    assert sample["masks"].shape == (3, *shape, 1)
    assert sample["masks"].dtype == torch.uint8
    assert 0 == sample["image"].min() < sample["image"].max() <= 1
    assert sample["available"].tolist() == sample["measured"].tolist() == [True, True]
    assert sample["label"].dtype == sample["common"].dtype == torch.int64
    drawn = draw_subject("validation", 2, shape=shape)
    assert (*sample["label"].tolist(), sample["common"].item()) == drawn.letters
    assert len(set(drawn.letters)) == 3


def test_is_a_function_of_section_index_and_seed():
    few, many = AlphabetDataset("training", 3, shape=SMALL), AlphabetDataset("training", 3000, shape=SMALL)
    for index in (2, 0, 1):
        assert torch.equal(few[index]["image"], many[index]["image"])
    assert torch.equal(few[-1]["image"], few[2]["image"])
    others = [
        AlphabetDataset("testing", 3, shape=SMALL),
        AlphabetDataset("validation", 3, shape=SMALL),
        AlphabetDataset("training", 3, seed=1, shape=SMALL),
    ]
    images = [dataset[1]["image"] for dataset in [few, *others]] + [few[0]["image"]]
    assert all(not torch.equal(one, other) for one, other in itertools.combinations(images, 2))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"size": 0}, "has size 0 and seed 0"),
        ({"seed": -1}, "has size 2 and seed -1"),
        ({"shape": (128, 31)}, r"shape is \(128, 31\); give two sizes of at least 32"),
        ({"shape": (128, 128, 1)}, "give two sizes"),
    ],
)
def test_refuses(changed, message):
    with pytest.raises(ValueError, match=message):
        AlphabetDataset(**{"section": "training", "size": 2, **changed})


def test_objects_lie_inside_and_apart(subjects):
    for subject in subjects:
        circles = [(place.centre, place.height * letter_reach()) for place in (subject.differing, subject.common)]
        circles.append((subject.disc_centre, subject.disc_radius))
        for centre, radius in circles:
            assert all(radius <= middle <= 127 - radius for middle in centre)
        for (one, first), (other, second) in itertools.combinations(circles, 2):
            assert np.hypot(one[0] - other[0], one[1] - other[1]) > first + second + 1
        for place in (subject.differing, subject.common):
            assert 0.16 * 128 <= place.height <= 0.24 * 128
            assert abs(place.angle) <= 15


@pytest.mark.parametrize("shape", [(128, 128), (64, 90)])
def test_images_agree_but_for_contrast_and_the_differing_letters(shape):
    """At a pixel that an object covers by a part, both images have that part of its grey value."""
    for index in range(30):
        subject = draw_subject("testing", index, shape=shape)
        images, masks = draw_images(subject, shape)
        elsewhere = masks[:2].sum(axis=0) == 0
        common = elsewhere & (masks[2] > 0)
        for region, first, second in ((common, 0.9, 0.5), (elsewhere & ~common, 0.5, 0.9)):
            np.testing.assert_allclose(images[0][region] / first, images[1][region] / second, atol=1e-6)
            assert (images[0][region].max(), images[1][region].max()) == pytest.approx((first, second))
        differences = np.abs(images[0] / 0.9 - images[1] / 0.5)[~elsewhere]
        assert differences.sum() > 0.1 * max(masks[0].sum(), masks[1].sum())


def test_entries_say_what_the_samples_are():
    dataset = AlphabetDataset("validation", 5, shape=SMALL)
    for entry, name, sample in zip(dataset.entries, dataset.subjects, dataset, strict=False):
        assert entry["subject"] == entry["patient"] == name == sample["subject"]
        assert list(entry["label"].values()) == sample["label"].tolist()
    assert list(dataset.entries[0]["label"]) == list(ALPHABET_SEQUENCES)
