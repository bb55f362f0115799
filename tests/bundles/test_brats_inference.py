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


def written(folder: Path, subject: str) -> set[str]:
    """Return the sequences that were written, checking that each has its deviation."""
    names = {path.name.removeprefix(f"{subject}_").removesuffix(".nii.gz") for path in folder.glob("*/*.nii.gz")}
    made = {name for name in names if not name.endswith("_sd")}
    assert names == made | {f"{name}_sd" for name in made}
    return made


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ("missing", {"t1gd", "flair"}),
        (["flair", "t1"], {"flair", "t1"}),
    ],
)
def test_targets(runs, tmp_path, write_datalist, targets, expected) -> None:
    entry = runs.subject(0, without=("t1gd", "flair"))
    runs.infer(tmp_path / "output", datalist=write_datalist(entry), targets=targets)
    assert written(tmp_path / "output", entry["subject"]) == expected
    table = pd.read_csv(tmp_path / "output" / "synthesis.csv")
    assert list(table.columns) == ["subject", "target", "sources", "file"]
    assert set(table.target) == expected
    assert set(table.sources) == {"t1 t2"}
    assert all((tmp_path / "output" / file).is_file() for file in table.file)


def test_output_is_float32_on_the_grid_of_the_source(runs, tmp_path, write_datalist) -> None:
    entry = runs.subject(0, without=("t1gd",))
    runs.infer(tmp_path / "output", datalist=write_datalist(entry))
    source = nibabel.load(entry["t1"])
    for suffix in ("", "_sd"):
        image = nibabel.load(tmp_path / "output" / entry["subject"] / f"{entry['subject']}_t1gd{suffix}.nii.gz")
        assert image.get_data_dtype() == np.float32
        assert image.shape == source.shape
        np.testing.assert_array_equal(image.affine, source.affine)
        assert image.header["sform_code"] == source.header["sform_code"]
        assert image.get_fdata().min() >= 0
        assert 0 < image.get_fdata().max() <= 1


def test_withheld_sequences_are_no_input(runs, tmp_path, write_datalist) -> None:
    entry = runs.subject(0, without=("t1gd",))
    withheld = entry | {"withheld": {"t1gd": runs.subject(0)["t1gd"]}}
    results = []
    for name, subject in (("absent", entry), ("withheld", withheld)):
        runs.infer(tmp_path / name, datalist=write_datalist(subject))
        results.append((tmp_path / name / entry["subject"] / f"{entry['subject']}_t1gd.nii.gz").read_bytes())
    assert results[0] == results[1]


def test_fusion_weighs_sources_by_their_adjacency(runs, tmp_path, write_datalist) -> None:
    """A source that is far better than the others decides alone."""
    table = pd.DataFrame(0.0, index=SEQUENCES, columns=SEQUENCES)
    table.loc["t2", "t1gd"] = 60
    path = tmp_path / "adjacency.csv"
    table.rename_axis("source").to_csv(path)
    entry = runs.subject(0, without=("t1gd",))
    alone = {name: value for name, value in entry.items() if name in ("subject", "t2")}
    images = {}
    for name, subject, fusion in (
        ("mean", entry, "mean"),
        ("adjacency", entry, str(path)),
        ("alone", alone, "mean"),
    ):
        runs.infer(tmp_path / name, datalist=write_datalist(subject), fusion=fusion, targets="t1gd")
        image = nibabel.load(tmp_path / name / entry["subject"] / f"{entry['subject']}_t1gd.nii.gz")
        images[name] = image.get_fdata()
    np.testing.assert_allclose(images["adjacency"], images["alone"], atol=1e-6)
    assert np.abs(images["adjacency"] - images["mean"]).max() > 1e-4


def test_existing_results_are_kept_or_replaced_as_asked(runs, trained, tmp_path, write_datalist) -> None:
    entry = runs.subject(0, without=("t1gd",))
    arguments = {"datalist": write_datalist(entry), "output_dir": tmp_path / "output"}
    runs.infer(**arguments)
    path = tmp_path / "output" / entry["subject"] / f"{entry['subject']}_t1gd.nii.gz"
    table = tmp_path / "output" / "synthesis.csv"
    first, listed = path.read_bytes(), table.read_bytes()
    other = {"checkpoint": str(trained / "checkpoints" / "best.pt")}
    error = runs.infer_error(**arguments, **other)
    assert isinstance(error, FileExistsError)
    assert f"{path} exists" in str(error)
    assert path.read_bytes() == first
    assert table.read_bytes() == listed
    runs.infer(**arguments, **other, existing="skip")
    assert path.read_bytes() == first
    runs.infer(**arguments, **other, existing="overwrite")
    assert path.read_bytes() != first


def test_a_stopped_job_goes_on_with_what_is_left(runs, tmp_path, write_datalist) -> None:
    done, half, left = (runs.subject(k, without=("t1gd",)) | {"subject": f"p{k}"} for k in (0, 1, 0))
    left["subject"] = "p2"
    datalist = write_datalist(done, half, left)
    output = tmp_path / "output"
    runs.infer(output, datalist=datalist)
    expected = {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*") if path.is_file()}
    for path in ("synthesis.csv", "p1/p1_t1gd.nii.gz", "p2/p2_t1gd.nii.gz", "p2/p2_t1gd_sd.nii.gz"):
        (output / path).unlink()
    with_images = str(runs.infer_error(output, datalist=datalist))
    assert [line.split("/")[-1] for line in with_images.splitlines()[1:]] == [
        "p0_t1gd.nii.gz exists", "p0_t1gd_sd.nii.gz exists", "p1_t1gd_sd.nii.gz exists"
    ]  # fmt: skip
    workflow = runs.infer(output, datalist=datalist, existing="skip")
    found = {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*") if path.is_file()}
    assert found == expected
    assert [entry["subject"] for entry in workflow.parser.get_parsed_content("dataset").data] == ["p1", "p2"]


def test_overlap_changes_no_byte(runs, tmp_path, write_datalist) -> None:
    datalist = write_datalist(runs.subject(0, without=("t1gd",)), runs.subject(1, without=("t1", "t2")))
    contents = []
    for overlap in (False, True):
        folder = tmp_path / str(overlap)
        overrides = {"evaluator#overlap_postprocessing": overlap, "num_workers": 1, "figures": True}
        runs.infer(folder, datalist=datalist, **overrides)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        contents.append({str(path.relative_to(folder)): path.read_bytes() for path in files})
    assert len(contents[0]) == 2 + 4 + 1 + 3
    assert contents[0] == contents[1]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"targets": "swi"}, "Unknown sequence 'swi'; the sequence table has t1, t1gd, t2, flair"),
        ({"existing": "append"}, "existing is 'append'; give one of error, skip, overwrite"),
        ({"fusion": "median"}, "The fusion 'median' is neither 'mean' nor an adjacency file"),
        ({"section": "tests"}, "has no section 'tests'; it has testing"),
        ({"autocast_dtype": "int8"}, "Unknown autocast_dtype 'int8'"),
        ({"slice_batch_size": 0}, "slice_batch_size is 0; give at least 1"),
        ({"memory_limit_mb": 0}, "memory_limit_mb is 0"),
        ({"dataset_dir": "nowhere"}, "The dataset's folder nowhere does not exist"),
    ],
)
def test_bad_option(runs, tmp_path, write_datalist, override, message) -> None:
    datalist = write_datalist(runs.subject(0, without=("t1gd",)))
    assert message in str(runs.infer_error(tmp_path / "output", datalist=datalist, **override))
    assert not list((tmp_path / "output").rglob("*.nii.gz"))


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize(
    ("subject", "left_out"),
    [("BraTS-MET-00110-000", "t1"), ("TCGA-DU-7294", "t1gd"), ("patient07", "t2"), ("patient19", "flair")],
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
