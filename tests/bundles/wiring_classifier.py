# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""How the classifier's bundle must be wired: each function asserts one fact of a bundle that it is given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from wiring import Wiring, flat, side
from wiring_generator import write_weights

from seq2seq_mri.sequences import channel_slices

LEARNING_RATE = 1e-3  # the paper's, section 4.4
#: Prepared images are kept in half precision.
HALF = 2e-3


def optimizer_is_documented(wiring: Wiring) -> None:
    trainer = wiring.parser().get_parsed_content("train#trainer")
    (group,) = trainer.optimizer.param_groups
    assert type(trainer.optimizer) is torch.optim.Adam
    assert group["lr"] == pytest.approx(LEARNING_RATE)
    assert group["weight_decay"] == 0
    assert {id(value) for value in group["params"]} == {id(value) for value in trainer.network.parameters()}


def loss_balances_the_classes(wiring: Wiring) -> None:
    labels = [entry["label"]["mgmt"] for entry in wiring.datalist("training")]
    counts = [labels.count(value) for value in (0, 1)]
    assert counts[0] != counts[1]
    loss = wiring.parser().get_parsed_content("train#trainer").loss_function
    for label, count in enumerate(counts):
        # Every class counts the same: half of all samples.
        logits, truth = torch.zeros(1, 1), torch.tensor([label])
        assert float(loss(logits, truth)) == pytest.approx(np.log(2) * len(labels) / (2 * count))


def sections_have_their_subjects_and_labels(wiring: Wiring) -> None:
    parser = wiring.parser("evaluate")
    for section, name in (("training", "train#dataset"), ("validation", "validate#dataset")):
        found = {item["subject"]: int(item["label"]) for item in parser.get_parsed_content(name)}
        assert found == {entry["subject"]: entry["label"]["mgmt"] for entry in wiring.datalist(section)}
    tested = [item["subject"] for item in parser.get_parsed_content("dataset")]
    expected = wiring.datalist("validation") + wiring.datalist("testing")  # the threshold is that of the first
    assert tested == [entry["subject"] for entry in expected]


def images_are_those_of_inference(wiring: Wiring) -> None:
    preprocessing = wiring.parser("inference").get_parsed_content("preprocessing")
    items = {item["subject"]: item for item in wiring.parser().get_parsed_content("validate#dataset")}
    for entry in wiring.datalist("validation"):
        image, expected = (np.asarray(sample["image"]) for sample in (items[entry["subject"]], preprocessing(entry)))
        assert image.shape == (2, *wiring.options["spatial_size"])
        np.testing.assert_allclose(image, expected, rtol=0, atol=HALF)


def channels_are_an_image_and_its_map(wiring: Wiring) -> None:
    """M_d of Eq. 5, translated source by source; the grids differ by padding only."""
    parser = wiring.parser()
    generator, entry = parser.get_parsed_content("generator"), wiring.datalist("validation")[0]
    image = torch.as_tensor(generator.preprocessing(entry)["image"]).as_subclass(torch.Tensor)
    place = channel_slices(generator.sequences)["t1gd"]
    generator.inferer.include_self = True
    errors = [
        (generator.inferer(image[None], generator.network, sources=[source], targets=["t1gd"])[0] - image[place]).abs()
        for source in generator.sequences
        if source != "t1gd" or parser["include_self"]
    ]
    expected = [image[place], torch.stack(errors).mean(0)]
    found = parser.get_parsed_content("validate#dataset")[0]["image"]
    assert len(found) == 2
    for channel, values in zip(found, expected, strict=True):
        # By their sorted values, which padding does not change but for zeros.
        first, second = (np.sort(np.asarray(part, dtype=np.float32).ravel()) for part in (channel, values))
        count = min(len(first), len(second), int((second > 0).sum()))
        assert count > 1000
        np.testing.assert_allclose(first[-count:], second[-count:], rtol=0, atol=HALF)


def training_images_are_augmented(wiring: Wiring) -> None:
    """Half of them flipped, half of them zoomed, half of the others brighter or darker; labels stay."""
    parser = wiring.parser()
    dataset, plain = parser.get_parsed_content("train#dataset"), parser.get_parsed_content("train#images")
    flipped, zoomed, scaled = [], [], []
    for epoch in range(12):
        dataset.set_epoch(epoch)
        for item, source in zip(dataset, plain, strict=True):
            image, original = (torch.as_tensor(part["image"]).float()[:1] for part in (item, source))
            assert (item["subject"], item["label"]) == (source["subject"], source["label"])
            flipped.append((side(image) > 0) != (side(original) > 0))
            zoomed.append(int((image > 0).sum()) != int((original > 0).sum()))
            if not zoomed[-1]:
                scaled.append(float(image.max()) != pytest.approx(float(original.max()), rel=1e-3))
    for share in (flipped, zoomed, scaled):
        assert len(share) >= 15
        assert 0.25 < np.mean(share) < 0.75


def training_moves_the_network_and_measures_it(wiring: Wiring) -> None:
    trained = wiring.trained
    for before, after in zip(trained.weights, trained.weights[1:], strict=False):
        assert not torch.equal(before, after)
    assert [epoch.validated for epoch in trained.epochs] == [True] * len(trained.epochs)
    evaluator = trained.parser.get_parsed_content("validate#evaluator")
    assert torch.equal(flat(evaluator.network), trained.weights[-1])
    assert evaluator.state.key_metric_name == "val_auc"


def history_has_every_epoch(wiring: Wiring) -> None:
    path = wiring.trained.output_dir / "history.csv"
    assert path.is_file()
    history = pd.read_csv(path)
    assert history["learning_rate"].tolist() == pytest.approx([LEARNING_RATE] * len(wiring.trained.epochs))
    columns = {"loss", "val_auc", "val_accuracy", "val_loss"}
    assert columns <= set(history)
    assert np.isfinite(history[sorted(columns)]).all(axis=None)


def checkpoints_have_what_is_needed(wiring: Wiring) -> None:
    trained = wiring.trained
    last, best = trained.checkpoint("last.pt"), trained.checkpoint("best.pt")
    assert {"network", "optimizer", "history", "torch_rng", "best_metric"} <= last.keys()
    assert last["epoch"] == len(trained.epochs)
    network = wiring.parser().get_parsed_content("network_def")
    network.load_state_dict(best)
    assert torch.equal(flat(network), trained.weights[last["best_metric_epoch"] * last["epoch_length"]])


def loss_that_is_not_finite_ends_the_training(wiring: Wiring) -> None:
    parser = wiring.parser(**wiring.training)
    trainer = parser.get_parsed_content("train#trainer")
    with torch.no_grad():
        next(trainer.network.parameters()).fill_(float("nan"))
    with pytest.raises((ValueError, Warning)) as caught:  # a loss that goes on its way ends in a warning elsewhere
        trainer.run()
    assert "The loss is nan in iteration 1" in str(caught.value)


def network_of_training_and_inference_is_one(wiring: Wiring) -> None:
    first, second = (wiring.parser(kind).get_parsed_content("network_def").eval() for kind in ("train", "inference"))
    shapes = [{name: value.shape for name, value in network.state_dict().items()} for network in (first, second)]
    assert shapes[0] == shapes[1]
    second.load_state_dict(first.state_dict())
    image = torch.rand(1, 2, 24, 25, 23)
    with torch.no_grad():
        assert torch.equal(first(image), second(image))


def inference_gives_probabilities_of_the_given_weights(wiring: Wiring) -> None:
    path = wiring.folder / "weights.pt"
    weights = write_weights(wiring, path)
    parser = wiring.parser("inference", checkpoint=str(path))
    assert torch.equal(flat(parser.get_parsed_content("evaluator").network), weights)
    default = wiring.parser("inference").get_parsed_content("checkpoint")
    assert Path(default) == wiring.bundle / "models" / "model.pt"
    probability = parser.get_parsed_content("postprocessing")({"pred": torch.tensor([0.7])})["pred"]
    assert float(probability) == pytest.approx(1 / (1 + np.exp(-0.7)))
