# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Bad input to inference: one clear error each, the other subjects done, nothing half-written, nothing replaced."""

from __future__ import annotations

import errno
import gzip
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from seq2seq_mri.networks.generator import Seq2SeqGenerator
from seq2seq_mri.training.checkpoint import save_weights


def rewritten(source: str, path: Path, change: Callable[[np.ndarray], np.ndarray], shift: float = 0.0) -> None:
    """Write the image ``source`` with other voxels, or its grid moved by some millimetres."""
    image = nibabel.load(source)
    affine = image.affine.copy()
    affine[:3, 3] += shift
    nibabel.save(nibabel.Nifti1Image(change(image.get_fdata(dtype=np.float32)).astype(np.float32), affine), path)


def with_voxel(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(voxels: np.ndarray) -> np.ndarray:
        voxels[20, 20, 6] = value
        return voxels

    return change


def truncate(source: str, path: Path) -> None:
    content = Path(source).read_bytes()
    path.write_bytes(content[: len(content) // 2])


def corrupt(source: str, path: Path) -> None:
    """Change the checksum at the end: what stands before it is not what was compressed."""
    content = bytearray(Path(source).read_bytes())
    content[-8:-4] = bytes(4)
    path.write_bytes(content)


def bytes_of(content: bytes) -> Callable[[str, Path], None]:
    return lambda source, path: path.write_bytes(content)  # type: ignore[return-value]


def voxels(change: Callable[[np.ndarray], np.ndarray], shift: float = 0.0) -> Callable[[str, Path], None]:
    return lambda source, path: rewritten(source, path, change, shift)


BAD_FILES = {
    "missing": (lambda source, path: None, "does not exist"),
    "a folder": (lambda source, path: path.mkdir(), "is an empty folder"),  # one of DICOM files is legal
    "empty": (bytes_of(b""), "corrupt|not a NIfTI"),
    "truncated": (truncate, "corrupt or truncated"),
    "corrupt": (corrupt, "corrupt or truncated"),
    "not a NIfTI": (bytes_of(gzip.compress(b"this is no image" * 100)), "not a NIfTI"),
    "not compressed": (bytes_of(b"this is no image" * 100), "corrupt|not a NIfTI"),
    "2D": (voxels(lambda image: image[:, :, 6]), r"is 2D, of shape \(36, 40\)"),
    "4D": (voxels(lambda image: np.stack([image, image], axis=-1)), "has 2 timepoints where sequence 't2' has 1"),
    "NaN": (voxels(with_voxel(np.nan)), "1 voxels that are NaN or infinite"),
    "infinite": (voxels(with_voxel(-np.inf)), "1 voxels that are NaN or infinite"),
    "all zero": (voxels(np.zeros_like), "is all zero"),
    "constant": (voxels(lambda image: np.full_like(image, 7)), "is constant"),
    "negative everywhere": (voxels(lambda image: image - 1e6), "no voxel above zero"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_file(runs, tmp_path, write_datalist, kind) -> None:
    make, message = BAD_FILES[kind]
    good, bad = runs.subject(0, without=("t1gd",)), runs.subject(1, without=("t1gd",))
    path = tmp_path / "bad_t2.nii.gz"
    make(bad["t2"], path)
    bad["t2"] = str(path)
    datalist = write_datalist(bad, good)  # the bad one first
    error = runs.infer_error(tmp_path / "output", datalist=datalist)
    names = rf"'t2'|{path}" if kind == "negative everywhere" else str(path)
    check_failures(error, {bad["subject"]: rf"({names}).*({message})"})
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
    path = tmp_path / "negative_t2.nii.gz"
    rewritten(subject["t2"], path, with_voxel(-50.0))
    runs.infer(tmp_path / "output", datalist=write_datalist(subject | {"t2": str(path)}))
    check_written(tmp_path / "output", [subject["subject"]])


@pytest.mark.parametrize(
    ("change", "shift", "message"),
    [
        (lambda image: image[:, :, 1:], 0.0, r"shapes \(36, 40, 13\) and \(36, 40, 12\)"),
        (lambda image: image, 3.0, "a corner 5.2 mm apart"),
    ],
    ids=["shape", "affine"],
)
def test_different_grids_name_both_files(runs, tmp_path, write_datalist, change, shift, message) -> None:
    good, bad = runs.subject(0, without=("t1gd",)), runs.subject(1, without=("t1gd",))
    path = tmp_path / "moved_t2.nii.gz"
    rewritten(bad["t2"], path, change, shift)
    moved = bad | {"t2": str(path)}
    error = runs.infer_error(tmp_path / "output", datalist=write_datalist(moved, good))
    check_failures(error, {bad["subject"]: rf"{bad['t1']} and {path} lie on different grids: .*{message}"})
    check_written(tmp_path / "output", [good["subject"]])
    runs.infer(tmp_path / "resampled", datalist=write_datalist(moved, good), resample=True)
    check_written(tmp_path / "resampled", [good["subject"], bad["subject"]])


def test_unknown_sequence(runs, tmp_path, write_datalist) -> None:
    good, bad = runs.subject(0, without=("t1gd",)), runs.subject(1, without=("t1gd",))
    datalist = write_datalist(bad | {"swi": bad["t2"]}, good)
    error = runs.infer_error(tmp_path / "output", datalist=datalist)
    check_failures(error, {bad["subject"]: "unknown sequence 'swi'.*t1, t1gd, t2, flair"})
    check_written(tmp_path / "output", [good["subject"]])


def test_several_failures_are_all_listed(runs, tmp_path, write_datalist) -> None:
    good, bad = runs.subject(0, without=("t1gd",)), runs.subject(1, without=("t1gd",))
    datalist = write_datalist({"subject": "nobody"}, good, bad | {"t2": str(tmp_path / "none.nii.gz")})
    error = runs.infer_error(tmp_path / "output", datalist=datalist)
    check_failures(
        error,
        {"nobody": "no available sequence; give at least one of t1", bad["subject"]: r"none\.nii\.gz does not exist"},
    )
    check_written(tmp_path / "output", [good["subject"]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist; python -m seq2seq_mri datalist makes one"),
        ("{not JSON", "is not JSON"),
        ("[]", "is not of the form"),
        ('{"testing": []}', "is not of the form"),
        ('{"sequences": {"t1": 1}, "testing": [{"t1": "a.nii.gz"}]}', r"testing\[0\] is not of the form"),
        (
            '{"sequences": {"t1": 1}, "testing": [{"subject": "a/b", "t1": "a.nii.gz"}]}',
            "cannot be the name of a folder",
        ),
        ('{"sequences": {"t1": 1}, "testing": [{"subject": "a", "t1": 7}]}', "subject a: t1 is 7; give a path"),
        ('{"sequences": {"t1": 1}, "testing": [{"subject": "a"}, {"subject": "a"}]}', "subject a stands twice"),
        ('{"sequences": {"t1": 1}, "training": []}', "has no section 'testing'"),
        ('{"sequences": {"t1": 1}, "testing": []}', "no subject is in testing"),
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


def test_output_exists(runs, tmp_path, write_datalist) -> None:
    good, bad = runs.subject(0, without=("t1gd",)), runs.subject(1, without=("t1gd",))
    existing = tmp_path / "output" / bad["subject"] / f"{bad['subject']}_t1gd.nii.gz"
    existing.parent.mkdir(parents=True)
    existing.write_bytes(b"an earlier result")
    error = runs.infer_error(tmp_path / "output", datalist=write_datalist(bad, good))
    assert isinstance(error, FileExistsError)
    assert str(error).splitlines()[1:] == [f"  {existing} exists"]
    assert existing.read_bytes() == b"an earlier result"
    # Nobody's images were computed: that there is an earlier result is known before.
    assert not (tmp_path / "output" / good["subject"]).exists()


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
    "empty": (lambda path: path.write_bytes(b""), "cannot be read as a checkpoint"),
    "no checkpoint": (lambda path: path.write_text("weights"), "cannot be read as a checkpoint"),
    "truncated": (
        lambda path: path.write_bytes(path.with_name("whole.pt").read_bytes()[:-999]),
        "it is truncated or of",
    ),
    "a tensor": (lambda path: torch.save(torch.zeros(1), path), "holds a Tensor, not a checkpoint"),
}


@pytest.mark.parametrize("kind", BAD_CHECKPOINTS)
def test_bad_checkpoint(runs, tmp_path, write_datalist, kind) -> None:
    make, message = BAD_CHECKPOINTS[kind]
    path = tmp_path / "weights.pt"
    (tmp_path / "whole.pt").write_bytes(runs.weights.read_bytes())
    make(path)
    datalist = write_datalist(runs.subject(0, without=("t1gd",)))
    error = runs.infer_error(tmp_path / "output", datalist=datalist, checkpoint=str(path))
    assert isinstance(error, (ValueError, FileNotFoundError))
    assert str(path) in str(error)
    assert re.search(message, str(error)), error
    assert not list((tmp_path / "output").rglob("*.nii.gz"))


@pytest.mark.parametrize("moment", ["writing", "renaming"])
def test_disc_full(runs, tmp_path, write_datalist, monkeypatch, moment) -> None:
    good, bad = runs.subject(0, without=("t1gd",)), runs.subject(1, without=("t1gd",))
    module, name = (nibabel, "save") if moment == "writing" else (os, "replace")
    original = getattr(module, name)

    def full(first, second) -> None:
        if bad["subject"] in str(second):
            if moment == "writing":
                Path(second).write_bytes(b"half of an image")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(first, second)

    monkeypatch.setattr(module, name, full)
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
