# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Bad input to inference: one clear error each, the other subjects done, nothing half-written.

Every way in which a file, a datalist or a checkpoint can be bad is a test of what reads it.
"""

from __future__ import annotations

import errno
import json
import os
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from seq2seq_mri.networks.generator import Seq2SeqGenerator
from seq2seq_mri.training.checkpoint import save_weights


def rewrite(path: Path, source: str, voxel: float | None = None, shift: float = 0.0) -> None:
    """Write the image ``source`` with another value in a voxel, or its grid moved by some millimetres."""
    image = nibabel.load(source)
    voxels, affine = image.get_fdata(dtype=np.float32), image.affine.copy()
    affine[:3, 3] += shift
    if voxel is not None:
        voxels[20, 20, 6] = voxel
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path, source: None, "does not exist"),
        (lambda path, source: path.write_bytes(b"this is no image" * 100), "corrupt|not a NIfTI"),
        (lambda path, source: path.write_bytes(Path(source).read_bytes()[:999]), "corrupt or truncated"),
        (lambda path, source: rewrite(path, source, voxel=np.nan), "1 voxels that are NaN or infinite"),
    ],
    ids=["missing", "no image", "truncated", "NaN"],
)
def test_bad_file(runs, tmp_path, write_datalist, spoil, message) -> None:
    good, bad = runs.subject(0, without=("t1gd",)), runs.subject(1, without=("t1gd",))
    path = tmp_path / "t2.nii.gz"
    spoil(path, bad["t2"])
    datalist = write_datalist(bad | {"t2": str(path)}, good)  # the bad one first
    error = runs.infer_error(tmp_path / "output", datalist=datalist)
    check_failures(error, {bad["subject"]: rf"{path}.*({message})"})
    check_written(tmp_path / "output", [good["subject"]])


def check_failures(error: BaseException, expected: dict[str, str]) -> None:
    """Check that the error lists exactly the expected subjects, one line each, with messages like those."""
    assert isinstance(error, ValueError)
    first, *lines = str(error).splitlines()
    assert first == f"{len(expected)} subject(s) failed, the others are done:"
    assert len(lines) == len(expected)
    for line, (subject, message) in zip(lines, expected.items(), strict=True):
        assert line.startswith(f"  {subject}: ")
        assert re.search(message, line), line


def check_written(folder: Path, subjects: list[str]) -> None:
    """Check that these subjects' images are there, whole, and nothing else is."""
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    expected = {f"{name}/{name}_t1gd{suffix}.nii.gz" for name in subjects for suffix in ("", "_sd")}
    assert files == expected | {"synthesis.csv"}
    for file in expected:
        assert np.isfinite(nibabel.load(folder / file).get_fdata()).all()
    listed = (folder / "synthesis.csv").read_text().splitlines()[1:]
    assert sorted(line.split(",")[0] for line in listed) == sorted(subjects)


def test_negative_values_are_legal(runs, tmp_path, write_datalist) -> None:
    subject = runs.subject(0, without=("t1gd",))
    rewrite(tmp_path / "t2.nii.gz", subject["t2"], voxel=-50.0)
    runs.infer(tmp_path / "output", datalist=write_datalist(subject | {"t2": str(tmp_path / "t2.nii.gz")}))
    check_written(tmp_path / "output", [subject["subject"]])


def test_different_grids_name_both_files(runs, tmp_path, write_datalist) -> None:
    good, bad = runs.subject(0, without=("t1gd",)), runs.subject(1, without=("t1gd",))
    path = tmp_path / "moved_t2.nii.gz"
    rewrite(path, bad["t2"], shift=3.0)
    datalist = write_datalist(bad | {"t2": str(path)}, good)
    error = runs.infer_error(tmp_path / "output", datalist=datalist)
    message = rf"{bad['t1']} and {path} lie on different grids: .*a corner 5\.2 mm apart"
    check_failures(error, {bad["subject"]: message})
    check_written(tmp_path / "output", [good["subject"]])
    runs.infer(tmp_path / "resampled", datalist=datalist, resample=True)
    check_written(tmp_path / "resampled", [good["subject"], bad["subject"]])


def test_several_failures_are_all_listed(runs, tmp_path, write_datalist) -> None:
    good, bad = runs.subject(0, without=("t1gd",)), runs.subject(1, without=("t1gd",))
    odd = bad | {"subject": "odd", "swi": bad["t2"]}
    error = runs.infer_error(tmp_path / "output", datalist=write_datalist({"subject": "nobody"}, good, odd))
    messages = {"nobody": "no available sequence; give at least one of t1", "odd": "unknown sequence 'swi'.*t1, t1gd"}
    check_failures(error, messages)
    check_written(tmp_path / "output", [good["subject"]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist; python -m seq2seq_mri datalist makes one"),
        ("{not JSON", "is not JSON"),
        ('{"sequences": {"t1": 1}, "training": []}', "has no section 'testing'"),
        ('{"sequences": {"t1": 4}, "testing": []}', "t1 has 4 timepoints"),
    ],
)
def test_bad_datalist(runs, tmp_path, content, message) -> None:
    path = tmp_path / "subjects.json"
    if content is not None:
        path.write_text(content)
    error = runs.infer_error(tmp_path / "output", datalist=str(path))
    assert isinstance(error, (ValueError, FileNotFoundError))
    assert str(path) in str(error)
    assert re.search(message, str(error)), error
    assert not list(tmp_path.rglob("*.nii.gz"))


def test_output_cannot_be_written(runs, tmp_path, write_datalist) -> None:
    file = tmp_path / "file"
    file.write_text("no folder")
    error = runs.infer_error(file / "output", datalist=write_datalist(runs.subject(0, without=("t1gd",))))
    assert re.search(f"The output directory {file / 'output'} cannot be written: Not a directory", str(error)), error


def made_up_weights(path: Path) -> None:
    sequences = dict.fromkeys(["t1", "t1gd", "t2", "flair"], 1)
    save_weights(Seq2SeqGenerator(2, sequences, channels=(4, 8), num_res_blocks=1, code_channels=4), path)


BAD_CHECKPOINTS = {
    "missing": (lambda path: None, "There is no checkpoint"),
    "another configuration": (made_up_weights, "belongs to another network configuration"),
    "other sequences": (
        lambda path: torch.save({"sequences": {"t1": 1, "t2": 1}, "network": {}}, path),
        r"was trained on the sequences \{'t1': 1, 't2': 1\}",
    ),
    "no checkpoint": (lambda path: path.write_text("weights"), "cannot be read as a checkpoint"),
}


@pytest.mark.parametrize("kind", BAD_CHECKPOINTS)
def test_bad_checkpoint(runs, tmp_path, write_datalist, kind) -> None:
    make, message = BAD_CHECKPOINTS[kind]
    path = tmp_path / "weights.pt"
    make(path)
    datalist = write_datalist(runs.subject(0, without=("t1gd",)))
    error = runs.infer_error(tmp_path / "output", datalist=datalist, checkpoint=str(path))
    assert isinstance(error, (ValueError, FileNotFoundError))
    assert str(path) in str(error)
    assert re.search(message, str(error)), error
    assert not list((tmp_path / "output").rglob("*.nii.gz"))


def test_disc_full(runs, tmp_path, write_datalist, monkeypatch) -> None:
    good, bad = runs.subject(0, without=("t1gd",)), runs.subject(1, without=("t1gd",))
    save = nibabel.save

    def full(image, path) -> None:
        if bad["subject"] in str(path):
            Path(path).write_bytes(b"half of an image")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(image, path)

    monkeypatch.setattr(nibabel, "save", full)
    error = runs.infer_error(tmp_path / "output", datalist=write_datalist(bad, good))
    path = tmp_path / "output" / bad["subject"] / f"{bad['subject']}_t1gd.nii.gz"
    check_failures(error, {bad["subject"]: f"cannot write {path}: No space left on device"})
    check_written(tmp_path / "output", [good["subject"]])


def test_bad_subject_of_an_evaluation_is_listed_and_the_others_measured(runs, trained, copied) -> None:
    folder = copied(trained)
    entries = [runs.subject(0), runs.subject(1) | {"t2": str(folder / "none.nii.gz")}]
    path = folder / "datalist.json"
    path.write_text(json.dumps(runs.datalist | {"testing": entries}))
    error = runs.error(runs.evaluate, folder, datalist=str(path), evaluation_dir=str(folder / "second"))
    check_failures(error, {entries[1]["subject"]: r"none\.nii\.gz does not exist"})
    rows = (folder / "second" / "metrics.csv").read_text().splitlines()[1:]
    assert {row.split(",")[0] for row in rows} == {entries[0]["subject"]}
    assert len(rows) == 12
