# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Processes that take the package from a bundle, the simulated subject, and what a bundle made of it."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tools.trial import check_predictions, run_with, simulate_for


@pytest.fixture
def bundle(tmp_path) -> Path:
    """An unzipped bundle whose package is a stand-in, with modules that use it."""
    package = tmp_path / "bundle" / "seq2seq_mri"
    package.mkdir(parents=True)
    modules = {
        "seq2seq_mri/__init__": "place = 'the bundle'",
        "user": "import os, sys, numpy, seq2seq_mri as s; print(s.place, os.listdir())",  # numpy is the interpreter's
        "lacks": "import seq2seq_mri, mri_phantom",
        "idle": "print('nothing')",
        "failing": "print(*range(50), sep='\\n', flush=True); raise SystemExit('what was wrong')",
    }
    for name, text in modules.items():
        (package.parent / f"{name}.py").write_text(text)
    return package.parent


def test_package_comes_from_the_bundle(bundle, monkeypatch) -> None:
    # Also where this process has it from elsewhere.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2] / "common"))
    assert run_with(bundle, "user", [], (bundle,)) == "the bundle []\n"
    assert not list(bundle.rglob("__pycache__"))


def test_packages_from_elsewhere_are_refused(bundle) -> None:
    common = Path(__file__).parents[2] / "common"  # as if it were installed
    with pytest.raises(ValueError, match=r"lacks took \S+/mri_phantom/__init__\.py instead of the package in"):
        run_with(bundle, "lacks", [], (bundle, common))
    with pytest.raises(ValueError, match="idle took no module instead of the package"):
        run_with(bundle, "idle", [], (bundle,))


def test_failure_is_told_with_its_last_lines(bundle) -> None:
    with pytest.raises(ValueError, match=r"failing failed with the unzipped bundle \(exit code 1\)") as caught:
        run_with(bundle, "failing", [], (bundle,))
    assert str(caught.value).endswith("48\n49\nwhat was wrong")
    assert "\n10\n" not in str(caught.value)


def test_cohort_has_the_sequences_of_the_bundle(bundle, tmp_path) -> None:
    path = bundle / "configs" / "inference.json"
    path.parent.mkdir()
    for sequences in ({"t1": 1, "flair": 1}, {"t1": 1, "dce": 6, "dwi": 4}):
        path.write_text(json.dumps({"sequences": sequences}))
        cohort = simulate_for(bundle, tmp_path / "_".join(sequences))
        (subject,) = json.loads((cohort / "datalist.json").read_text())["testing"]
        assert sequences.keys() <= subject.keys()
    path.write_text(json.dumps({"sequences": {"t1": 1, "swi": 1}}))
    with pytest.raises(ValueError, match="bundle: no cohort can be simulated with the sequences t1, swi"):
        simulate_for(bundle, tmp_path / "cohort")


def write(folder, name, values) -> None:
    (folder / "subject").mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(np.asarray(values, np.float32), np.eye(4)), folder / "subject" / name)


def test_images(tmp_path) -> None:
    write(tmp_path, "a_t2_sd.nii.gz", np.zeros((2, 2, 2)))  # there was one source
    with pytest.raises(ValueError, match="brain wrote no image of t2"):
        check_predictions(tmp_path, "brain", "t2")
    write(tmp_path, "a_t2.nii.gz", np.ones((2, 2, 2)))
    check_predictions(tmp_path, "brain", "t2")
    for values in (np.zeros((2, 2, 2)), np.full((2, 2, 2), np.nan)):
        write(tmp_path, "a_t2.nii.gz", values)
        with pytest.raises(ValueError, match=r"wrote a_t2\.nii\.gz, which is empty or not finite"):
            check_predictions(tmp_path, "brain", "t2")


def test_probabilities(tmp_path) -> None:
    for rows in (None, "", "a,1.5\n", "a,\n"):
        if rows is not None:
            (tmp_path / "predictions.csv").write_text(f"subject,probability\n{rows}")
        with pytest.raises(ValueError, match="gave no probability between 0 and 1"):
            check_predictions(tmp_path, "classifier", None)
    (tmp_path / "predictions.csv").write_text("subject,probability\na,0.5\n")
    check_predictions(tmp_path, "classifier", None)
