# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The simulated subject, and what a bundle made of it."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from tools.trial import check_predictions, simulate_for


@pytest.mark.parametrize("name", ["seq2seq_brats", "seq2seq_breast"])
def test_cohort_has_the_sequences_of_the_bundle(small_repository, tmp_path, name) -> None:
    bundle = small_repository / "bundles" / name
    cohort = simulate_for(bundle, tmp_path / "cohort")
    (subject,) = json.loads((cohort / "datalist.json").read_text())["testing"]
    assert set(json.loads((bundle / "configs" / "inference.json").read_text())["sequences"]) <= set(subject)


def test_cohort_that_cannot_be_simulated(changed_repository, tmp_path) -> None:
    path = changed_repository / "bundles" / "seq2seq_brats" / "configs" / "inference.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sequences": {"t1": 1, "swi": 1}}))
    with pytest.raises(ValueError, match="seq2seq_brats: no cohort can be simulated with the sequences t1, swi"):
        simulate_for(path.parents[1], tmp_path / "cohort")


def write(folder, name, values) -> None:
    (folder / "subject").mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(np.asarray(values, np.float32), np.eye(4)), folder / "subject" / name)


def test_images(tmp_path) -> None:
    with pytest.raises(ValueError, match="brain wrote no image"):
        check_predictions(tmp_path, "brain", classifies=False)
    write(tmp_path, "a_t2.nii.gz", np.ones((2, 2, 2)))
    write(tmp_path, "a_t2_disagreement.nii.gz", np.zeros((2, 2, 2)))  # there was one source
    check_predictions(tmp_path, "brain", classifies=False)
    for values in (np.zeros((2, 2, 2)), np.full((2, 2, 2), np.nan)):
        write(tmp_path, "a_t1.nii.gz", values)
        with pytest.raises(ValueError, match=r"wrote a_t1\.nii\.gz, which is empty or not finite"):
            check_predictions(tmp_path, "brain", classifies=False)


@pytest.mark.parametrize(
    "text", [None, "subject,probability\n", "subject,probability\na,1.5\n", "subject,probability\na,\n"]
)
def test_probabilities(tmp_path, text) -> None:
    if text is not None:
        (tmp_path / "predictions.csv").write_text(text)
    with pytest.raises(ValueError, match="gave no probability between 0 and 1"):
        check_predictions(tmp_path, "classifier", classifies=True)
    (tmp_path / "predictions.csv").write_text("subject,probability\na,0.5\n")
    check_predictions(tmp_path, "classifier", classifies=True)
