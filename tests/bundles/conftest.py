# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The bundles, run on tiny simulated cohorts with tiny networks."""

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
from engine_parts import bundle_workflow
from monai.bundle import ConfigParser, ConfigWorkflow
from wiring import keep_slices

from mri_phantom.brain import SimulateBrain
from mri_phantom.breast import SimulateBreast
from seq2seq_mri.networks.generator import Seq2SeqGenerator
from seq2seq_mri.training.checkpoint import save_weights

GENERATORS = ("seq2seq_brats", "seq2seq_breast")
TINY_NETWORK = {
    "channels": [4, 8, 8],
    "num_res_blocks": 1,
    "lstm_layers": 1,
    "code_channels": 8,
    "weight_code_channels": 2,
}
# Of networks so small, slices one by one take four times as long.
TINY = {f"network_def#{name}": value for name, value in TINY_NETWORK.items()} | {"slice_batch_size": 8}
KINDS = {
    "train": (["train.json"], "training"),
    "evaluate": (["train.json", "evaluate.json"], "evaluating"),
    "inference": (["inference.json"], "inference"),
}


def original_error(run: Callable, *arguments: Any, **overrides: Any) -> BaseException:
    """Return the error that a run ends with, without what MONAI's config parser wraps around it."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 -- every test checks the message
        run(*arguments, **overrides)
    error = caught.value
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    return error


@dataclass
class Runs:
    """Runs a bundle on a cohort.

    Attributes:
        bundle: the bundle's folder.
        dataset_dir: the cohort's.
        options: values of the configurations for all runs.
    """

    bundle: Path
    dataset_dir: Path
    options: dict[str, Any]
    error = staticmethod(original_error)

    def workflow(self, kind: str, overlays: tuple[str, ...] = (), **overrides: Any) -> ConfigWorkflow:
        """Return the initialized workflow of ``kind`` in ``KINDS``."""
        places = {"dataset_dir": str(self.dataset_dir), "output_dir": str(self.dataset_dir.parent / "output")}
        names, run_id = KINDS[kind]
        files = [self.bundle / "configs" / name for name in (*names, *overlays)]
        return bundle_workflow(run_id, files, {"bundle_root": str(self.bundle)} | places | self.options | overrides)

    def run(self, kind: str, overlays: tuple[str, ...] = (), **overrides: Any) -> ConfigWorkflow:
        """Run a workflow from beginning to end, and leave the search path as it was."""
        search_path = list(sys.path)
        try:
            workflow = self.workflow(kind, overlays, **overrides)
            workflow.run()
            workflow.finalize()
        finally:
            sys.path[:] = search_path
        return workflow


@dataclass
class BundleRuns(Runs):
    """Runs a generator's bundle.

    Attributes:
        weights: a checkpoint of the tiny generator, random.
    """

    weights: Path
    datalist: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.datalist = json.loads((self.dataset_dir / "datalist.json").read_text())
        definition = json.loads((self.bundle / "configs" / "train.json").read_text())["network_def"]
        torch.manual_seed(0)
        generator = Seq2SeqGenerator(
            spatial_dims=2, sequences=self.sequences, in_channels=definition["in_channels"], **TINY_NETWORK
        )
        save_weights(generator, self.weights)

    @property
    def sequences(self) -> dict[str, int]:
        """The bundle's sequence table."""
        return json.loads((self.bundle / "configs" / "train.json").read_text())["sequences"]

    def configs(self, names: list[str]) -> list[str]:
        """Return the paths of config files."""
        return [str(self.bundle / "configs" / name) for name in names]

    def train(self, output_dir: Path, overlays: tuple[str, ...] = (), **overrides: Any) -> ConfigWorkflow:
        """Train for an epoch."""
        quick = {"max_epochs": 1, "val_interval": 1, "val_slices": 12, "num_workers": 0, "samples_per_subject": 2}
        return self.run("train", overlays, **({"output_dir": str(output_dir)} | quick | overrides))

    def evaluate(self, output_dir: Path, **overrides: Any) -> ConfigWorkflow:
        """Evaluate the training in ``output_dir``, without figures of subjects."""
        quick = {"lpips": "none", "figure_subjects": 0, "dataloader#num_workers": 0}
        return self.run("evaluate", **({"output_dir": str(output_dir)} | quick | overrides))

    def infer(self, output_dir: Path, **overrides: Any) -> ConfigWorkflow:
        """Synthesise, without figures."""
        quick = {"checkpoint": str(self.weights), "num_workers": 0, "figures": False}
        return self.run("inference", **({"output_dir": str(output_dir)} | quick | overrides))

    def infer_error(self, output_dir: Path, **overrides: Any) -> BaseException:
        """Return the error that inference ends with."""
        return self.error(self.infer, output_dir, **overrides)

    def subject(self, index: int = 0, without: tuple[str, ...] = (), section: str = "testing") -> dict[str, Any]:
        """Return a subject of the cohort with absolute paths."""
        entry = copy.deepcopy(self.datalist[section][index])
        kept = {
            name: str(self.dataset_dir / entry[name])
            for name in self.sequences
            if name in entry and name not in without
        }
        return {"subject": entry["subject"], **kept}


def copy_generator_bundle(runs: BundleRuns, folder: Path) -> Path:
    """Write a generator's bundle whose own configuration is that of the tiny generator."""
    bundle = folder / runs.bundle.name
    parser = ConfigParser()
    parser.read_config(runs.configs(["inference.json"]))
    for key, value in runs.options.items():
        parser[key] = value
    (bundle / "configs").mkdir(parents=True)
    content = {key: value for key, value in parser.config.items() if key != "_meta_"}
    (bundle / "configs" / "inference.json").write_text(json.dumps(content))
    (bundle / "models").mkdir()
    shutil.copy(runs.weights, bundle / "models" / "model.pt")
    return bundle


@pytest.fixture(scope="session")
def classifier_runs(runs: BundleRuns, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Differentiation_classifier: six subjects to train on, four to validate, four to test."""
    folder = tmp_path_factory.mktemp("classified")
    cohort = {"shape": (36, 40, 32), "spacing": 5.0, "splits": (6, 4, 4), "missing": 0, "healthy": 0.0}
    SimulateBrain(folder / "data", texture=0.7, **cohort)()
    keep_slices(folder / "data", 9, 28)
    options = {
        "generator_dir": str(copy_generator_bundle(runs, folder)),
        "spacing": [5.0, 5.0, 5.0],
        "spatial_size": [33, 40, 20],
        "widen_factor": 0.0625,
    }
    return Runs(repository / "bundles" / "differentiation_classifier", folder / "data", options)


@pytest.fixture(scope="session")
def brats(repository: Path) -> Path:
    """The bundle's folder."""
    return repository / "bundles" / "seq2seq_brats"


@pytest.fixture(scope="session")
def runs(brats: Path, tmp_path_factory: pytest.TempPathFactory) -> BundleRuns:
    """Seq2seq_brats: two subjects to train on, one to validate, two to test; a random generator."""
    folder = tmp_path_factory.mktemp("cohort")
    SimulateBrain(folder / "data", shape=(36, 40, 32), spacing=5.0, splits=(2, 1, 2), missing=1)()
    keep_slices(folder / "data", 12, 25)
    return BundleRuns(brats, folder / "data", TINY | {"slice_size": [40, 44]}, folder / "random.pt")


@pytest.fixture(scope="session")
def breast_runs(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> BundleRuns:
    """Seq2seq_breast: four subjects to train on, one to validate, one to test; a random generator."""
    folder = tmp_path_factory.mktemp("breasts")
    SimulateBreast(folder / "data", shape=(40, 34, 32), spacing=7.0, splits=(4, 1, 1))()
    keep_slices(folder / "data", 11, 22)
    options = TINY | {"slice_size": [40, 36], "spacing": [7.0, 7.0, 7.0]}
    return BundleRuns(repository / "bundles" / "seq2seq_breast", folder / "data", options, folder / "random.pt")


@pytest.fixture(params=GENERATORS)
def generator_runs(request: pytest.FixtureRequest) -> BundleRuns:
    """Each generator bundle in turn."""
    return request.getfixturevalue({"seq2seq_brats": "runs", "seq2seq_breast": "breast_runs"}[request.param])


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
        path.write_text(json.dumps({"name": "made up", "sequences": {"t1": 1}, "testing": list(entries)}))
        return str(path)

    return write


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[Path], Path]:
    """Copies a folder, so that a test may change it."""

    def copy_folder(folder: Path) -> Path:
        return Path(shutil.copytree(folder, tmp_path / folder.name))

    return copy_folder


@pytest.fixture(scope="session")
def make_generator_bundle() -> Callable[[BundleRuns, Path], Path]:
    """Writes a generator's bundle with a tiny generator below a folder."""
    return copy_generator_bundle
