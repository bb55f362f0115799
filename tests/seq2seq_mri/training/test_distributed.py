# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Two processes do what one does: collectives, and training, evaluation and inference under torchrun."""

from __future__ import annotations

import os
import subprocess
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

    def test_each_process_has_its_own_gpu_or_the_cpu(self, monkeypatch) -> None:
        chosen = []
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert distributed.select_device() == torch.device("cpu")
        assert distributed.select_device("cuda:1") == torch.device("cuda", 1)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
        for process in ("0", "1", "2"):
            monkeypatch.setenv("LOCAL_RANK", process)
            assert distributed.select_device() == chosen[-1]
        assert chosen == [torch.device("cuda", 0), torch.device("cuda", 1), torch.device("cuda", 0)]

    @pytest.mark.parametrize(
        ("cores", "processes", "expected"),
        [(2, None, 2), (3, "2", 1), (64, "8", 4), (4, "8", 1)],
    )
    def test_cores_are_shared_by_the_processes_of_a_machine(self, monkeypatch, cores, processes, expected) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)), raising=False)
        monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
        if processes is not None:
            monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
        assert distributed.default_workers() == expected

    @pytest.mark.parametrize("count", [1, 3, 7])
    def test_each_item_belongs_to_one_process(self, monkeypatch, count) -> None:
        monkeypatch.setattr(distributed, "world_size", lambda: count)
        shares = []
        for number in range(count):
            monkeypatch.setattr(distributed, "rank", lambda number=number: number)
            shares.append(distributed.own_share(range(5)))
        assert shares[0] == list(range(0, 5, count))
        assert sorted(item for share in shares for item in share) == list(range(5))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "random.pt"
    save_weights(Seq2SeqGenerator(spatial_dims=2, sequences=BRATS, **TINY_NETWORK), path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory, brain_cohort, brats_configs, weights) -> Path:
    """The folder in which two processes left their results, and those of bundles beside what one process makes."""
    folder = tmp_path_factory.mktemp("two_processes")
    common = TINY_OVERRIDES | {"dataset_dir": str(brain_cohort), "checkpoint": str(weights), "device": "cpu"}
    evaluation = {"lpips": "none", "figure_subjects": 1, "dataloader#num_workers": 0}
    bundles = []
    for run_id, names, options in (
        ("inference", ["inference.json"], {"targets": "t1gd", "num_workers": 0}),
        ("evaluating", ["train.json", "evaluate.json"], evaluation),
    ):
        files, one, two = [brats_configs / name for name in names], folder / "one" / run_id, folder / "two" / run_id
        run_bundle_here(run_id, files, common | options | {"output_dir": str(one)})
        files.append(brats_configs / "multi_gpu_inference.json")
        bundles.append((run_id, files, common | options | {"output_dir": str(two)}))
    torch.multiprocessing.spawn(distributed_parts.run, (folder, bundles), nprocs=2)
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

    @pytest.mark.parametrize("results_in", ["inference", "evaluating/evaluation"])
    def test_bundles_write_what_one_process_writes(self, folder, results_in) -> None:
        parts = [folder / number / results_in for number in ("one", "two")]
        one, two = ({p.relative_to(part): p.read_bytes() for p in part.rglob("*") if p.is_file()} for part in parts)
        assert one.keys() == two.keys()
        assert [name for name, content in one.items() if content != two[name]] == []
        table, rows = ("synthesis.csv", 3) if results_in == "inference" else ("metrics.csv", 3 * 12)
        assert len(pd.read_csv(parts[1] / table)) == rows


@pytest.mark.slow
def test_first_update_equals_that_of_the_doubled_batch(brain_cohort, brats_configs, weights, tmp_path) -> None:
    """Gradient descent, so that the update is the gradient; crops and flips depend on the subject, not the process."""
    common = TINY_OVERRIDES | {
        "dataset_dir": str(brain_cohort),
        "device": "cpu",
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
    files, folders = [brats_configs / "train.json"], [tmp_path / "one", tmp_path / "two"]
    run_bundle_here("training", files, common | {"output_dir": str(folders[0]), "batch_size": 4})
    two = common | {"output_dir": str(folders[1]), "batch_size": 2, "backend": "gloo"}
    done = subprocess.run(
        bundle_command("training", [*files, brats_configs / "multi_gpu_train.json"], two, processes=2),
        env=command_environment(),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    start = read_checkpoint(weights)
    one, both = (read_checkpoint(folder / "checkpoints" / "last.pt") for folder in folders)
    assert one["epoch_length"] == both["epoch_length"] == 1
    largest = max((one["network"][name] - value).abs().max().item() for name, value in start.items())
    assert largest > 1e-3
    torch.testing.assert_close(both["network"], one["network"], rtol=0, atol=1e-4 * largest)
    for folder in folders:
        assert len(list((folder / "tensorboard").rglob("*.tfevents.*"))) == 1
    rows = [pd.read_csv(folder / "history.csv") for folder in folders]
    assert rows[1].val_psnr[0] == pytest.approx(rows[0].val_psnr[0], abs=1e-4)
