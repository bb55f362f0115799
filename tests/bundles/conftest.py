# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The bundle seq2seq_brats, run on a tiny simulated cohort with a tiny generator."""

from __future__ import annotations

import copy
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigWorkflow

from seq2seq_mri.data.simulation.brain import simulate_brain
from seq2seq_mri.engines.checkpoint import save_weights
from seq2seq_mri.networks.generator import Seq2SeqGenerator

SEQUENCES = {"t1": 1, "t1gd": 1, "t2": 1, "flair": 1}
TINY_NETWORK = {
    "channels": [4, 8, 8],
    "num_res_blocks": 1,
    "lstm_layers": 1,
    "code_channels": 4,
    "weight_code_channels": 2,
}
TINY = {f"network_def#{name}": value for name, value in TINY_NETWORK.items()} | {"slice_size": [40, 44]}
KINDS = {
    "train": (["train.json"], "train", "training"),
    "evaluate": (["train.json", "evaluate.json"], "eval", "evaluating"),
    "inference": (["inference.json"], "infer", "inference"),
}


@dataclass
class BundleRuns:
    """Runs seq2seq_brats on a cohort.

    Attributes:
        bundle: the bundle's folder.
        dataset_dir: the cohort's.
        weights: a checkpoint of the tiny generator.
    """

    bundle: Path
    dataset_dir: Path
    weights: Path
    datalist: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.datalist = json.loads((self.dataset_dir / "datalist.json").read_text())

    def configs(self, names: list[str]) -> list[str]:
        """Return the paths of config files."""
        return [str(self.bundle / "configs" / name) for name in names]

    def workflow(self, kind: str, overlays: tuple[str, ...] = (), **overrides: Any) -> ConfigWorkflow:
        """Return the initialized workflow of ``kind`` in ``KINDS``."""
        names, workflow_type, run_id = KINDS[kind]
        workflow = ConfigWorkflow(
            self.configs([*names, *overlays]),
            workflow_type=workflow_type,
            run_id=run_id,
            # MONAI's logging.conf binds the root logger to the standard output of the moment.
            logging_file=False,
            **({"bundle_root": str(self.bundle), "dataset_dir": str(self.dataset_dir)} | TINY | overrides),
        )
        workflow.initialize()
        return workflow

    def run(self, kind: str, overlays: tuple[str, ...] = (), **overrides: Any) -> ConfigWorkflow:
        """Run a workflow from beginning to end."""
        search_path = list(sys.path)
        try:
            workflow = self.workflow(kind, overlays, **overrides)
            workflow.run()
            workflow.finalize()
        finally:
            sys.path[:] = search_path
        return workflow

    def train(self, output_dir: Path, overlays: tuple[str, ...] = (), **overrides: Any) -> ConfigWorkflow:
        """Train for an epoch."""
        quick = {"max_epochs": 1, "val_interval": 1, "val_slices": 12, "num_workers": 0, "samples_per_subject": 2}
        return self.run("train", overlays, **({"output_dir": str(output_dir)} | quick | overrides))

    def evaluate(self, output_dir: Path, **overrides: Any) -> ConfigWorkflow:
        """Evaluate the training in ``output_dir``."""
        quick = {"lpips": "none", "dataloader#num_workers": 0}
        return self.run("evaluate", **({"output_dir": str(output_dir)} | quick | overrides))

    def infer(self, output_dir: Path, **overrides: Any) -> ConfigWorkflow:
        """Synthesise, without figures."""
        quick = {"checkpoint": str(self.weights), "num_workers": 0, "figures": False}
        return self.run("inference", **({"output_dir": str(output_dir)} | quick | overrides))

    def infer_error(self, output_dir: Path, **overrides: Any) -> BaseException:
        """Return the error that inference ends with, without what MONAI's config parser wraps around it."""
        with pytest.raises(Exception) as caught:  # noqa: PT011 -- every test checks the message
            self.infer(output_dir, **overrides)
        error = caught.value
        while isinstance(error, RuntimeError) and error.__cause__ is not None:
            error = error.__cause__
        return error

    def subject(self, index: int = 0, without: tuple[str, ...] = (), section: str = "testing") -> dict[str, Any]:
        """Return a subject of the cohort with absolute paths."""
        entry = copy.deepcopy(self.datalist[section][index])
        kept = {
            name: str(self.dataset_dir / entry[name]) for name in SEQUENCES if name in entry and name not in without
        }
        return {"subject": entry["subject"], **kept}


@pytest.fixture(scope="session")
def brats(repository: Path) -> Path:
    """The bundle's folder."""
    return repository / "bundles" / "seq2seq_brats"


@pytest.fixture(scope="session")
def runs(brats: Path, tmp_path_factory: pytest.TempPathFactory) -> BundleRuns:
    """Two subjects to train on, one to validate, two to test; a random generator."""
    folder = tmp_path_factory.mktemp("cohort")
    simulate_brain(folder / "data", shape=(36, 40, 32), spacing=5.0, splits=(2, 1, 2), missing=1)
    torch.manual_seed(0)
    generator = Seq2SeqGenerator(spatial_dims=2, sequences=SEQUENCES, in_channels=3, **TINY_NETWORK)
    save_weights(generator, folder / "random.pt")
    return BundleRuns(brats, folder / "data", folder / "random.pt")


@pytest.fixture(scope="session")
def trained(runs: BundleRuns, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a training of two epochs and its evaluation."""
    folder = tmp_path_factory.mktemp("trained")
    runs.train(folder, max_epochs=2)
    runs.evaluate(folder)
    return folder


@pytest.fixture
def write_datalist(tmp_path: Path) -> Callable[..., str]:
    """Writes a datalist with a section ``testing``."""

    def write(*entries: dict[str, Any]) -> str:
        path = tmp_path / "datalist.json"
        path.write_text(json.dumps({"name": "made up", "sequences": SEQUENCES, "testing": list(entries)}))
        return str(path)

    return write


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[Path], Path]:
    """Copies a folder, so that a test may change it."""

    def copy_folder(folder: Path) -> Path:
        return Path(shutil.copytree(folder, tmp_path / folder.name))

    return copy_folder
