# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""SubjectDataset: readable errors, reports that keep a batch job going, randomness that can be repeated."""

from __future__ import annotations

import pytest
import torch
from monai.data import DataLoader, MetaTensor
from monai.transforms import Compose, RandFlipd, RandGaussianNoised, RandSpatialCropSamplesd

from seq2seq_mri.io.load import LoadImageSequencesd
from seq2seq_mri.training.subject_dataset import SubjectDataset

TABLE = {"t1": 1}


def ramp(data):
    """Stand in for a loader: an image made from a number."""
    return {**data, "image": MetaTensor(torch.arange(216.0).reshape(1, 6, 6, 6) + 1000 * data["image"])}


def fault(data):
    raise KeyError("no such key")


def random_transforms() -> Compose:
    return Compose(
        [
            ramp,
            RandSpatialCropSamplesd(keys="image", roi_size=[3, 3, 3], num_samples=2, random_size=False),
            Compose([RandFlipd(keys="image", prob=0.5, spatial_axis=0)]),
            RandGaussianNoised(keys="image", prob=1.0),
        ]
    )


def epoch_of(dataset: SubjectDataset, num_workers: int, epoch: int) -> torch.Tensor:
    dataset.set_epoch(epoch)
    loader = DataLoader(dataset, batch_size=2, num_workers=num_workers)
    return torch.cat([batch["image"].as_tensor() for batch in loader])


@pytest.fixture
def subjects(tmp_path, write_volume) -> list[dict]:
    """Three subjects, of which the second has a truncated file."""
    result = [
        {"subject": f"p{index}", "t1": write_volume(f"p{index}_t1.nii.gz", shape=(12, 12, 12))} for index in range(3)
    ]
    bad = tmp_path / "p1_t1.nii.gz"
    bad.write_bytes(bad.read_bytes()[:2000])
    return result


def test_samples_depend_on_seed_epoch_and_index_only() -> None:
    def dataset(seed: int = 0) -> SubjectDataset:
        return SubjectDataset([{"image": i} for i in range(4)], random_transforms(), seed=seed)

    straight = dataset()
    first, second = epoch_of(straight, 0, 1), epoch_of(straight, 0, 2)
    assert first.shape == (8, 1, 3, 3, 3)
    assert not torch.equal(first, second)
    same = SubjectDataset([{"image": 0}] * 2, random_transforms())
    assert not torch.equal(same[0][0]["image"], same[1][0]["image"])  # items do not share their randomness
    assert not torch.equal(first, epoch_of(dataset(seed=1), 0, 1))
    # A new process that starts with the second epoch, with workers, and with the items in another order.
    resumed = dataset()
    torch.manual_seed(7)
    assert torch.equal(epoch_of(resumed, 0, 2), second)
    assert torch.equal(epoch_of(resumed, 2, 2), second)
    assert torch.equal(epoch_of(resumed, 2, 1), first)
    resumed.set_epoch(2)
    backwards = [resumed[index] for index in (3, 2, 1, 0)]
    assert torch.equal(torch.stack([patch["image"].as_tensor() for patch in backwards[0]]), second[6:])
    assert torch.equal(torch.stack([patch["image"].as_tensor() for patch in resumed[-4]]), second[:2])


def test_users_see_the_original_error(subjects) -> None:
    dataset = SubjectDataset(subjects, [LoadImageSequencesd(TABLE)])
    with pytest.raises(ValueError, match=r"Subject 'p1': .*p1_t1\.nii\.gz is corrupt or truncated") as caught:
        dataset[1]
    assert isinstance(caught.value.__cause__, EOFError)
    assert "applying transform" not in str(caught.value)


def test_reports_keep_the_job_going(subjects) -> None:
    transforms = [LoadImageSequencesd(TABLE), RandFlipd(keys="image", prob=0.5)]
    dataset = SubjectDataset(subjects, transforms, on_error="report")
    batches = list(DataLoader(dataset, batch_size=1, num_workers=2))
    assert [batch["subject"] for batch in batches] == [["p0"], ["p1"], ["p2"]]
    assert ["error" in batch for batch in batches] == [False, True, False]
    assert "p1_t1.nii.gz is corrupt or truncated" in batches[1]["error"][0] == dataset[1]["error"]
    assert batches[2]["image"].shape == (1, 1, 12, 12, 12)
    bug = SubjectDataset([{"image": 0}], [fault], on_error="report")
    assert bug[0] == {"subject": "0", "error": "KeyError: 'no such key'"}
