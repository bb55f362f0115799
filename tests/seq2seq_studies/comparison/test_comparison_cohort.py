# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The cohort, as the bundle prepares it, and the batches drawn from it."""

from __future__ import annotations

import json

import pytest
import torch

from seq2seq_studies.comparison.comparison_cohort import Cohort, TrainingBatches


@pytest.fixture
def bundle(repository) -> str:
    return str(repository / "bundles" / "seq2seq_brats")


def test_patches_and_volumes_are_those_of_the_bundle(cohort) -> None:
    image, available = TrainingBatches(cohort.training_data(), 2)(0)
    assert image.shape == (4, 4, 32, 32, 3)
    assert available.shape == (4, 4)
    assert 0 <= image.min() <= image.max() <= 1
    assert all((image[row, ~available[row]] == 0).all() for row in range(4))
    sample = cohort.volumes(cohort.testing)[0]
    assert sample["image"].shape[0] == 4
    assert sample["measured"].all()
    assert 0.5 < float(sample["image"].max()) <= 1


def test_a_withheld_sequence_is_no_input_of_a_training(cohort) -> None:
    for sample, entry in zip(cohort.volumes(cohort.training), cohort.training, strict=True):
        names = [name for name, there in zip(cohort.sequences, sample["available"], strict=True) if there]
        assert set(names) == set(cohort.sequences) - set(entry["withheld"])
    available = {tuple(TrainingBatches(cohort.training_data(), 1)(step)[1][0].tolist()) for step in range(3)}
    assert tuple([True] * 4) not in available


def test_prepared_subjects_are_shared_and_kept_where_one_says(bundle, datalist, tmp_path) -> None:
    cohorts = Cohort(bundle, datalist, testing=None, slice_size=(32, 32), cache_dir=tmp_path).leave_one_out()
    for cohort in cohorts[:2]:
        cohort.training_data()
    assert len(list(tmp_path.glob("*.json"))) == 3
    changed = [path.stat().st_mtime_ns for path in sorted(tmp_path.glob("*.npy"))]
    cohorts[2].training_data()
    assert [path.stat().st_mtime_ns for path in sorted(tmp_path.glob("*.npy"))] == changed


def test_a_batch_depends_on_seed_and_step_only(cohort) -> None:
    one, other = (TrainingBatches(cohort.training_data(seed=3), 1, seed=3) for _ in range(2))
    first = [one(step)[0] for step in range(5)]
    assert torch.equal(other(4)[0], first[4])
    assert torch.equal(other(1)[0], first[1])
    assert not torch.equal(first[0], first[3])
    another = TrainingBatches(cohort.training_data(seed=4), 1, seed=4)
    assert not all(torch.equal(another(step)[0], first[step]) for step in range(3))


def test_every_subject_is_seen_once_in_an_epoch(cohort) -> None:
    batches = TrainingBatches(cohort.training_data(), 2)
    assert batches.steps_per_epoch == 2
    assert [len(batches(step)[0]) for step in range(4)] == [4, 2, 4, 2]


def test_every_patient_is_left_out_once(bundle, datalist) -> None:
    whole = Cohort(bundle, datalist, testing=None, slice_size=(32, 32))
    whole.training[1]["patient"] = whole.training[0]["patient"] = "twice examined"
    names = [entry["subject"] for entry in whole.training]
    cohorts = whole.leave_one_out()
    assert [cohort.name for cohort in cohorts] == ["without_twice examined", f"without_{names[2]}"]
    for cohort, tested in zip(cohorts, [names[:2], names[2:]], strict=True):
        assert [entry["subject"] for entry in cohort.testing] == tested
        assert [entry["subject"] for entry in cohort.training] == [name for name in names if name not in tested]
        assert [sample["subject"] for sample in cohort.test_volumes] == tested
        assert len(cohort.patch_data) == 4 * (3 - len(tested))
    with pytest.raises(ValueError, match="twice examined is the only patient"):
        cohorts[1].leave_one_out()


def test_mistakes(bundle, datalist, tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="give bundle_dir, the folder of a bundle"):
        Cohort(tmp_path, datalist)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        Cohort(bundle, tmp_path / "datalist.json")
    with pytest.raises(ValueError, match="would be both trained and tested on"):
        Cohort(bundle, datalist, training=["training", "testing"])
    single = tmp_path / "single.json"
    single.write_text(json.dumps({"sequences": {"t1": 1}, "training": []}))
    with pytest.raises(ValueError, match="one sequence only"):
        Cohort(bundle, single)
