# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""A training that is interrupted and resumed equals one that is not; checkpoints are whole, or not there."""

from __future__ import annotations

import copy
import errno
import os
import random
import re
import shutil
import signal
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from engine_parts import TINY_OVERRIDES, bundle_command, command_environment, run_bundle_here, tiny_generator
from ignite.engine import Events
from training_parts import SEQUENCES, Training

from seq2seq_mri.training.checkpoint import (
    initial_network,
    load_weights,
    read_checkpoint,
    save_weights,
    write_checkpoint,
)
from seq2seq_mri.transforms.intensity import NormalizeSequencesd

ITERATIONS = 3


class Killed(Exception):
    """Stands for the end of the process."""


exactly = partial(torch.testing.assert_close, rtol=0, atol=0, equal_nan=True)


def assert_same_training(first: Path, second: Path) -> None:
    """Compare two output folders bit for bit."""
    for name in ("last.pt", "best.pt"):
        exactly(*(read_checkpoint(folder / "checkpoints" / name) for folder in (first, second)))
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


def last(folder: Path) -> Path:
    return folder / "checkpoints" / "last.pt"


def test_resumed_training_equals_an_uninterrupted_one(straight, tmp_path, caplog) -> None:
    """Stopped at the first, the last and another iteration of an epoch; what a killed process left is removed."""
    with caplog.at_level("INFO", logger="seq2seq_mri"):
        for iteration in (1, ITERATIONS + 1, 2 * ITERATIONS + 2, 4 * ITERATIONS):
            interrupt(Training(tmp_path), iteration)
        leftover = last(tmp_path).with_name(".last.pt.x1y2z3.partial.pt")
        leftover.write_bytes(b"half")
        Training(tmp_path).run(resume=True)
    assert_same_training(straight, tmp_path)
    assert read_checkpoint(last(tmp_path))["epoch"] == 4
    assert not leftover.exists()
    assert "to resume from; training starts at epoch 1" in caplog.text
    assert "after epoch" in caplog.text
    assert "learning rate" not in caplog.text


def test_resumed_adversarial_training_equals_an_uninterrupted_one(tmp_path) -> None:
    Training(tmp_path / "straight", adversarial=True).run()
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


@pytest.mark.parametrize(("before", "stopped", "after"), [(4, 4, 7), (9, 3, 5)])
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


def test_without_a_validation_the_last_epoch_is_the_best_and_its_average_is_kept(tmp_path) -> None:
    Training(tmp_path, val_interval=5).run()
    exactly(read_checkpoint(tmp_path / "checkpoints" / "best.pt"), read_checkpoint(last(tmp_path))["ema_network"])


def test_an_existing_training_is_not_overwritten(straight) -> None:
    before = last(straight).read_bytes()
    with pytest.raises(FileExistsError, match=r"holds a training\. Go on with it by --resume true, or give another"):
        Training(straight).run()
    assert last(straight).read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"hello\n", b"cos\nsystem\n.", b"PK\x03\x04", 0.99])
def test_other_files_are_no_checkpoints(straight, tmp_path, content) -> None:
    path = tmp_path / "weights.pt"
    whole = last(straight).read_bytes()
    path.write_bytes(content if isinstance(content, bytes) else whole[: int(content * len(whole))])
    with pytest.raises(ValueError, match=r"weights\.pt cannot be read as a checkpoint; it is damaged, truncated or of"):
        read_checkpoint(path)
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match="holds a list, not a checkpoint"):
        read_checkpoint(path)


def test_no_flipped_bit_gets_through(straight, tmp_path) -> None:
    """What is read is what was written, or an error that names the file."""
    path, whole, written = tmp_path / "last.pt", last(straight).read_bytes(), read_checkpoint(last(straight))
    rng, right = np.random.default_rng(0), 0
    for position, bit in zip(rng.integers(len(whole), size=120), rng.integers(8, size=120), strict=True):
        changed = bytearray(whole)
        changed[position] ^= 1 << bit
        path.write_bytes(changed)
        try:
            content = read_checkpoint(path)
        except ValueError as error:
            right += f"{path} cannot be read as a checkpoint; it is damaged" in str(error)
        else:
            exactly(content, written)  # a bit that nothing depends on, such as padding
            right += 1
    assert right == 120


def test_weights_that_are_not_finite_are_refused(tmp_path) -> None:
    weights = tiny_generator(SEQUENCES).state_dict()
    name = list(weights)[3]
    weights[name].view(-1)[-1] = float("nan")
    torch.save(weights, tmp_path / "model.pt")
    with pytest.raises(
        ValueError, match=rf"model\.pt has weights that are NaN or infinite \({re.escape(name)}\); take"
    ):
        load_weights(tiny_generator(SEQUENCES), tmp_path / "model.pt")


def test_two_trainings_do_not_write_into_one_folder(straight, tmp_path, another_job) -> None:
    another_job(tmp_path / "checkpoints")
    with pytest.raises(ValueError, match="Another job is writing into"):
        Training(tmp_path).run()
    assert list((tmp_path / "checkpoints").iterdir()) == []
    another_job(straight / "checkpoints")  # of a training that has ended


def network_of_another_size(content: dict[str, Any]) -> dict[str, Any]:
    weights = content["network"]
    return {"network": weights | {next(iter(weights)): torch.zeros(1, 2), "surplus": torch.zeros(1)}}


def with_moments(content: dict[str, Any], moment: torch.Tensor) -> dict[str, Any]:
    state = content["optimizer"]["state"]
    return {"optimizer": content["optimizer"] | {"state": state | {2: state[2] | {"exp_avg": moment}}}}


def of_fewer_parameters(content: dict[str, Any]) -> dict[str, Any]:
    (group,) = content["optimizer"]["param_groups"]
    return {"optimizer": content["optimizer"] | {"param_groups": [group | {"params": group["params"][:-1]}]}}


def without_average(content: dict[str, Any]) -> dict[str, Any]:
    del content["ema_network"]
    return {}


NETWORK = r"another network configuration \(surplus is not .*has shape \(1, 2\) instead of .*the network_def it was"
EPOCHS = "trained with 7 iterations per epoch, this configuration has 3; resume with the same datalist"
OPTIONS = r"images .* normalised otherwise.*--normalize#percentile 99.5 --normalize#clip_factor 1.0, or train again"
OTHER_BOUND = {"percentile": 99.5, "clip_factor": 1.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (network_of_another_size, NETWORK),
        (lambda content: {"sequences": {"dce": 2, "t1": 1}}, "was trained on the sequences"),
        (lambda content: {"sequences": {"t1": 2, "dce": 1}}, "was trained on the sequences"),
        (lambda content: {"epoch_length": 7}, EPOCHS),
        (lambda content: {"normalization": NormalizeSequencesd(SEQUENCES, **OTHER_BOUND).settings}, OPTIONS),
        (
            lambda content: with_moments(content, torch.zeros(3, 5)),
            "exp_avg of parameter 2 has the shape .3, 5. inst",
        ),
        (of_fewer_parameters, "has an optimizer of .* parameters, this network has"),
        (lambda content: {"discriminators": {}}, "has discriminators, not used here: it was saved by another conf"),
        (without_average, "has no ema_network: it was saved by another configuration"),
    ],
)
def test_a_checkpoint_of_another_configuration_is_refused(straight, tmp_path, change, message) -> None:
    content = read_checkpoint(last(straight))
    content.update(change(content))
    last(tmp_path).parent.mkdir()
    torch.save(content, last(tmp_path))
    training = Training(tmp_path)
    training.checkpoint.normalize = NormalizeSequencesd(SEQUENCES)
    with pytest.raises(ValueError, match=message):
        training.run(resume=True)


@pytest.mark.parametrize("written", [0.0, 0.999])
def test_a_failing_write_leaves_the_last_checkpoint(straight, tmp_path, written) -> None:
    """The operating system refuses, somewhere within torch's archive."""
    resource = pytest.importorskip("resource")
    path = Path(shutil.copy(last(straight), tmp_path))
    content, before, limits = read_checkpoint(path), path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(written * len(before)), limits[1]))
    try:
        with pytest.raises(OSError, match=r"cannot write .*last\.pt: ") as caught:
            write_checkpoint(content, path, overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.errno == errno.EFBIG
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("key", ["network", "model", None])
def test_weights_of_every_kind_of_file(straight, tmp_path, key) -> None:
    content = read_checkpoint(last(straight))
    exactly(load_weights(tiny_generator(SEQUENCES, seed=5), last(straight)).state_dict(), content["ema_network"])
    weights = content["network"]
    torch.save({key: weights, "sequences": SEQUENCES} if key else weights, tmp_path / "weights.pt")
    exactly(load_weights(tiny_generator(SEQUENCES, seed=5), tmp_path / "weights.pt").state_dict(), weights)


@pytest.mark.parametrize(
    ("dtype", "rtol", "atol"), [(None, 0, 0), ("bfloat16", 2**-8, 1e-7), ("float16", 2**-11, 1e-7)]
)
def test_weights_saved_and_loaded(tmp_path, dtype, rtol, atol) -> None:
    generator = tiny_generator(SEQUENCES)
    path = tmp_path / "folder" / "model.pt"
    save_weights(generator, path, dtype)
    assert {value.dtype for value in read_checkpoint(path).values()} == {getattr(torch, dtype or "float32")}
    loaded = initial_network(tiny_generator(SEQUENCES, seed=1), "cpu", path)
    torch.testing.assert_close(loaded.state_dict(), generator.state_dict(), rtol=rtol, atol=atol)
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
    before, modules = copy.deepcopy(generator.state_dict()), len(list(generator.modules()))
    network = initial_network(generator, "cpu", gradient_checkpointing=gradient_checkpointing)
    exactly(network.state_dict(), before)
    assert (len(list(network.modules())) > modules) == gradient_checkpointing  # the wrappers


def test_weights_are_used_on_intensities_as_they_were_trained_on(tmp_path) -> None:
    network, trained = tiny_generator(SEQUENCES), NormalizeSequencesd(SEQUENCES, **OTHER_BOUND)
    save_weights(network, tmp_path / "known.pt", normalize=trained)
    save_weights(network, tmp_path / "unknown.pt")
    other = NormalizeSequencesd(SEQUENCES)
    for path, normalize in [("known.pt", trained), ("known.pt", None), ("unknown.pt", other)]:
        load_weights(network, tmp_path / path, normalize)
    with pytest.raises(ValueError, match=OPTIONS):
        load_weights(network, tmp_path / "known.pt", other)


@pytest.mark.slow
def test_a_killed_command_that_is_resumed_equals_one_that_was_not_killed(brain_cohort, brats_configs, tmp_path) -> None:
    """It is killed with worker processes and resumed without, since their number must not matter either."""
    settings = TINY_OVERRIDES | {
        "dataset_dir": str(brain_cohort),
        "device": "cpu",
        "samples_per_subject": 2,
        "max_epochs": 12,
        "val_interval": 3,
        "val_slices": 12,
        "lambda_cycle": 10.0,
    }
    files, log, history = [brats_configs / "train.json"], tmp_path / "log", tmp_path / "killed" / "history.csv"
    straight, killed = (settings | {"output_dir": str(tmp_path / name)} for name in ("straight", "killed"))
    run_bundle_here("training", files, straight | {"num_workers": 0})
    with log.open("wb") as output:
        command = bundle_command("training", files, killed | {"num_workers": 2})
        process = subprocess.Popen(
            command, env=command_environment(), stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    deadline = time.monotonic() + 600
    while process.poll() is None and not (history.exists() and len(history.read_text().splitlines()) > 4):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    # On a fast machine it may have finished before, which must not matter.
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() in (0, -signal.SIGKILL), log.read_text(errors="replace")[-3000:]
    run_bundle_here("training", files, killed | {"num_workers": 0, "resume": True})
    assert_same_training(tmp_path / "straight", tmp_path / "killed")
    assert {path.name for path in (tmp_path / "killed" / "checkpoints").iterdir()} == {"best.pt", "last.pt"}
