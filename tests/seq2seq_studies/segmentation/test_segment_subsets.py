# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The command, with a stand-in for nnU-Net; and once, where it is installed, with nnU-Net itself."""

from __future__ import annotations

import importlib.util
import json
import shutil

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch

from mri_phantom.brain import SimulateBrain
from seq2seq_studies.segmentation import segment_subsets as command_module
from seq2seq_studies.segmentation.nnunet import NnunetJob
from seq2seq_studies.segmentation.segment_subsets import segment_subsets

TINY = {"epochs": 2, "steps": 1, "device": "cpu"}


@pytest.fixture
def nnunet(monkeypatch) -> list[NnunetJob]:
    """The jobs of a stand-in for nnU-Net, which predicts the true labels and a voxel more for each missing channel."""
    jobs: list[NnunetJob] = []

    def run(job, epoch_started) -> None:
        jobs.append(job)
        for epoch in range(job.settings.epochs):
            epoch_started(epoch)
        channels = len(json.loads((job.raw / "dataset.json").read_text())["channel_names"])
        predictions = job.results / "predictions"
        predictions.mkdir(parents=True)
        for path in sorted((job.raw / "labelsTs").iterdir()):
            image = nibabel.load(path)
            labels = np.asarray(image.dataobj).copy()
            labels[0, 0, : 4 - channels] = 3
            nibabel.save(nibabel.Nifti1Image(labels, image.affine), predictions / path.name)
        architecture = {"arch_kwargs": {"features_per_stage": [4]}}
        plans = {"3d_fullres": {"patch_size": [8, 8, 8], "batch_size": 2, "architecture": architecture}}
        for folder in (job.preprocessed, job.model / f"fold_{job.fold}", predictions):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "seconds.json").write_text('{"seconds": 1.5}')
        (job.preprocessed / "seq2seq_mri.json").write_text(json.dumps({"configurations": plans}))

    monkeypatch.setattr(command_module, "run_nnunet", run)
    monkeypatch.setattr(command_module, "check_nnunet", lambda: None)
    return jobs


def test_scores_table_figure_and_page(cohort, tmp_path, nnunet) -> None:
    page = tmp_path / "docs" / "segmentation.md"
    text = segment_subsets(cohort(), tmp_path / "out", ["t1+t1gd+dce", "t1gd+dce"], page=page, data="made up", **TINY)
    scores = pd.read_csv(tmp_path / "out" / "scores.csv", keep_default_na=False)
    assert len(scores) == 2 * 2 * 3
    full, fewer = (scores[scores["combination"] == name] for name in ("t1+t1gd+dce", "t1gd+dce"))
    assert (full["dsc"] == 1).all()
    assert (full["assd"] == 0).all()
    truth = {"ET": 34, "TC": 36, "WT": 150}
    for region, count in truth.items():
        expected = 2 * count / (2 * count + 1)
        assert fewer[fewer["region"] == region]["dsc"].to_numpy() == pytest.approx([expected] * 2)
    assert (tmp_path / "out" / "comparison.md").read_text() == text + "\n"
    assert (tmp_path / "out" / "comparison.png").stat().st_size > 10_000
    written = page.read_text()
    assert text in written
    for part in ("**Data**: made up", "**Date**: 20", "**Machine**: ", "**Budget**: ", "**Seeds**: 0; folds 0"):
        assert part in written
    assert "python -m seq2seq_studies segment_subsets" in written
    assert "--combinations t1+t1gd+dce,t1gd+dce" in written
    pd.testing.assert_frame_equal(pd.read_csv(page.with_suffix(".csv"), keep_default_na=False), scores)
    assert page.with_suffix(".png").is_file()


def test_goes_on_and_lets_combinations_folds_and_seeds_be_added(cohort, tmp_path, nnunet) -> None:
    datalist, out = cohort(), tmp_path / "out"

    def run(combinations, **options) -> int:
        before = len(nnunet)
        segment_subsets(datalist, out, combinations, **{**TINY, **options})
        return len(nnunet) - before

    assert run("t1+t1gd+dce,t1") == 2
    assert run("t1+t1gd+dce,t1") == 0
    assert run("t1+t1gd+dce,t1,t1gd") == 1
    assert run("t1+t1gd+dce,t1", folds="0,1", seeds=(0, 1)) == 6
    scores = pd.read_csv(out / "scores.csv")
    assert sorted(scores.groupby(["combination", "seed", "fold"]).size()) == [6] * 8
    # A training whose scores are not written was not finished.
    (out / "t1" / "seed_1_fold_0" / "scores.csv").unlink()
    nnunet.clear()
    shutil.rmtree(out / "t1" / "seed_1_fold_0" / "predictions")
    assert run("t1+t1gd+dce,t1", folds="0,1", seeds="0,1") == 1
    assert (nnunet[0].seed, nnunet[0].fold) == (1, 0)
    with pytest.raises(ValueError, match="epochs was 2 and is 3"):
        run("t1+t1gd+dce,t1", epochs=3)


def test_export_only_needs_no_nnunet_and_no_budget(cohort, tmp_path, nnunet) -> None:
    datalist, out = cohort(), tmp_path / "out"
    assert segment_subsets(datalist, out, "t1+t1gd,t1", export_only=True) == str(out.resolve())
    assert (out / "t1_t1gd" / "nnunet" / "raw" / "Dataset001_t1_t1gd" / "dataset.json").is_file()
    assert not nnunet
    segment_subsets(datalist, out, "t1+t1gd,t1", **TINY)
    assert len(nnunet) == 2


def test_labels_on_a_command_line_arrive_as_numbers(cohort, tmp_path, nnunet) -> None:
    segment_subsets(cohort(enhancing=4), tmp_path / "out", "t1+t1gd,t1", labels=(1, 2, 4), **TINY)
    assert json.loads((tmp_path / "out" / "protocol.json").read_text())["data"]["labels"] == "1,2,4"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"combinations": "t1,t1gd:synthesised"}, "give synthesised_dir"),
        ({"testing": "training"}, "Subject p0 would be both trained and tested on"),
        ({"margin_dsc": 0}, "margin_dsc is 0"),
        ({"confidence": 95}, "confidence is 95"),
        ({"labels": "1,2,4"}, "has the label 3"),
        ({"labels": "1,2,5"}, "labels is '1,2,5'"),
        ({"epochs": None}, "epochs is None"),
        ({"steps": 1.5}, "steps is 1.5"),
        ({"patch": -1}, "patch is -1"),
        ({"workers": -1}, "workers is -1"),
        ({"folds": (0, 5)}, "fold 5 does not exist"),
        ({"configuration": "3d_lowres"}, "configuration is '3d_lowres'"),
        ({"incomplete": "skip"}, "incomplete is 'skip'"),
        ({"segmentation": "seg.nii.gz"}, r"with \{subject\} in place of the name"),
        ({"device": "mps"}, "device is 'mps'"),
    ],
)
def test_mistakes_are_found_before_anything_is_written(cohort, tmp_path, nnunet, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        segment_subsets(cohort(), tmp_path / "out", **{"combinations": "t1,t1gd", **TINY, **options})
    assert not (tmp_path / "out").exists()


def test_needs_five_subjects_to_train_on_and_a_gpu_that_is_there(cohort, tmp_path, nnunet, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="finds no GPU; give cpu"):
        segment_subsets(tmp_path / "datalist.json", tmp_path / "out", device="cuda")
    with pytest.raises(ValueError, match="There are 4 subjects to train on"):
        segment_subsets(cohort(training=4), tmp_path / "out", "t1,t1gd", **TINY)


@pytest.mark.skipif(importlib.util.find_spec("nnunetv2") is None, reason="nnU-Net (nnunetv2) is not installed")
@pytest.mark.slow
def test_nnunet_itself_learns_to_segment(tmp_path) -> None:
    datalist = SimulateBrain(
        tmp_path / "cohort", splits=(5, 0, 2), shape=(32, 32, 32), spacing=6, missing=0, healthy=0
    )()
    segment_subsets(
        datalist,
        tmp_path / "out",
        "t1+t1gd+t2+flair,t1gd+flair",
        epochs=2,
        steps=10,
        features=4,
        mirroring=False,
        device="cpu",
    )
    scores = pd.read_csv(tmp_path / "out" / "scores.csv")
    assert len(scores) == 2 * 2 * 3
    assert scores["dsc"].between(0, 1).all()
    written = list(tmp_path.rglob("checkpoint_final.pth"))
    assert len(written) == 2
