# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from monai.transforms import RandFlipd
from torch.utils.data import Dataset

from seq2seq_mri.networks.classifier import build_classifier
from seq2seq_mri.training.classifier_images import ClassifierImages, SampleLookup
from seq2seq_mri.transforms.select_channels import SelectChannelsd
from seq2seq_studies.classification import classifier_fit
from seq2seq_studies.classification.classifier_fit import ClassifierFit

SEQUENCES = {"t1": 1, "t2": 1}


class Blobs(Dataset):
    """Subjects whose M_d of t2 is bright in label 1; their images are noise."""

    def __init__(self, count: int, names: bool = True) -> None:
        self.count = count
        if names:
            self.subjects = [f"p{index:02d}" for index in range(count)]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict:
        noise = torch.Generator().manual_seed(index)
        maps = torch.rand(2, 33, 35, generator=noise)
        maps[1] += index % 2
        return {
            "subject": f"p{index:02d}",
            "image": torch.rand(2, 33, 35, generator=noise),
            "differentiation": maps,
            "available": torch.ones(2, dtype=torch.bool),
        }


def entries(numbers: range) -> list[dict]:
    return [{"subject": f"p{number:02d}", "patient": f"p{number:02d}", "label": number % 2} for number in numbers]


def without_labels(given: list[dict]) -> list[dict]:
    return [{key: value for key, value in entry.items() if key != "label"} for entry in given]


@pytest.fixture
def fit(tmp_path) -> ClassifierFit:
    network = partial(build_classifier, 2, widen_factor=0.0625, first_stride=1)
    return ClassifierFit(
        SampleLookup(Blobs(32)), SEQUENCES, network, tmp_path / "trainings", settings={"max_epochs": 3, "batch_size": 5}
    )


def test_lookup_finds_subjects_with_and_without_their_names():
    for lookup in (SampleLookup(Blobs(5)), SampleLookup(Blobs(5, names=False))):
        assert list(lookup) == [f"p{index:02d}" for index in range(5)]
        assert len(lookup) == 5
        assert lookup["p03"]["subject"] == "p03"
    with pytest.raises(ValueError, match="p00 stands twice"):
        SampleLookup(Blobs(2), Blobs(3))


def test_images_have_the_chosen_channels_and_the_entry_s_label():
    select = SelectChannelsd(["t2", "t1_md"], SEQUENCES)
    images = ClassifierImages(entries(range(3, 6)), SampleLookup(Blobs(8)), select)
    assert images.subjects == ["p03", "p04", "p05"]
    assert images.labels.tolist() == [1, 0, 1]
    item, sample = images[1], Blobs(8)[4]
    assert item["label"] == 0
    assert torch.equal(torch.as_tensor(item["image"]), torch.stack([sample["image"][1], sample["differentiation"][0]]))
    unlabelled = ClassifierImages(without_labels(entries(range(2))), SampleLookup(Blobs(8)), select)
    assert "label" not in unlabelled[0]
    with pytest.raises(ValueError, match="2 subjects have no images for the classifier, p04"):
        ClassifierImages(entries(range(2, 6)), SampleLookup(Blobs(4)), select)


def test_learns_from_the_chosen_channels_only(fit):
    training, validation, tested = entries(range(16)), entries(range(16, 22)), entries(range(22, 32))
    labels = np.array([entry["label"] for entry in tested])
    probabilities = {
        name: fit(training, validation, without_labels(tested), 0, channels=[name]) for name in ("t2_md", "t1_md")
    }
    assert probabilities["t2_md"].shape == (10,)
    assert probabilities["t2_md"][labels == 1].min() > probabilities["t2_md"][labels == 0].max()
    assert not probabilities["t1_md"][labels == 1].min() > probabilities["t1_md"][labels == 0].max()


def test_equal_calls_give_equal_results_and_leave_nothing(fit):
    arguments = (entries(range(8)), entries(range(8, 12)), without_labels(entries(range(12, 15))), 3)
    first = fit(*arguments, channels=["t2", "t2_md"])
    np.testing.assert_array_equal(fit(*arguments, channels=["t2", "t2_md"]), first)
    assert not np.array_equal(fit(*arguments, channels=["t2", "t2_md"], learning_rate=0.01), first)
    assert list(fit.output_dir.iterdir()) == []


def test_each_training_has_its_own_folder(fit, monkeypatch):
    """What is not removed, as after an interruption, is what the same call finds again."""
    monkeypatch.setattr(classifier_fit.shutil, "rmtree", lambda folder: None)
    arguments = (entries(range(8)), entries(range(8, 12)), without_labels(entries(range(12, 15))))
    for seed, channels in ((0, ["t1"]), (1, ["t1"]), (0, ["t2"]), (0, ["t2"])):
        fit(*arguments, seed, channels=channels)
    assert len(list(fit.output_dir.glob("*/best.pt"))) == 3


def test_augmentation_changes_the_training_only_and_follows_the_seed(fit):
    arguments = (entries(range(8)), entries(range(8, 12)), without_labels(entries(range(12, 15))), 3)
    plain = fit(*arguments, channels=["t2"])
    fit.augmentation = [RandFlipd("image", spatial_axis=0, prob=0.5)]
    flipped = fit(*arguments, channels=["t2"])
    assert not np.array_equal(plain, flipped)
    np.testing.assert_array_equal(fit(*arguments, channels=["t2"]), flipped)
