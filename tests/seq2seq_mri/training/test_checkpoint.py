# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""A training that is interrupted and resumed equals one that is not; checkpoints are whole, or not there."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from engine_parts import TINY_OVERRIDES, bundle_command, command_environment, run_bundle_here, tiny_generator
from ignite.engine import Events
from training_parts import SEQUENCES, Training

from seq2seq_mri.training.checkpoint import initial_network, load_weights, read_checkpoint, save_weights
from seq2seq_mri.transforms.intensity import NormalizeSequencesd

ITERATIONS = 3


class Killed(Exception):
    """Stands for the end of the process."""


def equal(first: Any, second: Any) -> bool:
    """Compare nested containers bit for bit."""
    if torch.is_tensor(first):
        return torch.is_tensor(second) and first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(value, second[key]) for key, value in first.items())
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(equal, first, second))
    return first == second


def assert_same_training(first: Path, second: Path) -> None:
    """Compare two output folders."""
    contents = [read_checkpoint(folder / "checkpoints" / "last.pt") for folder in (first, second)]
    for part, value in contents[0].items():
        assert equal(value, contents[1][part]), part
    assert contents[0].keys() == contents[1].keys()
    assert equal(*(read_checkpoint(folder / "checkpoints" / "best.pt") for folder in (first, second)))
    assert (first / "history.csv").read_bytes() == (second / "history.csv").read_bytes()


def interrupt(training: Training, iteration: int) -> None:
    """Run until ``iteration`` and no further; what comes after is another process with another random state."""

    def kill(engine: Any) -> None:
        raise Killed

    training.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=iteration), kill)
    with pytest.raises(Killed):
        training.run(resume=True)
    torch.manual_seed(999)
    random.seed(999)
    np.random.seed(999)  # noqa: NPY002 -- the global state is what is tested


@pytest.fixture(scope="module")
def straight(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("straight")
    Training(folder).run()
    return folder


@pytest.fixture(scope="module")
def ended_in_third_epoch(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("interrupted")
    interrupt(Training(folder), 2 * ITERATIONS + 2)
    return folder


@pytest.fixture
def interrupted(ended_in_third_epoch, tmp_path) -> Path:
    """The folder of a training that ended in its third epoch, to change."""
    return Path(shutil.copytree(ended_in_third_epoch, tmp_path / "interrupted"))


def last(folder: Path) -> Path:
    return folder / "checkpoints" / "last.pt"


@pytest.mark.parametrize("iterations", [[2 * ITERATIONS + 2], [1, 4, 7, 12]], ids=str)
def test_resumed_training_equals_an_uninterrupted_one(straight, tmp_path, iterations, caplog) -> None:
    with caplog.at_level("INFO", logger="seq2seq_mri"):
        for iteration in iterations:
            interrupt(Training(tmp_path), iteration)
        Training(tmp_path).run(resume=True)
    assert_same_training(straight, tmp_path)
    assert read_checkpoint(last(tmp_path))["epoch"] == 4
    assert "to resume from; training starts at epoch 1" in caplog.text
    assert "after epoch" in caplog.text
    assert "learning rate" not in caplog.text


def test_resumed_adversarial_training_equals_an_uninterrupted_one(tmp_path) -> None:
    torch.manual_seed(0)
    Training(tmp_path / "straight", adversarial=True).run()
    torch.manual_seed(0)
    interrupt(Training(tmp_path / "resumed", adversarial=True), 2 * ITERATIONS + 1)
    Training(tmp_path / "resumed", adversarial=True).run(resume=True)
    assert_same_training(tmp_path / "straight", tmp_path / "resumed")


def test_saving_seldom_gives_the_same(straight, tmp_path) -> None:
    """The epoch that is best need not be one in which everything is saved."""
    interrupt(Training(tmp_path, interval=3), 3 * ITERATIONS - 1)
    assert not last(tmp_path).exists()
    interrupt(Training(tmp_path, interval=3), 3 * ITERATIONS + 2)
    assert read_checkpoint(last(tmp_path))["epoch"] == 3
    Training(tmp_path, interval=3).run(resume=True)
    assert_same_training(straight, tmp_path)


def test_another_seed_is_another_training(straight, tmp_path) -> None:
    Training(tmp_path, seed=1).run()
    networks = [read_checkpoint(last(folder))["network"] for folder in (straight, tmp_path)]
    assert not equal(*networks)


@pytest.mark.parametrize(("before", "stopped", "after"), [(4, 4, 10), (4, 2, 7), (9, 3, 5)])
def test_more_or_fewer_epochs_on_resume(tmp_path, caplog, before, stopped, after) -> None:
    """The rate is that of the cosine over the old length until the resume, and over the new one from there on."""
    if stopped < before:
        interrupt(Training(tmp_path, epochs=before), stopped * ITERATIONS + 1)
    else:
        Training(tmp_path, epochs=before).run()
    with caplog.at_level("WARNING", logger="seq2seq_mri"):
        Training(tmp_path, epochs=after).run(resume=True)
    assert f"falls over {after} epochs instead of the {before} with which the training was started" in caplog.text
    rates = pd.read_csv(tmp_path / "history.csv").learning_rate.to_numpy()
    lengths = [before if epoch < stopped else after for epoch in range(after)]
    expected = [1e-2 * (1 + np.cos(np.pi * epoch / length)) / 2 for epoch, length in enumerate(lengths)]
    np.testing.assert_allclose(rates, expected, rtol=1e-9, atol=1e-12)
    stored = read_checkpoint(last(tmp_path))
    assert stored["lr_scheduler"]["T_max"] == after
    assert stored["optimizer"]["param_groups"][0]["lr"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("val_interval", [1, 5])
def test_best_is_the_best_epoch_or_without_a_validation_the_last_and_holds_the_average(tmp_path, val_interval) -> None:
    training = Training(tmp_path, val_interval=val_interval)
    averages, values = [], []

    def remember(engine: Any) -> None:
        averages.append({name: value.clone() for name, value in training.ema.ema_model.state_dict().items()})
        values.append(training.evaluator.state.metrics.get("val_psnr", engine.state.epoch))

    training.trainer.add_event_handler(Events.EPOCH_COMPLETED, remember)
    training.run()
    best = max(range(4), key=values.__getitem__)
    assert equal(read_checkpoint(tmp_path / "checkpoints" / "best.pt"), averages[best])
    stored = read_checkpoint(last(tmp_path))
    if val_interval == 1:
        assert (stored["best_metric_epoch"], stored["best_metric"]) == (best + 1, values[best])


def test_an_existing_training_is_not_overwritten(straight) -> None:
    before = last(straight).read_bytes()
    with pytest.raises(FileExistsError, match=r"holds a training\. Go on with it by --resume true, or give another"):
        Training(straight).run()
    assert last(straight).read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"hello\n", b"\xff" * 50, b"cos\nsystem\n.", b"PK\x03\x04", 0.5, 0.99])
def test_other_files_are_no_checkpoints(straight, tmp_path, content) -> None:
    path = tmp_path / "weights.pt"
    whole = last(straight).read_bytes()
    path.write_bytes(content if isinstance(content, bytes) else whole[: int(content * len(whole))])
    with pytest.raises(ValueError, match=r"weights\.pt cannot be read as a checkpoint; it is truncated or of another"):
        read_checkpoint(path)
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match="holds a list, not a checkpoint"):
        read_checkpoint(path)


def network_of_another_size(content: dict[str, Any]) -> dict[str, Any]:
    weights = content["network"]
    return {"network": weights | {next(iter(weights)): torch.zeros(1, 2), "surplus": torch.zeros(1)}}


NETWORK = r"another network configuration \(surplus is not .*has shape \(1, 2\) instead of .*the network_def it was"
EPOCHS = "trained with 7 iterations per epoch, this configuration has 3; resume with the same datalist"
OPTIONS = r"images .* normalised otherwise.*--normalize#percentile 99.5 --normalize#clip_factor 1.0, or train again"
OTHER_BOUND = {"percentile": 99.5, "clip_factor": 1.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (network_of_another_size, NETWORK),
        (lambda content: {"sequences": {"t1": 1, "t2": 2}}, "was trained on the sequences"),
        (lambda content: {"sequences": {"dce": 2, "t1": 1}}, "was trained on the sequences"),
        (lambda content: {"sequences": {"t1": 2, "dce": 1}}, "was trained on the sequences"),
        (lambda content: {"epoch_length": 7}, EPOCHS),
        (lambda content: {"normalization": NormalizeSequencesd(SEQUENCES, **OTHER_BOUND).settings}, OPTIONS),
    ],
)
def test_a_checkpoint_of_another_configuration_is_refused(interrupted, change, message) -> None:
    content = read_checkpoint(last(interrupted))
    torch.save(content | change(content), last(interrupted))
    training = Training(interrupted)
    training.checkpoint.normalize = NormalizeSequencesd(SEQUENCES)
    with pytest.raises(ValueError, match=message):
        training.run(resume=True)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ({}, {"adversarial": True}, "has no discriminator_optimizer, discriminators"),
        ({"adversarial": True}, {}, "has discriminator_optimizer, discriminators, not used here"),
        ({}, {"ema": False}, "has ema_network, not used here"),
        ({"ema": False}, {}, "has no ema_network"),
    ],
)
def test_another_set_of_parts_is_refused(tmp_path, before, after, message) -> None:
    interrupt(Training(tmp_path, **before), ITERATIONS + 1)
    with pytest.raises(ValueError, match=f"{message}: it was saved by another configuration"):
        Training(tmp_path, **after).run(resume=True)


@pytest.mark.parametrize("written", [0.0, 0.999])
def test_a_failing_write_leaves_the_last_checkpoint(tmp_path, written) -> None:
    """The operating system refuses, somewhere within torch's archive, while the third epoch is saved."""
    resource = pytest.importorskip("resource")
    training = Training(tmp_path, val_interval=1)
    folder, limits = training.checkpoint.last.parent, resource.getrlimit(resource.RLIMIT_FSIZE)

    def block(engine: Any) -> None:
        # Large enough for all other files of the training.
        size = max(int(written * last(tmp_path).stat().st_size), (folder / "best.pt").stat().st_size + 1)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))

    training.trainer.add_event_handler(Events.EPOCH_STARTED(once=3), block)
    try:
        with pytest.raises(OSError, match=r"cannot write .*last\.pt: ") as caught:
            training.run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.errno == errno.EFBIG
    assert read_checkpoint(last(tmp_path))["epoch"] == 2
    assert sorted(path.name for path in folder.iterdir()) == ["best.pt", "last.pt"]


def test_resuming_removes_what_a_killed_process_left(interrupted) -> None:
    leftover = interrupted / "checkpoints" / ".last.pt.x1y2z3.partial.pt"
    leftover.write_bytes(b"half")
    Training(interrupted).run(resume=True)
    assert not leftover.exists()


def test_weights_of_every_kind_of_file(straight, tmp_path) -> None:
    content = read_checkpoint(last(straight))
    generator = tiny_generator(SEQUENCES, seed=5)
    load_weights(generator, last(straight))
    assert equal(dict(generator.state_dict()), dict(content["ema_network"]))
    torch.save({"network": content["network"], "sequences": SEQUENCES}, tmp_path / "network.pt")
    torch.save({"model": content["network"]}, tmp_path / "model.pt")
    torch.save(content["network"], tmp_path / "plain.pt")
    for name in ("network", "model", "plain"):
        generator = load_weights(tiny_generator(SEQUENCES, seed=5), tmp_path / f"{name}.pt")
        assert equal(dict(generator.state_dict()), dict(content["network"]))


@pytest.mark.parametrize("dtype", [None, "bfloat16", "float16"])
def test_weights_saved_and_loaded(tmp_path, dtype) -> None:
    generator = tiny_generator(SEQUENCES)
    path = tmp_path / "folder" / "model.pt"
    save_weights(generator, path, dtype)
    stored = read_checkpoint(path)
    assert {value.dtype for value in stored.values()} == {getattr(torch, dtype or "float32")}
    loaded = initial_network(tiny_generator(SEQUENCES, seed=1), "cpu", path)
    tolerance = {None: 0.0, "bfloat16": 2**-8, "float16": 2**-11}[dtype]
    for name, value in generator.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, rtol=tolerance, atol=1e-7 if dtype else 0)
    with pytest.raises(FileExistsError):
        save_weights(generator, path)
    renamed = {f"other_{name}": timepoints for name, timepoints in SEQUENCES.items()}
    with pytest.raises(ValueError, match="was trained on the sequences"):
        load_weights(tiny_generator(renamed), path)
    with pytest.raises(FileNotFoundError, match=r"There is no checkpoint .*none\.pt; train first, or give the path"):
        load_weights(generator, tmp_path / "none.pt")


@pytest.mark.parametrize("gradient_checkpointing", [False, True])
def test_a_network_without_given_weights_keeps_its_own(gradient_checkpointing) -> None:
    generator = tiny_generator(SEQUENCES)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    modules = sum(1 for _ in generator.modules())
    network = initial_network(generator, "cpu", gradient_checkpointing=gradient_checkpointing)
    assert equal(dict(network.state_dict()), before)
    assert (sum(1 for _ in network.modules()) > modules) == gradient_checkpointing  # the wrappers


def test_weights_are_used_on_intensities_as_they_were_trained_on(tmp_path) -> None:
    network, trained = tiny_generator(SEQUENCES), NormalizeSequencesd(SEQUENCES, **OTHER_BOUND)
    save_weights(network, tmp_path / "known.pt", normalize=trained)
    save_weights(network, tmp_path / "unknown.pt")
    other = NormalizeSequencesd(SEQUENCES)
    for path, normalize in [("known.pt", trained), ("known.pt", None), ("unknown.pt", other)]:
        load_weights(network, tmp_path / path, normalize)
    with pytest.raises(ValueError, match=OPTIONS):
        load_weights(network, tmp_path / "known.pt", other)


class Command:
    """A training that is started by the user's command, and may be killed."""

    def __init__(self, config: Path, settings: dict[str, Any], output_dir: Path, **overrides: Any) -> None:
        self.history, self.log = output_dir / "history.csv", output_dir.parent / "killed.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                bundle_command("training", [config], settings | {"output_dir": str(output_dir)} | overrides),
                env=command_environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def finish(self) -> None:
        assert self.process.wait(600) == 0, self.log.read_text(errors="replace")[-3000:]

    def kill(self, epochs: int, delay: float) -> None:
        """Kill it ``delay`` seconds after it has done ``epochs`` more epochs."""
        done, deadline = self._epochs(), time.monotonic() + 600
        while self._epochs() < done + epochs and self.process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(delay)
        # On a fast machine it may have finished before, which must not matter.
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        assert self.process.wait() in (0, -signal.SIGKILL), self.log.read_text(errors="replace")[-3000:]

    def _epochs(self) -> int:
        return len(self.history.read_text().splitlines()) if self.history.exists() else 1


@pytest.mark.slow
def test_killed_three_times_equals_never_killed(brain_cohort, brats_configs, tmp_path) -> None:
    """With and without worker processes, whose number must not matter either."""
    config = brats_configs / "train.json"
    settings = TINY_OVERRIDES | {
        "dataset_dir": str(brain_cohort),
        "device": "cpu",
        "samples_per_subject": 2,
        "max_epochs": 20,
        "val_interval": 3,
        "val_slices": 12,
        "lambda_cycle": 10.0,
    }
    run_bundle_here("training", [config], settings | {"output_dir": str(tmp_path / "straight"), "num_workers": 0})
    moments = random.Random(0)
    for kill in range(3):
        command = Command(config, settings, tmp_path / "killed", num_workers=2 * (kill % 2), resume=kill > 0)
        command.kill(epochs=moments.choice([1, 2]), delay=moments.uniform(0, 0.3))
    Command(config, settings, tmp_path / "killed", num_workers=2, resume=True).finish()
    assert_same_training(tmp_path / "straight", tmp_path / "killed")
    assert "Resumed from" in (tmp_path / "killed.log").read_text(errors="replace")
    assert {path.name for path in (tmp_path / "killed" / "checkpoints").iterdir()} == {"best.pt", "last.pt"}
