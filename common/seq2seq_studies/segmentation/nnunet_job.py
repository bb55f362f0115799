# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""One training of nnU-Net and its predictions, in a process of its own: ``python -m ….nnunet_job JOB.json``.

nnU-Net takes its folders from environment variables. In a process of its own, nothing that the caller or another
training has set can lead it to other folders, and what it sets itself ends with it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import torch
from monai.apps.nnunet import nnUNetV2Runner

from seq2seq_mri.files import atomic_path
from seq2seq_studies.segmentation.nnunet_process import DATASET_ID, PLANS

__all__ = ["DeviceRunner", "reduce_plans", "run_job"]

_AUGMENTING = "nnUNet_n_proc_DA"  # how many processes augment patches


class DeviceRunner(nnUNetV2Runner):
    """MONAI's runner on any device, and without the need that nnU-Net's commands are on the ``PATH``.

    MONAI 1.6 passes ``--device`` where nnU-Net knows ``-device``, and predicts on a GPU only.
    """

    def __init__(self, device: str, **options: Any) -> None:
        super().__init__(**options)
        self.device = device

    def train_single_model_command(
        self, config: str, fold: int, gpu_id: int | str | tuple | list, kwargs: dict[str, Any]
    ) -> tuple[list[str], dict[str, str]]:
        """Return the command line of nnU-Net's training and its environment."""
        command, environment = super().train_single_model_command(config, fold, gpu_id, kwargs)
        entry = [sys.executable, "-m", "nnunetv2.run.run_training"]
        return [*entry, *command[1:], "-device", self.device], environment

    def extract_fingerprints(self, *arguments: Any, **options: Any) -> None:
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
    plans: dict,
    configuration: str,
    features: int | None = None,
    patch: int | None = None,
    batch_size: int | None = None,
) -> dict:
    """Return nnU-Net's plans for a smaller budget.

    Args:
        plans: content of ``nnUNetPlans.json``.
        configuration: the one to change, such as ``3d_fullres``.
        features: channels of the first stage; those of later stages shrink in proportion.
        patch: greatest edge of a patch in voxels. An edge that is longer becomes the longest that the network's strides
            allow within it.
        batch_size: patches of a step.

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
        first = architecture["features_per_stage"][0]
        architecture["features_per_stage"] = [
            max(1, count * features // first) for count in architecture["features_per_stage"]
        ]
    if patch is not None:
        edges = []
        for axis, edge in enumerate(chosen["patch_size"]):
            stride = 1
            for step in architecture["strides"]:
                stride *= step if isinstance(step, int) else step[axis]
            if edge > patch:
                edge = patch // stride * stride
            # The network's deepest features must have two voxels along an axis, or there is nothing to normalise over.
            if edge < min(2 * stride, chosen["patch_size"][axis]):
                raise ValueError(f"patch is {patch}; the network that nnU-Net planned needs at least {2 * stride}.")
            edges.append(edge)
        chosen["patch_size"] = edges
    if batch_size is not None:
        chosen["batch_size"] = batch_size
    return plans


def run_job(job: dict) -> None:
    """Plan and preprocess, train, and predict: what of it is not done yet.

    Args:
        job: ``root`` (the combination's folder of nnU-Net), ``dataset``, ``fold``, ``seed``, ``device``,
            ``configuration``, ``trainer``, ``features``, ``patch``, ``batch_size``, ``workers`` (processes that
            preprocess and augment; 0 for none beside the training), ``mirroring``, and ``predictions``, the folder for
            the segmentations of ``imagesTs``.
    """
    root, configuration, fold = Path(job["root"]), job["configuration"], job["fold"]
    results = root / "results" / f"seed_{job['seed']}"
    runner = DeviceRunner(
        job["device"],
        input_config={
            "nnunet_raw": str(root / "raw"),
            "nnunet_preprocessed": str(root / "preprocessed"),
            "nnunet_results": str(results),
            "dataset_name_or_id": DATASET_ID,
        },
        trainer_class_name=job["trainer"],
        work_dir=str(root),
        export_validation_probabilities=False,
    )
    preprocessed = root / "preprocessed" / job["dataset"]
    if not (preprocessed / "seconds.json").is_file():
        shutil.rmtree(preprocessed, ignore_errors=True)
        start = time.perf_counter()
        _prepare(runner, preprocessed, job)
        _write_seconds(preprocessed / "seconds.json", start)

    model = results / job["dataset"] / f"{job['trainer']}__{PLANS}__{configuration}"
    if not (model / f"fold_{fold}" / "checkpoint_final.pth").is_file():
        os.environ[_AUGMENTING] = str(job["workers"])
        start = time.perf_counter()
        # "c" goes on from the last checkpoint, if there is one.
        runner.train_single_model(config=configuration, fold=fold, p=PLANS, c=True)
        if not (model / f"fold_{fold}" / "checkpoint_final.pth").is_file():
            raise RuntimeError("nnU-Net's training ended without a final checkpoint.")
        _write_seconds(model / f"fold_{fold}" / "seconds.json", start)

    predictions = Path(job["predictions"])
    if not predictions.is_dir():
        partial = predictions.with_name(f".{predictions.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        start = time.perf_counter()
        images = root / "raw" / job["dataset"] / "imagesTs"
        runner.predict_folder(images, partial, model, fold, job["mirroring"])
        _write_seconds(partial / "seconds.json", start)
        partial.rename(predictions)


def _prepare(runner: DeviceRunner, preprocessed: Path, job: dict) -> None:
    """Plan, reduce the plans, and preprocess with the reduced ones."""
    # nnU-Net takes as many threads for planning as for augmenting patches; those may be none.
    os.environ[_AUGMENTING] = "1"
    processes = max(1, job["workers"])
    runner.extract_fingerprints(npfp=processes)
    runner.plan_experiments()
    plans = json.loads((preprocessed / "nnUNetPlans.json").read_text(encoding="utf-8"))
    plans = reduce_plans(plans, job["configuration"], job["features"], job["patch"], job["batch_size"])
    with atomic_path(preprocessed / f"{PLANS}.json", overwrite=True) as temporary:
        temporary.write_text(json.dumps(plans, indent=4) + "\n", encoding="utf-8")
    runner.preprocess(c=(job["configuration"],), n_proc=(processes,), overwrite_plans_name=PLANS)


def _write_seconds(path: Path, start: float) -> None:
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps({"seconds": round(time.perf_counter() - start, 1)}) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run_job(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
