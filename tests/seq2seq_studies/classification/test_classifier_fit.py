# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Training a classifier: it learns, can be repeated and interrupted, reads its channels only, and refuses the rest."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from monai.transforms import RandFlipd
from torch.utils.data import Dataset

from seq2seq_mri.evaluation.classification.classifier_evaluator import predict_probabilities
from seq2seq_mri.networks.classifier import build_classifier
from seq2seq_mri.training.checkpoint import read_checkpoint
from seq2seq_mri.training.classifier_images import ClassifierImages, SampleLookup
from seq2seq_mri.transforms.select_channels import SelectChannelsd
from seq2seq_studies.classification import classifier_fit
from seq2seq_studies.classification.classifier_fit import ClassifierFit, ClassifierSettings, fit_classifier

SEQUENCES = {"t1": 1, "t2": 1}
TINY = partial(build_classifier, spatial_dims=2, in_channels=1, first_stride=1, widen_factor=1 / 16)


def images(items: list[dict]) -> ClassifierImages:
    return ClassifierImages(items, {item["subject"]: item for item in items}, dict)


def squares(count: int, prefix: str, num_classes: int = 1, seed: int = 0) -> list[dict]:
    """Images of noise with a bright square whose row says the class."""
    generator = np.random.default_rng(seed)
    made = []
    for index in range(count):
        label = index % max(2, num_classes)
        image = generator.uniform(0, 0.2, (1, 16, 16)).astype(np.float32)
        column = generator.integers(0, 12)
        image[0, 4 * label : 4 * label + 4, column : column + 4] += 0.8
        made.append({"subject": f"{prefix}{index}", "image": image, "label": label})
    return made


def fit(folder: Path, training=None, validation=None, network=TINY, **changes) -> torch.nn.Module:
    settings = ClassifierSettings(**{"max_epochs": 3, "batch_size": 4, "seed": 7, **changes})
    training = images(squares(11, "t")) if training is None else training
    validation = images(squares(6, "v", seed=1)) if validation is None else validation
    return fit_classifier(training, validation, network, folder, settings)


def same_weights(one: Path, other: Path) -> bool:
    first, second = (read_checkpoint(folder / "best.pt") for folder in (one, other))
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(("num_classes", "metric"), [(1, "auc"), (3, "accuracy")])
def test_learns(tmp_path: Path, num_classes: int, metric: str) -> None:
    training = images(squares(30, "t", num_classes))
    validation = images(squares(12, "v", num_classes, seed=1))
    how = {"num_classes": num_classes, "max_epochs": 15, "batch_size": 10, "learning_rate": 1e-2}
    network = fit(tmp_path, training, validation, partial(TINY, num_classes=num_classes), **how)
    history = pd.read_csv(tmp_path / "history.csv")
    assert len(history) == 15
    assert history["loss"].iloc[-1] < 0.3 * history["loss"].iloc[0]
    assert history[metric].max() > 0.95
    finished = json.loads((tmp_path / "finished.json").read_text())
    assert finished == {"epoch": history[metric].idxmax() + 1, "value": history[metric].max()}
    probabilities = predict_probabilities(network, validation, batch_size=5)
    if num_classes == 1:
        assert probabilities.shape == (12,)
        accuracy = np.mean((probabilities > 0.5) == validation.labels)
    else:
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
        accuracy = np.mean(probabilities.argmax(axis=1) == validation.labels)
    assert accuracy == pytest.approx(history.loc[finished["epoch"] - 1, "accuracy"])


class Interrupted(ClassifierImages):
    """Images of which one cannot be read from the n-th time on, as when the process is killed then."""

    def __init__(self, items: list[dict], after: int) -> None:
        super().__init__(items, {item["subject"]: item for item in items}, dict)
        self.after = after

    def __getitem__(self, index: int) -> dict:
        self.after -= 1
        if self.after < 0:
            raise KeyboardInterrupt
        return super().__getitem__(index)


def test_resume_equals_uninterrupted_and_what_is_finished_is_not_repeated(tmp_path: Path) -> None:
    whole, cut, another = (tmp_path / name for name in ("whole", "cut", "another"))
    first = fit(whole, max_epochs=4)
    assert sorted(path.name for path in whole.iterdir()) == ["best.pt", "finished.json", "history.csv"]
    again, image = fit(whole, Interrupted(squares(11, "t"), after=0), max_epochs=4), torch.rand(2, 1, 16, 16)
    assert torch.equal(again(image), first(image))
    fit(another, max_epochs=4, seed=8)
    assert not same_weights(whole, another)
    with pytest.raises(KeyboardInterrupt):  # in the middle of the third epoch
        fit(cut, Interrupted(squares(11, "t"), after=27), max_epochs=4)
    assert (cut / "last.pt").is_file()
    assert not (cut / "finished.json").exists()
    fit(cut, max_epochs=4)
    assert same_weights(whole, cut)
    for name in ("finished.json", "history.csv"):
        assert (whole / name).read_bytes() == (cut / name).read_bytes()


def test_class_weights(tmp_path: Path) -> None:
    items = [item for item in squares(16, "t") if item["label"] == 0 or item["subject"] < "t2"]
    count = sum(item["label"] for item in items)
    expected = [len(items) / (2 * (len(items) - count)), len(items) / (2 * count)]
    for name, weights in {"balanced": "balanced", "given": expected, "equal": None}.items():
        fit(tmp_path / name, images(items), class_weights=weights, max_epochs=1)
    assert same_weights(tmp_path / "balanced", tmp_path / "given")
    assert not same_weights(tmp_path / "balanced", tmp_path / "equal")


def test_last_batch_of_one_image_is_left_out(tmp_path: Path) -> None:
    # At this size the last layers have one pixel; of one image, batch normalisation would raise an error.
    fit(tmp_path, images(squares(9, "t")), batch_size=4, max_epochs=1)


def test_bfloat16(tmp_path: Path) -> None:
    # In two dimensions, because torch's bfloat16 gradient of a small Conv3d is not always a number on some CPUs.
    half = fit(tmp_path / "bfloat16", max_epochs=1, autocast_dtype="bfloat16")
    fit(tmp_path / "float32", max_epochs=1)
    assert not same_weights(tmp_path / "bfloat16", tmp_path / "float32")
    probabilities = predict_probabilities(half, images(squares(6, "v")), autocast_dtype="bfloat16")
    assert probabilities.dtype == np.float32
    assert np.isfinite(probabilities).all()


def test_prediction_leaves_the_network_as_it_was() -> None:
    network = TINY().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    data = images([{name: value for name, value in item.items() if name != "label"} for item in squares(5, "v")])
    torch.testing.assert_close(
        predict_probabilities(network, data, batch_size=2), predict_probabilities(network, data, batch_size=5)
    )
    assert network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


ONES = images([item for item in squares(12, "t") if item["label"] == 1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": ONES}, "All 6 subjects of the training data set have label 1"),
        ({"validation": ONES}, "All 6 subjects of the validation data set have label 1; the AUC"),
        ({"network": partial(TINY, num_classes=3)}, "with num_classes 1 it must be"),
        ({"learning_rate": 1e30, "max_epochs": 5}, r"loss is .* lower the learning rate"),
    ],
)
def test_what_cannot_be_trained(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(tmp_path, **changes)


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


SECTIONS = entries(range(8)), entries(range(8, 12)), without_labels(entries(range(12, 15)))


@pytest.fixture
def classify(tmp_path) -> ClassifierFit:
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


def test_learns_from_the_chosen_channels_only(classify):
    training, validation, tested = entries(range(16)), entries(range(16, 22)), entries(range(22, 32))
    labels = np.array([entry["label"] for entry in tested])
    probabilities = {
        name: classify(training, validation, without_labels(tested), 0, channels=[name]) for name in ("t2_md", "t1_md")
    }
    assert probabilities["t2_md"][labels == 1].min() > probabilities["t2_md"][labels == 0].max()
    assert not probabilities["t1_md"][labels == 1].min() > probabilities["t1_md"][labels == 0].max()


def test_equal_calls_give_equal_results_and_leave_nothing(classify):
    first = classify(*SECTIONS, 3, channels=["t2", "t2_md"])
    np.testing.assert_array_equal(classify(*SECTIONS, 3, channels=["t2", "t2_md"]), first)
    assert not np.array_equal(classify(*SECTIONS, 3, channels=["t2", "t2_md"], learning_rate=0.01), first)
    assert list(classify.output_dir.iterdir()) == []


def test_each_training_has_its_own_folder(classify, monkeypatch):
    """What is not removed, as after an interruption, is what the same call finds again."""
    monkeypatch.setattr(classifier_fit.shutil, "rmtree", lambda folder: None)
    for seed, channels in ((0, ["t1"]), (1, ["t1"]), (0, ["t2"]), (0, ["t2"])):
        classify(*SECTIONS, seed, channels=channels)
    assert len(list(classify.output_dir.glob("*/best.pt"))) == 3


def test_augmentation_changes_the_training_only_and_follows_the_seed(classify):
    plain = classify(*SECTIONS, 3, channels=["t2"])
    classify.augmentation = [RandFlipd("image", spatial_axis=0, prob=0.5)]
    flipped = classify(*SECTIONS, 3, channels=["t2"])
    assert not np.array_equal(plain, flipped)
    np.testing.assert_array_equal(classify(*SECTIONS, 3, channels=["t2"]), flipped)
