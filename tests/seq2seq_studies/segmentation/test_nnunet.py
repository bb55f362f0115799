# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What nnU-Net is told: its plans, folders and command line; and what is said when it fails or is absent."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from seq2seq_studies.segmentation import nnunet
from seq2seq_studies.segmentation.nnunet import PLANS, NnunetJob, check_nnunet, reduce_plans, run_nnunet
from seq2seq_studies.segmentation.segmentation_settings import SegmentationSettings


@pytest.fixture
def job(tmp_path) -> NnunetJob:
    settings = SegmentationSettings("datalist.json", tmp_path, epochs=5, steps=20, device="cpu")
    return NnunetJob(tmp_path / "t1_t2", seed=4, fold=0, settings=settings)


def planned(patch=(80, 48, 56)) -> dict:
    architecture = {
        "features_per_stage": [32, 64, 128, 320],
        "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2], [1, 2, 2]],
    }
    configuration = {"patch_size": list(patch), "batch_size": 2, "architecture": {"arch_kwargs": architecture}}
    return {"plans_name": "nnUNetPlans", "configurations": {"3d_fullres": configuration}}


def test_plans_stay_as_nnunet_made_them() -> None:
    before = planned()
    after = reduce_plans(before, "3d_fullres")
    assert after["configurations"] == before["configurations"] == planned()["configurations"]
    assert after["plans_name"] == PLANS
    assert before["plans_name"] == "nnUNetPlans"


def test_plans_for_a_smaller_budget() -> None:
    after = reduce_plans(planned(), "3d_fullres", features=8, patch=50, batch_size=1)["configurations"]["3d_fullres"]
    assert after["architecture"]["arch_kwargs"]["features_per_stage"] == [8, 16, 32, 80]
    assert after["patch_size"] == [48, 48, 48]  # multiples of the strides, 4, 8, 8
    assert after["batch_size"] == 1


def test_a_patch_that_the_network_cannot_take() -> None:
    with pytest.raises(ValueError, match="patch is 12; the network that nnU-Net planned needs at least 16"):
        reduce_plans(planned(), "3d_fullres", patch=12)
    with pytest.raises(ValueError, match="nnU-Net planned 3d_fullres for this data, not '2d'"):
        reduce_plans(planned(), "2d")


def test_nnunets_folders_are_ours(tmp_path, monkeypatch, job) -> None:
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "nnUNet_n_proc_DA"):
        monkeypatch.setenv(name, "/somewhere/else")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    environment = job.environment()
    ours = {name: value for name, value in environment.items() if name.startswith("nnUNet_")}
    assert "/somewhere/else" not in ours.values()
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        assert Path(ours[name]).is_relative_to(tmp_path)
    settings = {name: value for name, value in environment.items() if name.startswith("SEQ2SEQ_MRI_")}
    expected = {"EPOCHS": "5", "STEPS": "20", "SEED": "4", "THREADS": "3"}
    assert settings.items() >= {f"SEQ2SEQ_MRI_{name}": value for name, value in expected.items()}.items()


def test_without_nnunet_one_message_says_how_to_install_it(monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'install it by: pip install "seq2seq-mri\[segmentation\]"'):
        check_nnunet()


def test_a_failing_job_names_its_log_and_last_line(tmp_path, monkeypatch, job) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!{sys.executable}\nprint('Epoch 0 ')\nprint('Epoch 1')\nraise SystemExit('out of memory')\n")
    program.chmod(0o755)
    monkeypatch.setattr(nnunet.sys, "executable", str(program))
    epochs: list[int] = []
    message = r"nnU-Net ended with an error: out of memory All .* is in .*seed_4_fold_0.log"
    with pytest.raises(ValueError, match=message):
        run_nnunet(job, epochs.append)
    assert epochs == [0, 1]
    assert (job.folder / "seed_4_fold_0.log").read_text() == "Epoch 0 \nEpoch 1\nout of memory\n"
