# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Training nnU-Net and predicting with it, in a process of its own: ``python -m ….nnunet JOB.json``.

nnU-Net takes its folders from environment variables. In a process of its own, nothing that the caller or another
training has set can lead it to other folders, and what it sets itself ends with it.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.apps.nnunet import nnUNetV2Runner

from seq2seq_studies.segmentation.segmentation_settings import SegmentationSettings
from seq2seq_studies.study_run import write_json

__all__ = ["PLANS", "NnunetJob", "check_nnunet", "reduce_plans", "run_job", "run_nnunet"]

#: Each combination has folders of its own, so one number does for all.
DATASET_ID = 1
#: Name of the plans after :func:`reduce_plans`.
PLANS = "seq2seq_mri"
#: The trainer with a seed, ``nnunet_trainers/seq2seq_mri_trainer.py``.
TRAINER = "Seq2SeqMriTrainer"

_AUGMENTING = "nnUNet_n_proc_DA"  # how many processes augment patches
_EPOCH = re.compile(r"Epoch (\d+)\s*$")


@dataclass(frozen=True)
class NnunetJob:
    """A training with its predictions.

    Attributes:
        folder: of the combination; its ``nnunet`` has nnU-Net's own three folders.
        seed: of the weights, and of patches and augmentations that no other process draws.
        fold: of nnU-Net's five: the fold's fifth of the training subjects validates, the others train.
        settings: how to train and predict.
    """

    folder: Path
    seed: int
    fold: int
    settings: SegmentationSettings

    @property
    def raw(self) -> Path:
        """Folder of the raw data set."""
        return self.folder / "nnunet" / "raw" / f"Dataset{DATASET_ID:03d}_{self.folder.name}"

    @property
    def preprocessed(self) -> Path:
        """Folder of the preprocessed images and the plans."""
        return self.folder / "nnunet" / "preprocessed" / self.raw.name

    @property
    def model(self) -> Path:
        """Folder of the trained networks, one for each fold."""
        trained = f"{TRAINER}__{PLANS}__{self.settings.configuration}"
        return self.folder / "nnunet" / "results" / f"seed_{self.seed}" / self.raw.name / trained

    @property
    def results(self) -> Path:
        """Folder of the predictions, and of what is measured of them."""
        return self.folder / f"seed_{self.seed}_fold_{self.fold}"

    def environment(self) -> dict[str, str]:
        """Return the environment of the process: ours in place of any that nnU-Net may find."""
        here = Path(__file__).resolve().parent
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("nnUNet_")}
        return inherited | {
            "PYTHONPATH": os.pathsep.join([str(here.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "PYTHONUNBUFFERED": "1",
            "MPLBACKEND": "Agg",
            "nnUNet_raw": str(self.raw.parent),
            "nnUNet_preprocessed": str(self.preprocessed.parent),
            "nnUNet_results": str(self.model.parents[1]),
            "nnUNet_extTrainer": str(here / "nnunet_trainers"),
            "nnUNet_compile": "f",
            "nnUNet_def_n_proc": "1",
            "SEQ2SEQ_MRI_EPOCHS": str(self.settings.epochs),
            "SEQ2SEQ_MRI_STEPS": str(self.settings.steps),
            "SEQ2SEQ_MRI_SEED": str(self.seed),
            # Under another name: MONAI's runner sets OMP_NUM_THREADS, too.
            "SEQ2SEQ_MRI_THREADS": os.environ.get("OMP_NUM_THREADS", ""),
        }


def check_nnunet() -> None:
    """Check that nnU-Net is installed.

    Raises:
        ValueError: when it is not, with how to install it.
    """
    if importlib.util.find_spec("nnunetv2") is None:
        raise ValueError('nnU-Net is not installed; install it by: pip install "seq2seq-mri[segmentation]"')


def run_nnunet(job: NnunetJob, epoch_started: Callable[[int], object]) -> None:
    """Run a job in a new process; beside its results, a ``.json`` holds the job and a ``.log`` what nnU-Net prints.

    Args:
        job: what to do.
        epoch_started: called with the number of each epoch, from 0.

    Raises:
        ValueError: when it fails, with the last line that it printed and the path of the log.
    """
    log = job.folder / f"{job.results.name}.log"
    job_file = log.with_suffix(".json")
    write_json(job_file, {**vars(job), "folder": str(job.folder), "settings": vars(job.settings)})
    command = [sys.executable, "-m", "seq2seq_studies.segmentation.nnunet", str(job_file)]
    last = ""
    pipe, environment = subprocess.PIPE, job.environment()
    with (
        log.open("a", encoding="utf-8") as file,
        subprocess.Popen(
            command, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True, errors="replace"
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


class DeviceRunner(nnUNetV2Runner):
    """MONAI's runner on any device, and without the need that nnU-Net's commands are on the ``PATH``.

    MONAI 1.6 passes ``--device`` where nnU-Net knows ``-device``, and predicts on a GPU only.
    """

    def __init__(self, device: str, **options: Any) -> None:
        super().__init__(**options)
        self.device = device

    def train_single_model_command(
        self, config: str, fold: int, gpu_id: int | str | tuple | list, kwargs: dict[str, object]
    ) -> tuple[list[str], dict[str, str]]:
        """Return the command line of nnU-Net's training and its environment."""
        command, environment = super().train_single_model_command(config, fold, gpu_id, kwargs)
        entry = [sys.executable, "-m", "nnunetv2.run.run_training"]
        return [*entry, *command[1:], "-device", self.device], environment

    def extract_fingerprints(self, *arguments: object, **options: object) -> None:
        """Measure spacings, shapes and intensities of the training subjects.

        nnU-Net draws a hundred million voxels for the intensities, however few there are, which for a small cohort
        takes longer than all else before training. Only CT is normalised by them; a million serve the record.
        """
        from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor

        extractor = DatasetFingerprintExtractor(int(self.dataset_name_or_id), options["npfp"])
        extractor.num_foreground_voxels_for_intensitystats = 1e6
        extractor.run(overwrite_existing=True)

    def predict_folder(self, images: Path, results: Path, model: Path, fold: int, mirroring: bool) -> None:
        """Segment all images of a folder with the network of one fold."""
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

        predictor = nnUNetPredictor(
            use_mirroring=mirroring,
            perform_everything_on_device=self.device == "cuda",
            device=torch.device(self.device),
            allow_tqdm=False,
        )
        predictor.initialize_from_trained_model_folder(str(model), use_folds=(fold,))
        predictor.predict_from_files_sequential(str(images), str(results))


def reduce_plans(
    plans: dict[str, Any],
    configuration: str,
    features: int | None = None,
    patch: int | None = None,
    batch_size: int | None = None,
) -> dict[str, Any]:
    """Return nnU-Net's plans for a smaller budget.

    Args:
        plans: content of ``nnUNetPlans.json``.
        configuration: the one to change, such as ``3d_fullres``.
        features, patch, batch_size: as of :class:`SegmentationSettings`. An edge longer than ``patch`` becomes the
            longest that the network's strides allow within it.

    Raises:
        ValueError: when nnU-Net planned no such configuration, or the patch would be smaller than the network's strides
            allow.
    """
    plans = json.loads(json.dumps(plans))
    plans["plans_name"] = PLANS
    if configuration not in plans["configurations"]:
        raise ValueError(
            f"nnU-Net planned {', '.join(plans['configurations'])} for this data, not '{configuration}'; "
            "name one of these as configuration."
        )
    chosen = plans["configurations"][configuration]
    architecture = chosen["architecture"]["arch_kwargs"]
    if features is not None:
        counts = architecture["features_per_stage"]
        architecture["features_per_stage"] = [max(1, count * features // counts[0]) for count in counts]
    if patch is not None:
        edges = []
        for axis, planned in enumerate(chosen["patch_size"]):
            steps = [step if isinstance(step, int) else step[axis] for step in architecture["strides"]]
            stride = math.prod(steps)
            edge = patch // stride * stride if planned > patch else planned
            # The network's deepest features must have two voxels along an axis, or there is nothing to normalise over.
            if edge < min(2 * stride, planned):
                raise ValueError(f"patch is {patch}; the network that nnU-Net planned needs at least {2 * stride}.")
            edges.append(edge)
        chosen["patch_size"] = edges
    if batch_size is not None:
        chosen["batch_size"] = batch_size
    return plans


def run_job(job: NnunetJob) -> None:
    """Plan and preprocess, train, and predict: what of it is not done yet."""
    environment = job.environment()
    folders = {name.lower(): environment[name] for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    runner = DeviceRunner(
        job.settings.used_device,
        input_config={**folders, "dataset_name_or_id": DATASET_ID},
        trainer_class_name=TRAINER,
        work_dir=str(job.folder / "nnunet"),
        export_validation_probabilities=False,
    )
    if not (job.preprocessed / "seconds.json").is_file():
        shutil.rmtree(job.preprocessed, ignore_errors=True)
        start = time.perf_counter()
        _prepare(runner, job)
        _write_seconds(job.preprocessed, start)

    trained = job.model / f"fold_{job.fold}"
    if not (trained / "checkpoint_final.pth").is_file():
        os.environ[_AUGMENTING] = str(job.settings.processes)
        start = time.perf_counter()
        # "c" goes on from the last checkpoint, if there is one.
        runner.train_single_model(config=job.settings.configuration, fold=job.fold, p=PLANS, c=True)
        if not (trained / "checkpoint_final.pth").is_file():
            raise RuntimeError("nnU-Net's training ended without a final checkpoint.")
        _write_seconds(trained, start)

    predictions = job.results / "predictions"
    if not predictions.is_dir():
        partial = predictions.with_name(f".{predictions.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        start = time.perf_counter()
        runner.predict_folder(job.raw / "imagesTs", partial, job.model, job.fold, job.settings.mirroring)
        _write_seconds(partial, start)
        partial.rename(predictions)


def _prepare(runner: DeviceRunner, job: NnunetJob) -> None:
    """Plan, reduce the plans, and preprocess with the reduced ones."""
    # nnU-Net takes as many threads for planning as for augmenting patches; those may be none.
    os.environ[_AUGMENTING] = "1"
    settings, processes = job.settings, max(1, job.settings.processes)
    runner.extract_fingerprints(npfp=processes)
    runner.plan_experiments()
    plans = json.loads((job.preprocessed / "nnUNetPlans.json").read_text(encoding="utf-8"))
    plans = reduce_plans(plans, settings.configuration, settings.features, settings.patch, settings.batch_size)
    write_json(job.preprocessed / f"{PLANS}.json", plans)
    runner.preprocess(c=(settings.configuration,), n_proc=(processes,), overwrite_plans_name=PLANS)


def _write_seconds(folder: Path, start: float) -> None:
    write_json(folder / "seconds.json", {"seconds": round(time.perf_counter() - start, 1)})


if __name__ == "__main__":
    content = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    settings = SegmentationSettings(**content.pop("settings"))
    run_job(NnunetJob(folder=Path(content.pop("folder")), settings=settings, **content))
