# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The bundles on the GPU: training, resuming, evaluation and inference, in float32 and bfloat16, against the CPU."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from ignite.engine import Events

from seq2seq_mri.training.checkpoint import read_checkpoint

pytestmark = pytest.mark.gpu

DTYPES = pytest.mark.parametrize("dtype", [None, "bfloat16"])
STEPS = 30
#: Largest error of synthesised images, ‖found - expected‖ / ‖expected‖, with the same weights.
IMAGE = {None: 1e-3, "bfloat16": 3e-2}
#: Largest difference of PSNR in dB.
PSNR = {None: 0.02, "bfloat16": 0.5}
#: Largest difference of the losses of a first epoch, as a fraction.
LOSS = {None: 1e-3, "bfloat16": 5e-2}


@pytest.fixture
def hard_runs(generator_runs, tmp_path_factory):
    """Each generator bundle on a cohort in which training goes wrong if anywhere.

    One sequence of each subject lacks the lower half of its slices, all volumes have empty ends, and the first subject
    lacks a sequence.
    """
    folder = tmp_path_factory.mktemp("hard")
    shutil.copytree(generator_runs.dataset_dir, folder / "data")
    content = json.loads((folder / "data" / "datalist.json").read_text())
    for section in ("training", "validation", "testing"):
        for number, entry in enumerate(content[section]):
            names = [name for name in generator_runs.sequences if isinstance(entry.get(name), str)]
            for position, name in enumerate(names):
                path = folder / "data" / entry[name]
                image = nibabel.load(path)
                voxels = np.asanyarray(image.dataobj).copy()
                depth = voxels.shape[2]
                voxels[:, :, : depth // 8] = voxels[:, :, -(depth // 8) :] = 0
                if position == number % len(names):
                    voxels[:, :, : depth // 2] = 0
                nibabel.save(nibabel.Nifti1Image(voxels, image.affine, image.header), path)
    first = content["training"][0]
    del first[[name for name in generator_runs.sequences if name in first][-1]]
    (folder / "data" / "datalist.json").write_text(json.dumps(content))
    return replace(generator_runs, dataset_dir=folder / "data", weights=folder / "random.pt")


def epochs_of(runs: Any, **options: Any) -> int:
    """Return in how many epochs a training makes ``STEPS`` steps, at least two."""
    workflow = runs.workflow("train", **options)
    length = len(workflow.parser.get_parsed_content("train#dataloader"))
    workflow.finalize()
    return max(2, math.ceil(STEPS / length))


def check_training(folder: Path, weights: Path | None = None) -> pd.DataFrame:
    """Check that losses, weights and the optimizer's state are finite and that weights moved; return the history."""
    history = pd.read_csv(folder / "history.csv")
    always = [name for name in history if not name.startswith("val_")]
    assert np.isfinite(history[always].to_numpy()).all()
    stored = read_checkpoint(folder / "checkpoints" / "last.pt")
    for part in stored["optimizer"]["state"].values():
        assert all(bool(value.isfinite().all()) for value in part.values())
    for name in ("network", "ema_network"):
        assert all(bool(value.isfinite().all()) for value in stored.get(name, {}).values())
    if weights is not None:
        start = read_checkpoint(weights)
        kernels = [name for name, value in stored["network"].items() if value.dim() > 2]
        assert kernels
        assert all(not torch.equal(stored["network"][name], start[name]) for name in kernels)
    return history


@DTYPES
def test_training(device, hard_runs, tmp_path, dtype) -> None:
    options = {"initial_weights": str(hard_runs.weights), "learning_rate": 2e-3, "samples_per_subject": 2}
    epochs = epochs_of(hard_runs, num_workers=0, **options)
    options |= {"max_epochs": epochs, "val_interval": epochs}
    workflow = hard_runs.train(tmp_path / "gpu", device=str(device), autocast_dtype=dtype, **options)
    assert workflow.parser.get_parsed_content("train#trainer").state.iteration >= STEPS
    assert next(workflow.parser.get_parsed_content("network").parameters()).device.type == device.type
    history = check_training(tmp_path / "gpu", hard_runs.weights)
    third = max(1, len(history) // 3)
    assert history["loss"][-third:].mean() < 0.9 * history["loss"][:third].mean()
    if "skipped" in history:
        assert history["skipped"].sum() == 0


@DTYPES
def test_first_losses(device, generator_runs, tmp_path, dtype) -> None:
    """Without patches that lack signal, the steps of a first epoch lose what they lose on the CPU."""
    options = {"initial_weights": str(generator_runs.weights), "samples_per_subject": 4}
    for name, where, kind in (("cpu", "cpu", None), ("gpu", str(device), dtype)):
        generator_runs.train(tmp_path / name, device=where, autocast_dtype=kind, **options)
    expected, found = (check_training(tmp_path / name) for name in ("cpu", "gpu"))
    for column in ("loss", "reconstruction"):
        np.testing.assert_allclose(found[column], expected[column], rtol=LOSS[dtype])
    np.testing.assert_allclose(found["val_psnr"], expected["val_psnr"], atol=PSNR[dtype], rtol=0)


@pytest.mark.parametrize(
    ("overlay", "options"),
    [
        ("unpaired.json", {}),
        (None, {"lambda_cycle": 10.0, "gradient_checkpointing": True}),
        (None, {"num_workers": 2}),
    ],
    ids=["unpaired", "cycle, checkpointed", "workers"],
)
@DTYPES
def test_other_ways_of_training(device, hard_runs, tmp_path, overlay, options, dtype) -> None:
    overlays = () if overlay is None else (overlay,)
    hard_runs.train(tmp_path, overlays, device=str(device), autocast_dtype=dtype, max_epochs=2, **options)
    check_training(tmp_path)


@DTYPES
def test_volumes(device, breast_runs, tmp_path, dtype) -> None:
    three = {"network_def#in_channels": 1, "spatial_dims": 3, "crop_size": [24, 24, 24], "autocast_dtype": dtype}
    breast_runs.train(tmp_path, ("volumes.json",), device=str(device), **three)
    check_training(tmp_path)
    options = {"spatial_dims": 3, "network_def#in_channels": 1, "translation#roi_size": [24, 24, 24], "figures": False}
    options |= {"checkpoint": str(tmp_path / "checkpoints" / "last.pt"), "num_workers": 0, "targets": ["dce"]}
    for name, where, kind in (("cpu", "cpu", None), ("gpu", str(device), dtype)):
        out = {"output_dir": str(tmp_path / name), "autocast_dtype": kind, "device": where}
        breast_runs.run("inference", ("volumes_inference.json",), **options, **out)
    compare_images(tmp_path / "gpu", tmp_path / "cpu", dtype)


@DTYPES
def test_resumed_training(device, runs, tmp_path, dtype) -> None:
    """Killed after two of four epochs, and resumed: equal but for the order of sums on the GPU."""
    options: dict[str, Any] = {"device": str(device), "autocast_dtype": dtype, "max_epochs": 4, "val_interval": 2}
    options |= {"learning_rate": 1e-3, "initial_weights": str(runs.weights)}
    runs.train(tmp_path / "whole", **options)

    def die(engine: Any) -> None:
        if engine.state.epoch == 3:
            raise KeyboardInterrupt

    workflow = runs.workflow(
        "train", output_dir=str(tmp_path / "killed"), num_workers=0, samples_per_subject=2, val_slices=12, **options
    )
    trainer = workflow.parser.get_parsed_content("train#trainer")
    trainer.add_event_handler(Events.EPOCH_STARTED, die)
    with pytest.raises(KeyboardInterrupt):
        workflow.run()
    assert read_checkpoint(tmp_path / "killed" / "checkpoints" / "last.pt")["epoch"] == 2
    runs.train(tmp_path / "killed", **options, resume=True)
    expected, found = (check_training(tmp_path / name) for name in ("whole", "killed"))
    assert found["epoch"].tolist() == [1, 2, 3, 4]
    tolerance = 1e-2 if dtype is None else 5e-2
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=tolerance)
    np.testing.assert_allclose(found["learning_rate"], expected["learning_rate"])
    if device.type == "cpu":
        weights = [
            read_checkpoint(tmp_path / name / "checkpoints" / "last.pt")["network"] for name in ("whole", "killed")
        ]
        assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def compare_images(found: Path, expected: Path, dtype: str | None) -> None:
    """Compare the synthesised images of two folders."""
    names = sorted(
        path.relative_to(expected) for path in expected.rglob("*.nii.gz") if not path.name.endswith("_sd.nii.gz")
    )
    assert names
    for name in names:
        made, truth = (nibabel.load(folder / name).get_fdata() for folder in (found, expected))
        assert np.isfinite(made).all()
        # Where an image has no signal, neither has its translation any meaning.
        assert np.linalg.norm(made - truth) < IMAGE[dtype] * np.linalg.norm(truth), name


@DTYPES
def test_inference(device, generator_runs, tmp_path, dtype) -> None:
    options = {"targets": "all", "num_workers": 1}
    generator_runs.infer(tmp_path / "cpu", device="cpu", **options)
    generator_runs.infer(tmp_path / "gpu", device=str(device), autocast_dtype=dtype, figures=dtype is None, **options)
    compare_images(tmp_path / "gpu", tmp_path / "cpu", dtype)


@DTYPES
def test_inference_of_a_hard_cohort(device, hard_runs, tmp_path, dtype) -> None:
    hard_runs.infer(tmp_path, device=str(device), autocast_dtype=dtype, targets="all")
    paths = list(tmp_path.rglob("*.nii.gz"))
    assert paths
    for path in paths:
        image = nibabel.load(path).get_fdata()
        assert np.isfinite(image).all()
        assert 0 <= image.min() <= image.max() <= 1


@DTYPES
def test_evaluation(device, generator_runs, tmp_path, dtype) -> None:
    tables = []
    for name, where, kind in (("cpu", "cpu", None), ("gpu", str(device), dtype)):
        weights = {"checkpoint": str(generator_runs.weights), "figure_subjects": 0 if name == "cpu" else 1}
        generator_runs.evaluate(tmp_path / name, device=where, autocast_dtype=kind, **weights)
        tables.append(pd.read_csv(tmp_path / name / "evaluation" / "metrics.csv"))
        maps = sorted((tmp_path / name / "evaluation" / "differentiation").rglob("*.nii.gz"))
        assert maps
    expected, found = tables
    assert len(found) > 0
    pd.testing.assert_frame_equal(found[["subject", "source", "target"]], expected[["subject", "source", "target"]])
    for column in [name for name in found if name.startswith("psnr")]:
        np.testing.assert_allclose(found[column], expected[column], atol=PSNR[dtype], rtol=0, err_msg=column)
    for column in [name for name in found if name.startswith("ssim")]:
        np.testing.assert_allclose(found[column], expected[column], atol=0.002 if dtype is None else 0.03, rtol=0)


@DTYPES
def test_classifier(device, classifier_runs, tmp_path, dtype) -> None:
    """Trained, evaluated and asked on the GPU; the CPU gives the same probabilities with the same weights."""
    if device.type == "cpu" and dtype:
        pytest.skip("on some CPUs, torch's bfloat16 gradient of a strided Conv3d is wrong")
    options = {"device": str(device), "autocast_dtype": dtype, "max_epochs": 2, "num_workers": 0}
    classifier_runs.run("train", output_dir=str(tmp_path), **options | {"max_epochs": 1})
    classifier_runs.run("train", output_dir=str(tmp_path), resume=True, **options)
    history = check_training(tmp_path)
    assert history["epoch"].tolist() == [1, 2]
    classifier_runs.run("evaluate", output_dir=str(tmp_path), **options)
    weights = tmp_path / "checkpoints" / "best.pt"
    probabilities = {}
    for name, where, kind in (("cpu", "cpu", None), ("gpu", str(device), dtype)):
        places = {"output_dir": str(tmp_path / name), "checkpoint": str(weights), "figures": name == "gpu"}
        classifier_runs.run("inference", device=where, autocast_dtype=kind, **places)
        probabilities[name] = pd.read_csv(tmp_path / name / "predictions.csv").set_index("subject")["probability"]
    evaluated = pd.read_csv(tmp_path / "evaluation" / "predictions.csv").set_index("subject")["probability"]
    tolerance = 2e-3 if dtype is None else 3e-2
    pd.testing.assert_series_equal(probabilities["gpu"], probabilities["cpu"], atol=tolerance, rtol=0)
    pd.testing.assert_series_equal(
        probabilities["gpu"].sort_index(),
        evaluated[probabilities["gpu"].index].sort_index(),
        atol=tolerance + 2e-3,  # evaluation keeps its images in half precision
        rtol=0,
    )
