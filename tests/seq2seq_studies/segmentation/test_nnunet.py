# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What nnU-Net is told: its plans, folders and command line; and what is said when it fails or is absent."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from seq2seq_studies.segmentation import nnunet_process
from seq2seq_studies.segmentation.nnunet_job import reduce_plans
from seq2seq_studies.segmentation.nnunet_process import (
    PLANS,
    check_nnunet,
    choose_device,
    nnunet_environment,
    run_nnunet,
)
from seq2seq_studies.segmentation.training_plan import TrainingPlan, whole_numbers


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


def test_nnunets_folders_are_ours(tmp_path, monkeypatch) -> None:
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "nnUNet_n_proc_DA"):
        monkeypatch.setenv(name, "/somewhere/else")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    environment = nnunet_environment(tmp_path, 4, 5, 20)
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


def test_a_failing_job_names_its_log_and_last_line(tmp_path, monkeypatch) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!{sys.executable}\nprint('Epoch 0 ')\nprint('Epoch 1')\nraise SystemExit('out of memory')\n")
    program.chmod(0o755)
    monkeypatch.setattr(nnunet_process.sys, "executable", str(program))
    epochs: list[int] = []
    log = tmp_path / "a" / "seed_0.log"
    with pytest.raises(ValueError, match=r"nnU-Net ended with an error: out of memory All .* is in .*seed_0.log"):
        run_nnunet({"fold": 0}, log, {"PYTHONUNBUFFERED": "1"}, epochs.append)
    assert epochs == [0, 1]
    assert log.read_text() == "Epoch 0 \nEpoch 1\nout of memory\n"


def test_device(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device(None) == choose_device("cpu") == "cpu"
    with pytest.raises(ValueError, match="finds no GPU; give cpu"):
        choose_device("cuda")
    with pytest.raises(ValueError, match="device is 'mps'"):
        choose_device("mps")


PLAN: dict = {
    "epochs": 1,
    "steps": 1,
    "folds": (0,),
    "seeds": (0,),
    "configuration": "3d_fullres",
    "features": None,
    "patch": None,
    "batch_size": None,
    "mirroring": True,
    "workers": 0,
    "device": "cpu",
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"epochs": None}, "epochs is None"),
        ({"steps": 1.5}, "steps is 1.5"),
        ({"features": True}, "features is True"),
        ({"patch": -1}, "patch is -1"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"workers": -1}, "workers is -1"),
        ({"folds": (0, 5)}, "fold 5 does not exist"),
        ({"configuration": "3d_lowres"}, "configuration is '3d_lowres'"),
    ],
)
def test_refuses_a_plan(change, message) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingPlan(**{**PLAN, **change})


def test_the_protocol_leaves_out_what_may_be_added() -> None:
    protocol = TrainingPlan(**PLAN).protocol()
    assert protocol["epochs"] == 1
    assert not {"folds", "seeds", "device"} & set(protocol)


@pytest.mark.parametrize(
    ("value", "numbers"), [(0, (0,)), ("0,2", (0, 2)), ([1, 1, 0], (1, 0)), ((3,), (3,)), ("4", (4,))]
)
def test_whole_numbers(value, numbers) -> None:
    assert whole_numbers(value, "folds") == numbers


@pytest.mark.parametrize("value", [-1, "a", [], 1.0, True, "1,x"])
def test_refuses_what_is_no_whole_number(value) -> None:
    with pytest.raises(ValueError, match="folds is"):
        whole_numbers(value, "folds")
