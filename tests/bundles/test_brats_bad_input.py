# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Bad input: one clear error for each subject, the others done, nothing half-written.

Every way in which a file, a datalist or a checkpoint can be bad is a test of what reads it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest


def rewrite(path: Path, source: str, voxel: float, shift: float = 0.0) -> None:
    """Write the image ``source`` with another value in a voxel, and its grid moved by some millimetres."""
    image = nibabel.load(source)
    voxels, affine = image.get_fdata(dtype=np.float32), image.affine.copy()
    affine[:3, 3] += shift
    voxels[20, 20, 6] = voxel
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)


def check_failures(error: BaseException, expected: dict[str, str]) -> None:
    """Check that the error lists exactly the expected subjects, one line each, with messages like those."""
    assert isinstance(error, ValueError)
    first, *lines = str(error).splitlines()
    assert first == f"{len(expected)} subject(s) failed, the others are done:"
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


def test_bad_subjects_are_listed_and_the_others_synthesised(runs, tmp_path, write_datalist) -> None:
    good, bad = runs.subject(0, without=("t1gd",)), runs.subject(1, without=("t1gd",))
    paths = {name: tmp_path / f"{name}.nii.gz" for name in ("absent", "truncated", "nan", "moved")}
    paths["truncated"].write_bytes(Path(bad["t2"]).read_bytes()[:999])
    rewrite(paths["nan"], bad["t2"], voxel=np.nan)
    rewrite(paths["moved"], bad["t2"], voxel=-50.0, shift=3.0)
    entries = [bad | {"subject": name, "t2": str(path)} for name, path in paths.items()]
    entries += [{"subject": "nobody"}, bad | {"subject": "odd", "swi": bad["t2"]}, good]
    messages = {
        "absent": f"{paths['absent']} does not exist",
        "truncated": f"{paths['truncated']} is corrupt or truncated",
        "nan": rf"{paths['nan']}.* 1 voxels that are NaN or infinite",
        "moved": rf"{bad['t1']} and {paths['moved']} lie on different grids: .*a corner 5\.2 mm apart",
        "nobody": "no available sequence; give at least one of t1",
        "odd": "unknown sequence 'swi'.*t1, t1gd",
    }
    check_failures(runs.infer_error(tmp_path / "output", datalist=write_datalist(*entries)), messages)
    check_written(tmp_path / "output", [good["subject"]])
    # A negative value is none of the mistakes.
    runs.infer(tmp_path / "resampled", datalist=write_datalist(entries[3]), resample=True)
    check_written(tmp_path / "resampled", ["moved"])


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


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"datalist": "nowhere.json"}, "nowhere.json does not exist; python -m seq2seq_mri datalist makes one"),
        ({"dataset_dir": "nowhere"}, "The dataset's folder nowhere does not exist"),
        ({"section": "tests"}, "has no section 'tests'; it has testing"),
        ({"checkpoint": "nowhere.pt"}, "There is no checkpoint nowhere.pt"),
        ({"targets": "swi"}, "Unknown sequence 'swi'; the sequence table has t1, t1gd, t2, flair"),
        ({"fusion": "median"}, "The fusion 'median' is neither 'mean' nor an adjacency file"),
        ({"existing": "append"}, "existing is 'append'; give one of error, skip, overwrite"),
        ({"slice_batch_size": 0}, "slice_batch_size is 0; give at least 1"),
        ({"memory_limit_mb": 0}, "memory_limit_mb is 0"),
        ({"output_dir": "file/output"}, "The output directory file/output cannot be written: Not a directory"),
    ],
)
def test_bad_option(runs, tmp_path, monkeypatch, write_datalist, override, message) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("no folder")
    given = {"output_dir": "output", "datalist": write_datalist(runs.subject(0, without=("t1gd",)))} | override
    assert message in str(runs.error(runs.infer, **given))
    assert not list(tmp_path.rglob("*.nii.gz"))
