# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Two processes do what one does: collectives, and training, evaluation and inference under torchrun."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import distributed_parts
import pandas as pd
import pytest
import torch
from engine_parts import SEQUENCES, TINY_NETWORK, TINY_OVERRIDES, bundle_command, command_environment, run_bundle_here

from seq2seq_mri.evaluation.image_quality.quality_table import read_metrics
from seq2seq_mri.networks.generator import Seq2SeqGenerator
from seq2seq_mri.training import distributed
from seq2seq_mri.training.checkpoint import read_checkpoint, save_weights

BRATS = {"t1": 1, "t1gd": 1, "t2": 1, "flair": 1}


class TestOneProcess:
    def test_there_is_nothing_to_exchange(self) -> None:
        assert (distributed.rank(), distributed.world_size()) == (0, 1)
        parameter = torch.nn.Parameter(torch.zeros(2))
        distributed.average_gradients([parameter])
        assert parameter.grad is None
        rows = [1, 2]
        assert distributed.gather_rows(rows) == rows
        assert distributed.gather_rows(rows) is not rows
        distributed.initialize_distributed()
        assert not torch.distributed.is_initialized()

    @pytest.mark.parametrize(("rank", "expected"), [("0", 0), ("1", 1), ("2", 0)])
    def test_each_process_has_its_own_gpu(self, monkeypatch, rank, expected) -> None:
        chosen = []
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
        monkeypatch.setenv("LOCAL_RANK", rank)
        assert distributed.select_device() == torch.device("cuda", expected)
        assert chosen == [torch.device("cuda", expected)]

    @pytest.mark.parametrize(
        ("cores", "processes", "expected"),
        [(1, None, 1), (2, None, 2), (3, "2", 1), (64, None, 4), (64, "8", 4), (16, "8", 2), (4, "8", 1)],
    )
    def test_cores_are_shared_by_the_processes_of_a_machine(self, monkeypatch, cores, processes, expected) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)), raising=False)
        monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
        if processes is not None:
            monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
        assert distributed.default_workers() == expected

    @pytest.mark.parametrize("count", [1, 2, 3, 7])
    def test_each_item_belongs_to_one_process(self, monkeypatch, count) -> None:
        monkeypatch.setattr(distributed, "world_size", lambda: count)
        shares = []
        for number in range(count):
            monkeypatch.setattr(distributed, "rank", lambda number=number: number)
            shares.append(distributed.own_share(range(5)))
        assert shares[0] == list(range(0, 5, count))
        assert sorted(item for share in shares for item in share) == list(range(5))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1

    def test_the_cpu_without_a_gpu(self, monkeypatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert distributed.select_device() == torch.device("cpu")
        assert distributed.select_device("cuda:1") == torch.device("cuda", 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The folder in which two processes left their results."""
    folder = tmp_path_factory.mktemp("two_processes")
    rendezvous = f"file://{folder / 'rendezvous'}"
    torch.multiprocessing.spawn(distributed_parts.run, (2, rendezvous, str(folder)), nprocs=2)
    return folder


@pytest.fixture(scope="module")
def results(folder) -> list[dict[str, Any]]:
    """What each process left."""
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.slow
class TestTwoProcesses:
    def test_gradients_are_averaged(self, results) -> None:
        for result in results:
            both, one, none, untrained = result["gradients"]
            assert torch.equal(both, torch.full((2, 3), 1.5))
            assert torch.equal(one, torch.arange(4.0) / 2)
            assert none is None  # an optimizer would move what has a gradient of zero by its momentum
            assert untrained is None

    def test_parameters_and_buffers_are_those_of_the_first(self, results) -> None:
        first, second = (result["broadcast"] for result in results)
        assert first.keys() == second.keys() >= {"weight", "running_mean", "num_batches_tracked"}
        assert all(torch.equal(first[name], second[name]) for name in first)
        torch.manual_seed(0)
        assert torch.equal(first["weight"], torch.nn.init.normal_(torch.empty(3)))

    def test_rows_come_to_the_first_in_order(self, results) -> None:
        assert [row["subject"] for row in results[0]["rows"]] == ["p0-0", "p1-0", "p1-1"]
        assert results[1]["rows"] == []

    def test_a_process_may_have_no_subject(self, folder, results) -> None:
        table = read_metrics(folder / "evaluation" / "metrics.csv")
        assert len(table) == len(SEQUENCES) * (len(SEQUENCES) - 1)
        for result in results:
            assert result["val_psnr"] == pytest.approx(table.psnr_foreground.mean())


def run_in_one_and_in_two(
    run_id: str, files: Sequence[Path], overlay: Path, folder: Path, overrides: dict[str, Any], **one: Any
) -> tuple[Path, Path]:
    """Run a bundle in this process, with ``one`` in addition, and in two processes under ``torchrun``."""
    common = TINY_OVERRIDES | overrides | {"device": "cpu"}
    run_bundle_here(run_id, files, common | {"output_dir": str(folder / "one")} | one)
    two = common | {"output_dir": str(folder / "two"), "backend": "gloo"}
    done = subprocess.run(
        bundle_command(run_id, [*files, overlay], two, processes=2),
        env=command_environment(),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return folder / "one", folder / "two"


def assert_same_files(first: Path, second: Path) -> None:
    """Compare two folders byte for byte."""
    files = [{str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()} for folder in (first, second)]
    assert files[0].keys() == files[1].keys()
    assert files[0]
    different = [name for name, path in files[0].items() if path.read_bytes() != files[1][name].read_bytes()]
    assert different == []


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "random.pt"
    save_weights(Seq2SeqGenerator(spatial_dims=2, sequences=BRATS, **TINY_NETWORK), path)
    return path


@pytest.mark.slow
def test_first_update_equals_that_of_the_doubled_batch(brain_cohort, brats_configs, weights, tmp_path) -> None:
    """Gradient descent, so that the update is the gradient; crops and flips depend on the subject, not the process."""
    common = {
        "dataset_dir": str(brain_cohort),
        "batch_size": 2,
        "samples_per_subject": 1,
        "initial_weights": str(weights),
        "max_epochs": 1,
        "val_interval": 1,
        "val_slices": 12,
        "num_workers": 0,
        "lambda_cycle": 2.0,
        "train#step#pairs": "all",
        "train#step#cycles": "all",
        "train#optimizer#_target_": "torch.optim.SGD",
        "learning_rate": 0.01,
    }
    train, multi = brats_configs / "train.json", brats_configs / "multi_gpu_train.json"
    folders = run_in_one_and_in_two("training", [train], multi, tmp_path, common, batch_size=4)
    start = read_checkpoint(weights)
    one, both = (read_checkpoint(folder / "checkpoints" / "last.pt") for folder in folders)
    assert one["epoch_length"] == both["epoch_length"] == 1
    largest = max((one["network"][name] - value).abs().max().item() for name, value in start.items())
    assert largest > 1e-3
    for name, value in one["network"].items():
        torch.testing.assert_close(both["network"][name], value, rtol=0, atol=1e-4 * largest, msg=name)
    for folder in folders:
        assert len(list((folder / "tensorboard").rglob("*.tfevents.*"))) == 1
    rows = [pd.read_csv(folder / "history.csv") for folder in folders]
    assert rows[1].val_psnr[0] == pytest.approx(rows[0].val_psnr[0], abs=1e-4)


@pytest.mark.slow
def test_inference_equals_that_of_one_process(brain_cohort, brats_configs, weights, tmp_path) -> None:
    common = {"dataset_dir": str(brain_cohort), "checkpoint": str(weights), "targets": "t1gd", "num_workers": 0}
    inference, multi = brats_configs / "inference.json", brats_configs / "multi_gpu_inference.json"
    one, two = run_in_one_and_in_two("inference", [inference], multi, tmp_path, common)
    assert_same_files(one, two)
    assert len(pd.read_csv(two / "synthesis.csv")) == 3


@pytest.mark.slow
def test_evaluation_equals_that_of_one_process(brain_cohort, brats_configs, weights, tmp_path) -> None:
    common = {
        "dataset_dir": str(brain_cohort),
        "checkpoint": str(weights),
        "lpips": "none",
        "figure_subjects": 1,
        "dataloader#num_workers": 0,
    }
    files, multi = (
        [brats_configs / "train.json", brats_configs / "evaluate.json"],
        brats_configs / "multi_gpu_inference.json",
    )
    one, two = run_in_one_and_in_two("evaluating", files, multi, tmp_path, common)
    assert_same_files(one / "evaluation", two / "evaluation")
    assert len(pd.read_csv(two / "evaluation" / "metrics.csv")) == 3 * 12
    assert len(list((two / "evaluation" / "figures").glob("*_translations.png"))) == 1
