# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""How the bundles of generators must be wired: each function asserts one fact of a bundle that it is given."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from wiring import Wiring, flat, positive, side

from seq2seq_mri.training.checkpoint import save_weights

#: What the documentation says that a training has when nothing is given.
LEARNING_RATE = 2e-4
EMA_MOMENTUM = 0.002
GRADIENT_CLIP = 1.0
LAMBDA_RECONSTRUCTION = 10.0  # the paper's, section 3.2
PAPER = {"lambda_reconstruction": 10.0, "lambda_perceptual": 0.01, "lambda_cycle": 10.0}
#: Images are kept in half precision before they are drawn from.
HALF = 1e-3


def seeds_come_first(wiring: Wiring) -> None:
    """Whatever the random state was before, a seed gives one network, and another seed another."""
    several = "multi_gpu_train.json"
    for overlays in [(), (several,)] if (wiring.bundle / "configs" / several).is_file() else [()]:
        networks = []
        for state, seed in ((1, 0), (2, 0), (1, 5)):
            torch.manual_seed(state)
            parser = wiring.parser(overlays=overlays, seed=seed)
            for first in ("training#0", "training#1"):
                parser.get_parsed_content(first)
            networks.append(flat(parser.get_parsed_content("network")))
        assert torch.equal(networks[0], networks[1])
        assert not torch.equal(networks[0], networks[2])


def optimizer_is_documented(wiring: Wiring) -> None:
    parser = wiring.parser()
    trainer = parser.get_parsed_content("train#trainer")
    (group,) = trainer.optimizer.param_groups
    assert type(trainer.optimizer) is torch.optim.Adam
    assert group["lr"] == pytest.approx(LEARNING_RATE)
    assert group["weight_decay"] == 0
    assert {id(value) for value in group["params"]} == {id(value) for value in trainer.network.parameters()}
    assert trainer.gradient_clip == GRADIENT_CLIP
    assert trainer.step.generator is trainer.network
    assert parser.get_parsed_content("train#checkpoint").network is trainer.network


def loss_is_ten_times_l1(wiring: Wiring) -> None:
    step = wiring.parser().get_parsed_content("train#trainer").step
    # An error of 0.5: |0.5| = 0.5, where a squared error is 0.25 and a smooth one 0.125.
    terms = step.loss.translation(torch.zeros(1, 1, 3, 8, 8), torch.full((1, 1, 3, 8, 8), 0.5))
    assert terms.keys() == {"reconstruction"}
    assert float(step.loss.total(terms)) == pytest.approx(LAMBDA_RECONSTRUCTION * 0.5)
    assert (step.loss.lambda_cycle, step.loss.lambda_adversarial) == (0, 0)
    assert step.discriminators is None


def published_has_the_weights_of_the_paper(wiring: Wiring) -> None:
    parser = wiring.parser(overlays=("published.json",))
    # The loss itself would look for the weights of VGG19.
    assert {name: parser.get_parsed_content(f"train#loss#{name}") for name in PAPER} == PAPER
    assert parser.get_parsed_content("train#optimizer#lr") == LEARNING_RATE
    assert parser.get_parsed_content("train#trainer#max_epochs") == 300


def unpaired_trains_the_discriminators(wiring: Wiring) -> None:
    trainer = wiring.parser(overlays=("unpaired.json",)).get_parsed_content("train#trainer")
    assert (trainer.step.loss.lambda_adversarial, trainer.step.loss.lambda_cycle) == (1.0, 10.0)
    discriminators = trainer.step.discriminators
    trained = [value for group in trainer.discriminator_optimizer.param_groups for value in group["params"]]
    assert {id(value) for value in trained} == {id(value) for value in discriminators.parameters()}
    assert trainer.discriminator_optimizer.param_groups[0]["lr"] == pytest.approx(LEARNING_RATE)


def learning_rate_follows_a_cosine(wiring: Wiring) -> None:
    epochs = wiring.trained.epochs
    phases = [(1 + math.cos(math.pi * index / len(epochs))) / 2 for index in range(len(epochs))]
    assert [epoch.learning_rate for epoch in epochs] == pytest.approx([LEARNING_RATE * phase for phase in phases])


def average_follows_the_network(wiring: Wiring) -> None:
    weights, average, momentum = wiring.trained.weights, wiring.trained.average, wiring.training["ema_momentum"]
    assert torch.equal(weights[0], average[0])
    for index in range(1, len(weights)):
        expected = (1 - momentum) * average[index - 1] + momentum * weights[index]
        torch.testing.assert_close(average[index], expected, rtol=1e-5, atol=1e-7)
    assert not torch.equal(weights[0], weights[-1])


def average_has_the_documented_momentum(wiring: Wiring) -> None:
    assert wiring.parser().get_parsed_content("train#ema#momentum") == EMA_MOMENTUM


def validation_measures_the_average(wiring: Wiring) -> None:
    trained, interval = wiring.trained, wiring.training["val_interval"]
    due = [(index + 1) % interval == 0 for index in range(len(trained.epochs))]
    assert [epoch.validated for epoch in trained.epochs] == due
    evaluator = trained.parser.get_parsed_content("validate#evaluator")
    assert torch.equal(flat(evaluator.network), trained.average[-1])
    assert not torch.equal(trained.weights[-1], trained.average[-1])
    assert evaluator.state.key_metric_name == "val_psnr"


def validation_has_the_validation_subjects_as_inference_sees_them(wiring: Wiring) -> None:
    parser = wiring.parser(val_slices=64)  # all of them
    samples = {sample["subject"]: sample for sample in parser.get_parsed_content("validate#dataset")}
    entries = wiring.datalist("validation")
    assert set(samples) == {entry["subject"] for entry in entries}
    preprocessing = wiring.parser("inference").get_parsed_content("preprocessing")
    for entry in entries:
        assert_same_values(samples[entry["subject"]]["image"], preprocessing(entry)["image"])


def assert_same_values(found: Any, expected: Any) -> None:
    """Compare two images on grids that may differ by padding."""
    for first, second in zip(positive(found), positive(expected), strict=True):
        np.testing.assert_allclose(first, second, rtol=0, atol=HALF)


def best_is_the_average_of_the_best_epoch(wiring: Wiring) -> None:
    trained = wiring.trained
    last, best = trained.checkpoint("last.pt"), trained.checkpoint("best.pt")
    iterations = last["best_metric_epoch"] * last["epoch_length"]
    generator = trained.parser.get_parsed_content("network_def")
    generator.load_state_dict(best)
    assert torch.equal(flat(generator), trained.average[iterations])


def last_has_what_a_resume_needs(wiring: Wiring) -> None:
    content = wiring.trained.checkpoint("last.pt")
    parts = {"network", "optimizer", "lr_scheduler", "ema_network", "history", "torch_rng", "best_metric"}
    assert parts <= content.keys()
    assert content["epoch"] == len(wiring.trained.epochs)
    assert content["normalization"] == wiring.parser().get_parsed_content("normalize").settings


def history_has_every_epoch(wiring: Wiring) -> None:
    trained = wiring.trained
    path = trained.output_dir / "history.csv"
    assert path.is_file()
    history = pd.read_csv(path)
    assert history["learning_rate"].tolist() == pytest.approx([epoch.learning_rate for epoch in trained.epochs])
    assert np.isfinite(history[["loss", "reconstruction", "gradient_norm", "skipped"]]).all(axis=None)
    for name in ("val_psnr", "val_ssim"):
        assert history[name].notna().tolist() == [epoch.validated for epoch in trained.epochs]


def a_training_is_not_overwritten(wiring: Wiring) -> None:
    trained = wiring.trained
    before = (trained.output_dir / "checkpoints" / "last.pt").read_bytes()
    parser = wiring.parser(**wiring.training, output_dir=str(trained.output_dir))
    with pytest.raises(RuntimeError) as caught:
        parser.get_parsed_content("training")
    assert isinstance(caught.value.__cause__, FileExistsError)
    assert (trained.output_dir / "checkpoints" / "last.pt").read_bytes() == before


def every_epoch_has_other_samples(wiring: Wiring) -> None:
    first, second = (sorted(epoch.samples) for epoch in wiring.trained.epochs[:2])
    assert first != second


def draw(wiring: Wiring, epochs: int, **overrides: Any) -> list[dict[str, Any]]:
    """Return the training samples of several epochs, as the trainer gets them."""
    parser = wiring.parser(samples_per_subject=4, **overrides)
    dataset, loader = (parser.get_parsed_content(f"train#{name}") for name in ("dataset", "dataloader"))
    samples = []
    for epoch in range(epochs):
        dataset.set_epoch(epoch)
        for batch in loader:
            samples += [
                {"subject": subject, "image": image, "available": available}
                for subject, image, available in zip(batch["subject"], batch["image"], batch["available"], strict=True)
            ]
    return samples


def samples_are_slices_of_the_training_subjects(wiring: Wiring) -> None:
    """Of the size that is asked for, with two neighbours, and with the values that inference gives the same subject."""
    parser = wiring.parser("inference")
    preprocessing, sequences = parser.get_parsed_content("preprocessing"), parser["sequences"]
    entries = {entry["subject"]: entry for entry in wiring.datalist("training")}
    images = {subject: positive(preprocessing(entry)["image"]) for subject, entry in entries.items()}
    samples = draw(wiring, epochs=1)
    assert {sample["subject"] for sample in samples} == set(images)
    for sample in samples:
        assert sample["image"].shape == (sum(sequences.values()), *wiring.options["slice_size"], 3)
        there = [name in entries[sample["subject"]] for name in sequences if not name.startswith("wash")]
        names = [name for name in sequences if not name.startswith("wash")]
        found = dict(zip(sequences, sample["available"].tolist(), strict=True))
        assert [found[name] for name in names] == there
        for values, known in zip(positive(sample["image"]), images[sample["subject"]], strict=True):
            assert nearest_distance(values, known) <= HALF


def nearest_distance(values: np.ndarray, known: np.ndarray) -> float:
    """Return how far a value is at most from the next of the sorted known ones."""
    if len(values) == 0:
        return 0.0
    place = np.searchsorted(known, values).clip(1, len(known) - 1)
    return float(np.minimum(abs(values - known[place - 1]), abs(values - known[place])).max())


def half_of_the_samples_are_flipped(wiring: Wiring) -> None:
    """The cohort's images are darker on one side."""
    preprocessing = wiring.parser("inference").get_parsed_content("preprocessing")
    right = {entry["subject"]: side(preprocessing(entry)["image"]) > 0 for entry in wiring.datalist("training")}
    samples = [sample for sample in draw(wiring, epochs=8) if (sample["image"] > 0).float().mean() > 0.02]
    flipped = [(side(sample["image"]) > 0) != right[sample["subject"]] for sample in samples]
    assert len(flipped) >= 40
    assert 0.3 < np.mean(flipped) < 0.7


def seed_decides_the_samples(wiring: Wiring) -> None:
    first, again, other = (draw(wiring, epochs=1, seed=seed) for seed in (0, 0, 1))
    images = [sorted(sample["image"].numpy().tobytes() for sample in samples) for samples in (first, again, other)]
    assert images[0] == images[1] != images[2]


def network_of_training_and_inference_is_one(wiring: Wiring) -> None:
    first, second = (wiring.parser(kind).get_parsed_content("network_def").eval() for kind in ("train", "inference"))
    assert list(first.sequences.items()) == list(second.sequences.items())
    second.load_state_dict(first.state_dict())
    image = torch.rand(1, 1, 3, 16, 20)
    code = torch.nn.functional.one_hot(torch.tensor([1]), len(first.sequences)).float()
    with torch.no_grad():
        assert torch.equal(first(image, code), second(image, code))


def write_weights(wiring: Wiring, path: Path) -> torch.Tensor:
    """Write weights that no initialisation gives, and return them flat."""
    network = wiring.parser().get_parsed_content("network_def")
    with torch.no_grad():
        for value in network.parameters():
            value.add_(1)
    save_weights(network, path, overwrite=True)
    return flat(network)


def evaluation_measures_the_best_weights(wiring: Wiring) -> None:
    parser = wiring.parser("evaluate", lpips="none")
    folder = Path(parser.get_parsed_content("checkpoint_dir"))
    save_weights(parser.get_parsed_content("network_def"), folder / "last.pt", overwrite=True)
    weights = write_weights(wiring, folder / "best.pt")
    evaluator = parser.get_parsed_content("evaluator")
    assert torch.equal(flat(evaluator.network), weights)


def evaluation_is_of_all_pairs_with_maps(wiring: Wiring) -> None:
    path = wiring.folder / "weights.pt"
    write_weights(wiring, path)
    evaluator = wiring.parser("evaluate", lpips="none", checkpoint=str(path)).get_parsed_content("evaluator")
    assert (evaluator.protocol, evaluator.differentiation, evaluator.include_self) == ("all_pairs", True, True)


def evaluation_has_the_testing_subjects_with_what_was_withheld(wiring: Wiring) -> None:
    parser = wiring.parser("evaluate", lpips="none")
    samples = {sample["subject"]: sample for sample in parser.get_parsed_content("dataset")}
    entries = wiring.datalist("testing")
    assert set(samples) == {entry["subject"] for entry in entries}
    preprocessing = wiring.parser("inference").get_parsed_content("preprocessing")
    for entry in entries:
        sample, alone = samples[entry["subject"]], preprocessing(entry)
        assert torch.equal(sample["available"], alone["available"])
        withheld = [name in entry.get("withheld", {}) for name in parser["sequences"]]
        assert sample["withheld"].tolist() == withheld
        assert not bool((sample["withheld"] & ~sample["measured"]).any())
        channels = [bool(channel.any()) for channel in alone["image"]]
        assert_same_values(np.asarray(sample["image"])[channels], np.asarray(alone["image"])[channels])


def inference_synthesises_what_is_missing_with_the_given_weights(wiring: Wiring) -> None:
    path = wiring.folder / "weights.pt"
    weights = write_weights(wiring, path)
    parser = wiring.parser("inference", checkpoint=str(path))
    evaluator = parser.get_parsed_content("evaluator")
    assert torch.equal(flat(evaluator.network), weights)
    assert evaluator.targets == "missing"
    assert not evaluator.inferer.include_self
    default = wiring.parser("inference").get_parsed_content("checkpoint")
    assert Path(default) == wiring.bundle / "models" / "model.pt"


def precision_reaches_training_and_inference(wiring: Wiring) -> None:
    parser = wiring.parser(autocast_dtype="bfloat16")
    assert parser.get_parsed_content("train#trainer").autocast_dtype == "bfloat16"
    assert parser.get_parsed_content("validate#evaluator").inferer.prepare.dtype == torch.bfloat16
    for kind, name in (("evaluate", "inferer"), ("inference", "translation")):
        inferer = wiring.parser(kind, autocast_dtype="bfloat16").get_parsed_content(name)
        assert inferer.prepare.dtype == torch.bfloat16
