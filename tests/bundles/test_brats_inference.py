# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Inference of seq2seq_brats: which sequences are made, from what, where they are written, on which grid."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch

from seq2seq_mri.io.datalists.make_datalist import MakeDatalist

SEQUENCES = ["t1", "t1gd", "t2", "flair"]


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all files, by their paths in the folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_missing_is_written_in_float32_on_the_grid_of_the_source(runs, tmp_path, write_datalist) -> None:
    entry = runs.subject(0, without=("t1gd", "flair"))
    runs.infer(tmp_path, datalist=write_datalist(entry))
    table = pd.read_csv(tmp_path / "synthesis.csv")
    assert list(table.columns) == ["subject", "target", "sources", "file"]
    assert sorted(table.target) == ["flair", "t1gd"]
    assert set(table.sources) == {"t1 t2"}
    source = nibabel.load(entry["t1"])
    expected = {file.replace(".nii.gz", ending) for file in table.file for ending in (".nii.gz", "_sd.nii.gz")}
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*.nii.gz")} == expected
    for file in expected:
        image = nibabel.load(tmp_path / file)
        assert image.get_data_dtype() == np.float32
        assert image.shape == source.shape
        np.testing.assert_array_equal(image.affine, source.affine)
        assert image.header["sform_code"] == source.header["sform_code"]
        assert image.get_fdata().min() >= 0
        assert 0 < image.get_fdata().max() <= 1


def test_fusion_weighs_sources_by_their_adjacency(runs, tmp_path, write_datalist) -> None:
    """A source that is far better than the others decides alone."""
    table = pd.DataFrame(0.0, index=SEQUENCES, columns=SEQUENCES)
    table.loc["t2", "t1gd"] = 60
    path = tmp_path / "adjacency.csv"
    table.rename_axis("source").to_csv(path)
    entry = runs.subject(0, without=("t1gd",)) | {"subject": "all"}
    alone = {"subject": "alone", "t2": entry["t2"]}
    images = {}
    for fusion in ("mean", str(path)):
        runs.infer(tmp_path, datalist=write_datalist(entry, alone), fusion=fusion, targets="t1gd", existing="overwrite")
        for name in ("all", "alone"):
            images[fusion, name] = nibabel.load(tmp_path / name / f"{name}_t1gd.nii.gz").get_fdata()
    np.testing.assert_allclose(images[str(path), "all"], images[str(path), "alone"], atol=1e-6)
    assert np.abs(images["mean", "all"] - images["mean", "alone"]).max() > 1e-4


def test_a_stopped_job_goes_on_with_what_is_left_and_replaces_only_when_asked(runs, tmp_path, write_datalist) -> None:
    entries = [runs.subject(k, without=("t1gd",)) | {"subject": f"p{n}"} for n, k in enumerate((0, 1, 0))]
    arguments = {"datalist": write_datalist(*entries), "output_dir": tmp_path / "output"}
    output = arguments["output_dir"]
    runs.infer(**arguments)
    expected = contents(output)
    for path in ("synthesis.csv", "p1/p1_t1gd.nii.gz", "p2/p2_t1gd.nii.gz", "p2/p2_t1gd_sd.nii.gz"):
        (output / path).unlink()
    left = contents(output)
    assert [line.split("/")[-1] for line in str(runs.infer_error(**arguments)).splitlines()[1:]] == [
        "p0_t1gd.nii.gz exists", "p0_t1gd_sd.nii.gz exists", "p1_t1gd_sd.nii.gz exists"
    ]  # fmt: skip
    assert contents(output) == left
    workflow = runs.infer(**arguments, existing="skip")
    assert contents(output) == expected
    assert [entry["subject"] for entry in workflow.parser.get_parsed_content("dataset").data] == ["p1", "p2"]
    runs.infer(**arguments, existing="overwrite", slice_size=[44, 48])
    replaced = contents(output)
    assert all(replaced[path] != content for path, content in expected.items() if path.endswith("_t1gd.nii.gz"))


def test_two_jobs_do_not_write_into_one_folder(runs, tmp_path, write_datalist, another_job) -> None:
    job = another_job(tmp_path / "output")
    options = {"datalist": write_datalist(runs.subject(0, without=("t1gd",)))}
    error = runs.infer_error(tmp_path / "output", **options)
    assert isinstance(error, ValueError)
    assert "Another job is writing into" in str(error)
    assert list((tmp_path / "output").iterdir()) == []
    job.kill()
    job.wait()
    runs.infer(tmp_path / "output", **options)


def test_overlap_changes_no_byte(runs, tmp_path, write_datalist) -> None:
    datalist = write_datalist(runs.subject(0, without=("t1gd",)), runs.subject(1, without=("t1", "t2")))
    for overlap in (False, True):
        overrides = {"evaluator#overlap_postprocessing": overlap}
        runs.infer(tmp_path / str(overlap), datalist=datalist, **overrides)
    plain = contents(tmp_path / "False")
    assert len(plain) == 2 + 4 + 1
    assert contents(tmp_path / "True") == plain


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize(
    ("subject", "left_out"),
    [("BraTS-MET-00110-000", "t1"), ("TCGA-DU-7294", "t1gd"), ("patient07", "t2")],
)
def test_real_patients_keep_their_geometry(runs, shared_data, tmp_path, write_datalist, subject, left_out) -> None:
    """Three orientations and three naming styles; one sequence is left out and synthesised."""
    dataset = shared_data / "data" / "brain"
    MakeDatalist(str(dataset), str(tmp_path / "scanned.json"), testing=[subject])()
    (entry,) = json.loads((tmp_path / "scanned.json").read_text())["testing"]
    files = {name: os.fspath(dataset / entry[name]) for name in SEQUENCES if name != left_out}
    runs.infer(tmp_path / "output", datalist=write_datalist({"subject": subject, **files}), slice_batch_size=32)
    source = nibabel.load(next(iter(files.values())))
    for suffix in ("", "_sd"):
        image = nibabel.load(tmp_path / "output" / subject / f"{subject}_{left_out}{suffix}.nii.gz")
        assert image.shape == source.shape
        assert image.get_data_dtype() == np.float32
        np.testing.assert_array_equal(image.affine, source.affine)
        assert nibabel.aff2axcodes(image.affine) == nibabel.aff2axcodes(source.affine)
        for code in ("qform_code", "sform_code"):
            assert image.header[code] == source.header[code]
    # It overlays its source: an untrained network draws something else where there is brain than where there is none.
    synthesised = nibabel.load(tmp_path / "output" / subject / f"{subject}_{left_out}.nii.gz").get_fdata()
    assert abs(np.corrcoef(synthesised.ravel(), source.get_fdata().ravel() > 0)[0, 1]) > 0.3


def test_a_host_that_calls_the_inferer_gets_what_is_written(runs, tmp_path, write_datalist) -> None:
    """MONAI Label and MONAI Deploy know preprocessing, inferer(image, network) and postprocessing."""
    entry = runs.subject(0, without=("flair", "t1gd"))
    workflow = runs.infer(tmp_path / "output", datalist=write_datalist(entry), targets="t1gd", target="t1gd")
    expected = nibabel.load(tmp_path / "output" / entry["subject"] / f"{entry['subject']}_t1gd.nii.gz")

    files = {"t1": entry["t1"], "t2": entry["t2"]}
    sample = workflow.preprocessing({"image": files, "image_path": entry["t1"]})
    network = workflow.parser.get_parsed_content("weights")
    with torch.no_grad():
        sample["pred"] = workflow.inferer(sample["image"][None], network)[0]
    invert, save = workflow.parser.get_parsed_content("postprocessing").transforms
    assert "SaveImage" in type(save).__name__
    found = invert(sample)["pred"]
    assert found.shape == (1, *expected.shape)
    np.testing.assert_allclose(found[0], expected.get_fdata(), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.affine, expected.affine)
