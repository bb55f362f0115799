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

from seq2seq_mri.evaluation.classification.classifier_evaluator import class_probabilities, predict_probabilities
from seq2seq_mri.networks.classifier import build_classifier
from seq2seq_mri.training.checkpoint import read_checkpoint
from seq2seq_mri.training.classifier_trainer import fit_classifier

# In this mode pytest raises on the warnings of this package only; ignite and torch have their own.
TINY = partial(build_classifier, spatial_dims=2, in_channels=1, first_stride=1, widen_factor=1 / 16)


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


def fit(folder: Path, training=None, validation=None, **changes):
    arguments = {"network": TINY, "max_epochs": 3, "batch_size": 4, "seed": 7, **changes}
    training = squares(11, "t") if training is None else training
    validation = squares(6, "v", seed=1) if validation is None else validation
    return fit_classifier(training, validation, output_dir=folder, **arguments)


def same_weights(one: Path, other: Path) -> bool:
    first, second = read_checkpoint(one), read_checkpoint(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("num_classes", [1, 3])
def test_learns(tmp_path: Path, num_classes: int) -> None:
    network = partial(TINY, num_classes=num_classes)
    training, validation = squares(30, "t", num_classes), squares(12, "v", num_classes, seed=1)
    result = fit(
        tmp_path,
        training,
        validation,
        network=network,
        num_classes=num_classes,
        max_epochs=15,
        batch_size=10,
        learning_rate=1e-2,
    )
    assert result.metric == ("auc" if num_classes == 1 else "accuracy")
    assert result.value > 0.95
    history = pd.read_csv(tmp_path / "history.csv")
    assert len(history) == 15
    assert history["loss"].iloc[-1] < 0.3 * history["loss"].iloc[0]
    assert history[result.metric].max() == result.value
    assert history[result.metric].idxmax() + 1 == result.epoch
    probabilities = predict_probabilities(result.network, validation, batch_size=5)
    labels = np.asarray([item["label"] for item in validation])
    if num_classes == 1:
        assert probabilities.shape == (12,)
        accuracy = np.mean((probabilities > 0.5) == labels)
    else:
        assert probabilities.shape == (12, 3)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
        accuracy = np.mean(probabilities.argmax(axis=1) == labels)
    assert accuracy == pytest.approx(history.loc[result.epoch - 1, "accuracy"])


def test_equal_seeds_give_equal_weights(tmp_path: Path) -> None:
    one, other = fit(tmp_path / "one"), fit(tmp_path / "other")
    assert same_weights(one.weights, other.weights)
    assert (tmp_path / "one" / "history.csv").read_bytes() == (tmp_path / "other" / "history.csv").read_bytes()
    assert not same_weights(one.weights, fit(tmp_path / "seed", seed=8).weights)


class Interrupted(list):
    """Items of which one cannot be read from the n-th time on, as when the process is killed then."""

    def __init__(self, items, after: int) -> None:
        super().__init__(items)
        self.after = after
        self.labels = [item["label"] for item in items]
        self.subjects = [item["subject"] for item in items]

    def __getitem__(self, index):
        self.after -= 1
        if self.after < 0:
            raise KeyboardInterrupt
        return super().__getitem__(index)


def test_resume_equals_uninterrupted(tmp_path: Path) -> None:
    whole = fit(tmp_path / "whole", max_epochs=4)
    # The third of the epochs is cut off in the middle.
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "cut", Interrupted(squares(11, "t"), after=27), max_epochs=4)
    assert (tmp_path / "cut" / "last.pt").is_file()
    assert not (tmp_path / "cut" / "finished.json").exists()
    resumed = fit(tmp_path / "cut", max_epochs=4)
    assert same_weights(whole.weights, resumed.weights)
    assert (whole.epoch, whole.value) == (resumed.epoch, resumed.value)
    pd.testing.assert_frame_equal(*(pd.read_csv(tmp_path / name / "history.csv") for name in ("whole", "cut")))


def test_finished_training_is_not_repeated(tmp_path: Path) -> None:
    first = fit(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best.pt",
        "finished.json",
        "history.csv",
        "settings.json",
    ]
    written = first.weights.stat().st_mtime_ns
    again = fit(tmp_path, Interrupted(squares(11, "t"), after=0))
    assert again.weights.stat().st_mtime_ns == written
    assert again[2:] == first[2:]
    image = torch.rand(2, 1, 16, 16)
    assert torch.equal(again.network(image), first.network(image))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 0.1}, "learning_rate 0.001 instead of 0.1"),
        ({"training": squares(11, "other")}, "training '11 subjects"),
        ({"experiment": {"inputs": ["x1"]}}, "experiment {} instead of"),
    ],
)
def test_folder_of_another_training(tmp_path: Path, changes, message) -> None:
    fit(tmp_path, max_epochs=1)
    with pytest.raises(ValueError, match=f"holds a training with other settings: {message}"):
        fit(tmp_path, **{"max_epochs": 1, **changes})
    (tmp_path / "settings.json").unlink()
    with pytest.raises(ValueError, match="holds a training of another kind"):
        fit(tmp_path, max_epochs=1)


def test_class_weights(tmp_path: Path) -> None:
    training = [item for item in squares(16, "t") if item["label"] == 0 or item["subject"] < "t2"]
    count = sum(item["label"] for item in training)
    balanced = fit(tmp_path / "balanced", training, class_weights="balanced", max_epochs=1)
    expected = [len(training) / (2 * (len(training) - count)), len(training) / (2 * count)]
    settings = json.loads((tmp_path / "balanced" / "settings.json").read_text())
    assert settings["class_weights"] == pytest.approx(expected, abs=1e-6)
    given = fit(tmp_path / "given", training, class_weights=expected, max_epochs=1)
    assert same_weights(balanced.weights, given.weights)
    assert not same_weights(balanced.weights, fit(tmp_path / "equal", training, max_epochs=1).weights)


def test_last_batch_of_one_image_is_left_out(tmp_path: Path) -> None:
    # At this size the last layers have one pixel; of one image, batch normalisation would raise an error.
    fit(tmp_path, squares(9, "t"), batch_size=4, max_epochs=1)


def test_bfloat16_and_volumes(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    volumes = [
        {"subject": str(k), "image": torch.rand(2, 20, 18, 17, generator=generator), "label": k % 2} for k in range(8)
    ]
    # Stride 1, because torch's bfloat16 gradient of a strided Conv3d is not a number on some CPUs.
    network = partial(build_classifier, spatial_dims=3, in_channels=2, widen_factor=1 / 16, first_stride=1)
    result = fit(
        tmp_path,
        volumes[:4],
        volumes[4:],
        network=network,
        max_epochs=1,
        batch_size=2,
        autocast_dtype="bfloat16",
        progress=True,
    )
    probabilities = predict_probabilities(result.network, volumes, autocast_dtype="bfloat16")
    assert probabilities.dtype == np.float32
    assert np.isfinite(probabilities).all()


def test_random_transforms_follow_the_epoch(tmp_path: Path) -> None:
    class Epochs(list):
        seen: tuple[int, ...] = ()

        def set_epoch(self, epoch):
            self.seen += (epoch,)

    training = Epochs(squares(8, "t"))
    fit(tmp_path, training, max_epochs=2)
    assert training.seen == (1, 2)


def test_prediction_leaves_the_network_as_it_was() -> None:
    network = TINY().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    data = squares(5, "v")
    for item in data:
        del item["label"]
    torch.testing.assert_close(
        predict_probabilities(network, data, batch_size=2), predict_probabilities(network, data, batch_size=5)
    )
    assert network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_probabilities() -> None:
    torch.testing.assert_close(class_probabilities(torch.tensor([[0.0], [100.0]])), torch.tensor([0.5, 1.0]))
    torch.testing.assert_close(class_probabilities(torch.zeros(1, 4)), torch.full((1, 4), 0.25))


def test_data_that_cannot_be_trained_on(tmp_path: Path) -> None:
    ones = [item for item in squares(12, "t") if item["label"] == 1]
    with pytest.raises(ValueError, match="All 6 subjects of the training data set have label 1"):
        fit(tmp_path, ones)
    with pytest.raises(ValueError, match="All 6 subjects of the validation data set have label 1; the AUC"):
        fit(tmp_path / "validation", squares(8, "v"), ones)
    with pytest.raises(ValueError, match="The training data set is empty"):
        fit(tmp_path, [])
    with pytest.raises(ValueError, match="The validation data set is empty"):
        fit(tmp_path, validation=[])
    with pytest.raises(ValueError, match="The given data set is empty"):
        predict_probabilities(TINY(), [])
    with pytest.raises(ValueError, match="6 subjects are both in the training and in the validation data set, t0"):
        fit(tmp_path, validation=squares(6, "t"))
    broken = squares(8, "t")
    broken[3]["image"][0, 2, 2] = np.nan
    with pytest.raises(ValueError, match="Subject 't3': the image has values that are not finite"):
        fit(tmp_path / "nan", broken)


def test_arguments_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give a function that builds one"):
        fit(tmp_path, network=TINY())
    with pytest.raises(ValueError, match="must be at least 1"):
        fit(tmp_path, max_epochs=0)
    with pytest.raises(ValueError, match="with num_classes 1 it must be"):
        fit(tmp_path / "classes", network=partial(TINY, num_classes=3))
    with pytest.raises(ValueError, match=r"loss is .* lower the learning rate"):
        fit(tmp_path / "rate", learning_rate=1e30, max_epochs=5)
