# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Training, evaluation and inference of seq2seq_breast: 3D and 4D sequences into one another."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from seq2seq_mri.io.nifti import read_volume

TIMES = (0.0, 90.0, 180.0, 270.0, 360.0, 450.0)
B_VALUES = (0.0, 150.0, 800.0, 1500.0)


@pytest.fixture(scope="module")
def trained(breast_runs, tmp_path_factory) -> Path:
    """The output folder of a training and its evaluation."""
    folder = tmp_path_factory.mktemp("trained_breasts")
    breast_runs.train(folder, samples_per_subject=4)
    breast_runs.evaluate(folder)
    return folder


def test_all_pairs_are_measured_and_ranked(breast_runs, trained) -> None:
    names = list(breast_runs.sequences)
    table = pd.read_csv(trained / "evaluation" / "metrics.csv")
    (entry,) = breast_runs.datalist["testing"]
    expected = [(entry["subject"], *pair) for pair in itertools.permutations(names, 2)]
    assert sorted(table[["subject", "source", "target"]].itertuples(index=False, name=None)) == sorted(expected)
    assert len(table) == 56
    assert np.isfinite(table[["psnr", "ssim", "psnr_foreground", "ssim_foreground"]]).to_numpy().all()
    ranking = pd.read_csv(trained / "evaluation" / "contribution.csv")
    assert sorted(ranking.rank_t) == sorted(ranking.rank_d) == list(range(1, 9))
    assert abs(ranking.c_t.sum() + ranking.c_d.sum()) < 1e-9
    assert set(pd.read_csv(trained / "evaluation" / "enhancement.csv").target) == {"dce", "fatsat_dce", "dwi"}


def test_differentiation_maps_keep_grid_times_and_b_values(breast_runs, trained) -> None:
    (entry,) = breast_runs.datalist["testing"]
    folder = trained / "evaluation" / "differentiation"
    source = nibabel.load(breast_runs.dataset_dir / entry["t1"])
    for name, timepoints in breast_runs.sequences.items():
        path = folder / f"{entry['subject']}_{name}_md.nii.gz"
        volume = read_volume(path, "s")
        assert nibabel.load(path).get_data_dtype() == np.float32
        assert volume.voxels.shape == (timepoints, *source.shape)
        np.testing.assert_array_equal(volume.affine, source.affine)
        assert volume.times == (TIMES if name in ("dce", "fatsat_dce") else None)
        assert volume.b_values == (B_VALUES if name == "dwi" else None)
        assert 0 <= volume.voxels.min() < volume.voxels.max() <= 1
        if timepoints > 1:
            mean = read_volume(folder / f"{entry['subject']}_{name}_md_mean.nii.gz", "s")
            np.testing.assert_allclose(mean.voxels[0], volume.voxels.mean(axis=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("given", "target"), [("t1", "dce"), ("dce", "wash_in"), ("dwi", "fatsat_dce"), ("t2", "dwi")])
def test_inference_between_3d_and_4d(breast_runs, tmp_path, write_datalist, given, target) -> None:
    entry = breast_runs.subject(0, without=tuple(name for name in breast_runs.sequences if name != given))
    breast_runs.infer(tmp_path / "output", datalist=write_datalist(entry), targets=target)
    source = nibabel.load(entry[given])
    volume = read_volume(tmp_path / "output" / entry["subject"] / f"{entry['subject']}_{target}.nii.gz", "s")
    assert volume.voxels.shape == (breast_runs.sequences[target], *source.shape[:3])
    np.testing.assert_array_equal(volume.affine, source.affine)
    assert volume.times == (TIMES if "dce" in target else None)
    assert volume.b_values == (B_VALUES if target == "dwi" else None)
    assert 0 <= volume.voxels.min() < volume.voxels.max() <= 1


def test_wash_maps_are_computed_where_they_are_not_given(breast_runs, tmp_path, write_datalist) -> None:
    entry = breast_runs.subject(0, without=("wash_in", "wash_out", "t2"))
    breast_runs.infer(tmp_path / "output", datalist=write_datalist(entry))
    made = {path.name for path in (tmp_path / "output" / entry["subject"]).iterdir()}
    assert made == {f"{entry['subject']}_t2{ending}" for ending in (".nii.gz", "_sd.nii.gz")}


def test_other_timepoints_are_refused_or_resampled(breast_runs, tmp_path, write_datalist) -> None:
    entry = breast_runs.subject(0, without=("wash_in", "wash_out", "fatsat_dce", "dwi", "t2", "fatsat_t1"))
    series = nibabel.load(entry["dce"])
    frames = nibabel.Nifti1Image(np.asarray(series.dataobj)[..., [0, 2, 4, 5]], series.affine, series.header)
    frames.header["pixdim"][4] = 150.0  # seconds between them
    nibabel.save(frames, tmp_path / "dce.nii.gz")
    fewer = entry | {"dce": str(tmp_path / "dce.nii.gz")}
    message = str(breast_runs.infer_error(tmp_path / "refused", datalist=write_datalist(fewer), targets="t2"))
    assert fewer["subject"] in message
    assert "resample_time" in message
    breast_runs.infer(tmp_path / "output", datalist=write_datalist(fewer), targets="t2", resample_time=True)
    assert list((tmp_path / "output").rglob("*_t2.nii.gz"))


@pytest.mark.slow
def test_volumes_in_3d(breast_runs, tmp_path) -> None:
    few = breast_runs.subject(0, without=tuple(set(breast_runs.sequences) - {"t1", "dce", "dwi"}))
    path = tmp_path / "datalist.json"
    sections = {"validation": [few], "testing": [few | {"subject": "another"}]}
    path.write_text(json.dumps(breast_runs.datalist | sections))
    three = {"network_def#in_channels": 1, "spatial_dims": 3, "crop_size": [40, 36, 8], "datalist": str(path)}
    breast_runs.train(tmp_path, ("volumes.json",), **three)
    options = {"output_dir": str(tmp_path), "lpips": "none", "figure_subjects": 0, "dataloader#num_workers": 0}
    workflow = breast_runs.run("evaluate", ("volumes.json",), **three, **options)
    assert workflow.check_properties() == []
    assert len(pd.read_csv(tmp_path / "evaluation" / "metrics.csv")) == 5 * 4  # with the wash maps of dce
