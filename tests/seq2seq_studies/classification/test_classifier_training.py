# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Training a classifier: it learns, it can be repeated and interrupted, and it refuses what cannot be trained."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from seq2seq_mri.evaluation.classification.classifier_evaluator import predict_probabilities
from seq2seq_mri.networks.classifier import build_classifier
from seq2seq_mri.training.checkpoint import read_checkpoint
from seq2seq_mri.training.classifier_images import ClassifierImages
from seq2seq_studies.classification.classifier_training import ClassifierSettings, fit_classifier

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


def test_resume_equals_uninterrupted(tmp_path: Path) -> None:
    whole, cut, another = (tmp_path / name for name in ("whole", "cut", "another"))
    fit(whole, max_epochs=4)
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


def test_finished_training_is_not_repeated(tmp_path: Path) -> None:
    first = fit(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pt", "finished.json", "history.csv"]
    again = fit(tmp_path, Interrupted(squares(11, "t"), after=0))
    image = torch.rand(2, 1, 16, 16)
    assert torch.equal(again(image), first(image))


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
