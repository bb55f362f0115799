# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Starting one training of nnU-Net as a process, following it, and saying what went wrong."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from seq2seq_mri.files import atomic_path

__all__ = ["DATASET_ID", "PLANS", "TRAINER", "check_nnunet", "choose_device", "nnunet_environment", "run_nnunet"]

#: Each combination has folders of its own, so one number does for all.
DATASET_ID = 1
#: Name of the plans after :func:`reduce_plans`.
PLANS = "seq2seq_mri"
#: The trainer with a seed, ``nnunet_trainers/seq2seq_mri_trainer.py``.
TRAINER = "Seq2SeqMriTrainer"

_TRAINERS = Path(__file__).resolve().parent / "nnunet_trainers"
_EPOCH = re.compile(r"Epoch (\d+)\s*$")


def check_nnunet() -> None:
    """Check that nnU-Net is installed.

    Raises:
        ValueError: when it is not, saying how to install it.
    """
    if importlib.util.find_spec("nnunetv2") is None:
        raise ValueError('nnU-Net is not installed; install it by: pip install "seq2seq-mri[segmentation]"')


def choose_device(device: str | None) -> str:
    """Return ``cuda`` where there is a GPU and ``cpu`` elsewhere, or ``device`` if it is one that can be used.

    Raises:
        ValueError: when ``device`` is neither, or there is no GPU.
    """
    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cuda", "cpu"):
        raise ValueError(f"device is {device!r}; give cuda or cpu. Choose one of several GPUs by CUDA_VISIBLE_DEVICES.")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is cuda, but PyTorch finds no GPU; give cpu.")
    return device


def nnunet_environment(root: Path, seed: int, epochs: int, steps: int) -> dict[str, str]:
    """Return the environment of a training: ours in place of any that nnU-Net may find.

    Args:
        root: nnU-Net's folders are made in it.
        seed: of the weights, and of patches and augmentations that no other process draws.
        epochs: their number.
        steps: of an epoch.
    """
    package = str(Path(__file__).resolve().parents[2])
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("nnUNet_")}
    python_path = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    return inherited | {
        "PYTHONPATH": os.pathsep.join(python_path),
        "PYTHONUNBUFFERED": "1",
        "MPLBACKEND": "Agg",
        "nnUNet_raw": str(root / "raw"),
        "nnUNet_preprocessed": str(root / "preprocessed"),
        "nnUNet_results": str(root / "results" / f"seed_{seed}"),
        "nnUNet_extTrainer": str(_TRAINERS),
        "nnUNet_compile": "f",
        "nnUNet_def_n_proc": "1",
        "SEQ2SEQ_MRI_EPOCHS": str(epochs),
        "SEQ2SEQ_MRI_STEPS": str(steps),
        "SEQ2SEQ_MRI_SEED": str(seed),
        # Under another name: MONAI's runner sets OMP_NUM_THREADS, too.
        "SEQ2SEQ_MRI_THREADS": os.environ.get("OMP_NUM_THREADS", ""),
    }


def run_nnunet(
    job: Mapping, log: Path, environment: Mapping[str, str], epoch_started: Callable[[int], object] = lambda epoch: None
) -> None:
    """Run a job, see :func:`run_job`, and write what it prints to ``log``.

    Args:
        job: what to do.
        log: receives nnU-Net's output, after what is there.
        environment: of the process.
        epoch_started: called with the number of each epoch, from 0.

    Raises:
        ValueError: when it fails, with the last line that it printed and the path of the log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    job_file = log.with_suffix(".json")
    with atomic_path(job_file, overwrite=True) as temporary:
        temporary.write_text(json.dumps(dict(job), indent=4) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "seq2seq_studies.segmentation.nnunet_job", str(job_file)]
    last = ""
    with (
        log.open("a", encoding="utf-8") as file,
        subprocess.Popen(
            command,
            env=dict(environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        for line in process.stdout or ():
            file.write(line)
            file.flush()
            last = line.strip() or last
            epoch = _EPOCH.search(line)
            if epoch:
                epoch_started(int(epoch[1]))
    if process.returncode != 0:
        raise ValueError(f"nnU-Net ended with an error: {last} All that it printed is in {log}.")
