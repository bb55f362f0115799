# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Training a generator bundle on the studies of the datastore, as ``monai.bundle run training`` does."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.train import TrainTask

from lib.studies import Studies
from seq2seq_mri.io.datalists.datalist import write_datalist
from seq2seq_mri.io.datalists.splits import split_subjects

__all__ = ["TrainingTask"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_SHOWN_LINES = 20


class TrainingTask(TrainTask):
    """Runs the training of a bundle in a process and a folder of its own; the bundle's folder is only read.

    Args:
        bundle: the bundle's folder.
        sequences: its sequence table.
        trainings: the folder in which each training gets one.
        studies: where the subjects are.
    """

    def __init__(self, bundle: Path, sequences: Mapping[str, int], trainings: Path, studies: Studies) -> None:
        super().__init__(f"Trains {bundle.name} on the subjects of the datastore")
        self.bundle = bundle
        self.sequences = sequences
        self.trainings = trainings
        self.studies = studies

    def config(self) -> dict[str, Any]:
        """Return the parameters that a request may have, with their defaults."""
        return {
            "name": "",
            "resume": False,
            "pretrained": True,
            "max_epochs": 50,
            "val_interval": 5,
            "learning_rate": 2e-4,
            "val_split": 0.2,
        }

    def stats(self) -> dict[str, Any]:
        """Return the trainings that have weights."""
        return {"trainings": sorted(path.parent.parent.name for path in self.trainings.glob("*/checkpoints/best.pt"))}

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train, and return where the weights are.

        Raises:
            FileExistsError: when a training of this name exists and is not to be resumed.
            ValueError: when a parameter is wrong, there are fewer than two subjects, or the training fails.
        """
        values = self.config() | {name: request[name] for name in self.config() if request.get(name) is not None}
        options = _checked(values)
        output = self._output(values["name"], values["resume"])
        datalist = output / "datalist.json"
        if not values["resume"]:
            self._write_datalist(datalist, values["val_split"])
        command = [sys.executable, "-m", "monai.bundle", "run", "training"]
        command += ["--config_file", str(self.bundle / "configs" / "train.json"), "--bundle_root", str(self.bundle)]
        command += ["--dataset_dir", str(output), "--datalist", str(datalist), "--output_dir", str(output)]
        if values["pretrained"]:
            command += ["--initial_weights", str(self.bundle / "models" / "model.pt")]
        _run(command + [part for name, value in options.items() for part in (f"--{name}", str(value))])
        return {"output": str(output), "model_filename": f"{output.name}/best.pt"}

    def _output(self, name: str, resume: bool) -> Path:
        if not name:
            if resume:
                raise ValueError("Give the name of the training to resume.")
            numbers = [int(path.name[9:]) for path in self.trainings.glob("training_*") if path.name[9:].isdigit()]
            name = f"training_{max(numbers, default=0) + 1}"
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(f"The name of a training is {name!r}; give letters, digits, '_', '-' and '.'.")
        output = self.trainings / name
        if self.bundle.resolve() in [output.resolve(), *output.resolve().parents]:
            raise ValueError(f"{output} is in the bundle, whose files are not changed; give the app another 'output'.")
        if resume and not (output / "datalist.json").is_file():
            raise FileNotFoundError(f"There is no training '{name}' to resume.")
        if not resume and output.exists():
            raise FileExistsError(f"There is a training '{name}'; resume it, or give another name.")
        return output

    def _write_datalist(self, path: Path, val_split: float) -> None:
        subjects = {subject.name: subject for subject in self.studies.subjects(self.sequences)}
        if len(subjects) < 2:
            raise ValueError(
                f"Training needs two subjects, one of them for validation; the datastore has {len(subjects)} whose "
                "images' names tell their sequences."
            )
        patients = {name: subject.patient for name, subject in subjects.items() if subject.patient}
        split = split_subjects(list(subjects), fractions=(1 - val_split, val_split, 0.0), patients=patients)
        if not split["validation"]:
            raise ValueError("All subjects are of one patient; training needs another one for validation.")
        content: dict[str, Any] = {"name": self.bundle.name, "sequences": dict(self.sequences)}
        for section in ("training", "validation"):
            content[section] = [
                {"subject": name, "patient": patients.get(name, name)} | self.studies.files(subjects[name])
                for name in split[section]
            ]
        write_datalist(content, path)


def _checked(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that the bundle's configuration has, as it has them."""
    whole = {name: values[name] for name in ("max_epochs", "val_interval")}
    for name, value in whole.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} is {value!r}; give a whole number from 1.")
    rate, share = values["learning_rate"], values["val_split"]
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate < 1:
        raise ValueError(f"learning_rate is {rate!r}; give a number between 0 and 1.")
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share < 1:
        raise ValueError(f"val_split is {share!r}; give a share between 0 and 1.")
    for name in ("resume", "pretrained"):
        if not isinstance(values[name], bool):
            raise ValueError(f"{name} is {values[name]!r}; give true or false.")
    return whole | {"learning_rate": float(rate), "resume": values["resume"]}


def _run(command: list[str]) -> None:
    """Run a process, pass its output on, and raise its last lines when it fails."""
    last: deque[str] = deque(maxlen=_SHOWN_LINES)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            last.append(line)
    if process.returncode != 0:
        raise ValueError(f"The training ended with an error:\n{''.join(last)}")
