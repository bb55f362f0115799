# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The cohort, as the bundle prepares it, and the batches drawn from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from seq2seq_studies.comparison.comparison_cohort import Cohort, TrainingBatches


@pytest.fixture(scope="module")
def cohort(cohort_of) -> Cohort:
    return cohort_of(patches=2)


def test_patches_and_volumes_are_those_of_the_bundle(cohort) -> None:
    image, available = TrainingBatches(cohort.patch_data, 2)(0)
    assert image.shape == (4, 4, 32, 32, 3)
    assert available.shape == (4, 4)
    assert 0 <= image.min() <= image.max() <= 1
    assert all((image[row, ~available[row]] == 0).all() for row in range(4))
    sample = cohort.test_volumes[0]
    assert sample["image"].shape[0] == 4
    assert sample["measured"].all()
    assert 0.5 < float(sample["image"].max()) <= 1


def test_a_withheld_sequence_is_no_input_of_a_training(cohort) -> None:
    for sample, entry in zip(cohort.volumes(cohort.training), cohort.training, strict=True):
        names = [name for name, there in zip(cohort.sequences, sample["available"], strict=True) if there]
        assert set(names) == set(cohort.sequences) - set(entry["withheld"])
    batches = TrainingBatches(cohort.patch_data)
    assert not any(batches(step)[1].all(dim=1).any() for step in range(3))


def test_a_batch_depends_on_seed_and_step_only(cohort) -> None:
    one, other = (TrainingBatches(cohort.patch_data, 1, seed=seed) for seed in (3, 4))
    first = [one(step)[0] for step in range(5)]
    different = [other(step)[0] for step in range(3)]
    assert torch.equal(one(4)[0], first[4])
    assert torch.equal(one(1)[0], first[1])
    assert not torch.equal(first[0], first[3])
    two = TrainingBatches(cohort.patch_data, 2)
    assert [len(two(step)[0]) for step in range(4)] == [4, 2, 4, 2]  # each of three subjects once in an epoch
    assert not all(torch.equal(*pair) for pair in zip(first, different, strict=False))


def test_every_patient_is_left_out_once_and_prepared_once(cohort_of) -> None:
    whole = cohort_of(leave_one_out=True)
    assert whole.testing == []
    whole.training[1]["patient"] = whole.training[0]["patient"] = "twice examined"
    names = [entry["subject"] for entry in whole.training]
    whole.leave_one_out()[0].patch_data  # noqa: B018
    whole.leave_one_out()[1].patch_data  # noqa: B018
    changed = {path: path.stat().st_mtime_ns for path in whole.cache_dir.glob("*.npy")}
    cohorts = whole.leave_one_out()
    assert [cohort.name for cohort in cohorts] == ["without_twice examined", f"without_{names[2]}"]
    for cohort, tested in zip(cohorts, [names[:2], names[2:]], strict=True):
        assert [entry["subject"] for entry in cohort.training] == [name for name in names if name not in tested]
        assert [sample["subject"] for sample in cohort.test_volumes] == tested
        assert len(cohort.patch_data) == 3 - len(tested)
    assert {path: path.stat().st_mtime_ns for path in whole.cache_dir.glob("*.npy")} == changed
    assert len(list(whole.cache_dir.glob("*.json"))) == 3
    with pytest.raises(ValueError, match="twice examined is the only patient"):
        cohorts[1].leave_one_out()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"bundle_dir": "nowhere"}, FileNotFoundError, "give bundle_dir, the folder of a bundle"),
        ({"datalist": Path("nowhere.json")}, FileNotFoundError, "does not exist"),
        ({"training": ["training", "testing"]}, ValueError, "would be both trained and tested on"),
    ],
)
def test_mistakes(cohort_of, options, error, message) -> None:
    with pytest.raises(error, match=message):
        cohort_of(**options)


def test_one_sequence_has_no_source(cohort_of, tmp_path) -> None:
    single = tmp_path / "single.json"
    single.write_text(json.dumps({"sequences": {"t1": 1}, "training": []}))
    with pytest.raises(ValueError, match="one sequence only"):
        cohort_of(single)
