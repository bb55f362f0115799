# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The batches that the generators' bundles train on, as the configurations make them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch


def dataloader(runs, folder: Path, section: str = "train", **options: Any) -> Any:
    options = {"samples_per_subject": 3, "num_workers": 0, "output_dir": str(folder / "out")} | options
    workflow = runs.workflow("train", cache_dir=str(folder / "prepared"), **options)
    return workflow.parser.get_parsed_content(f"{section}#dataloader")


def epoch_of(loader: Any, epoch: int) -> list[dict[str, Any]]:
    """Return an epoch's batches, told as EpochSeed and MONAI's trainer tell it."""
    loader.dataset.set_epoch(epoch)
    loader.sampler.set_epoch(epoch)
    return list(loader)


def test_batches_mix_subjects_and_are_plain(generator_runs, tmp_path) -> None:
    subjects = [entry["subject"] for entry in generator_runs.datalist["training"]]
    batches = epoch_of(dataloader(generator_runs, tmp_path, batch_size=4), 1)
    assert Counter(name for batch in batches for name in batch["subject"]) == dict.fromkeys(subjects, 3)
    assert [len(batch["subject"]) for batch in batches[:-1]] == [4] * (len(batches) - 1)
    assert len(set(batches[0]["subject"])) > 1
    width, height = generator_runs.options["slice_size"]
    channels = sum(generator_runs.sequences.values())
    for batch in batches:
        count = len(batch["subject"])
        assert type(batch["image"]) is torch.Tensor
        assert batch["image"].dtype == torch.float16
        assert batch["image"].shape == (count, channels, width, height, 3)
        assert batch["available"].dtype == torch.bool
        assert batch["available"].shape == (count, len(generator_runs.sequences))
        assert bool(batch["available"].any(dim=1).all())
    names, images = (
        [name for batch in batches for name in batch["subject"]],
        [*torch.cat([b["image"] for b in batches])],
    )
    first = [image for name, image in zip(names, images, strict=True) if name == names[0]]
    assert not all(torch.equal(first[0], other) for other in first[1:])


@pytest.mark.parametrize("num_workers", [0, 1])
def test_loading_draws_no_random_number_of_the_training(runs, tmp_path, num_workers) -> None:
    """Else a resumed training, whose workers start anew, would choose other pairs."""
    loader = dataloader(runs, tmp_path, num_workers=num_workers)
    drawn = []
    for epoch in (1, 2):
        torch.manual_seed(5)
        epoch_of(loader, epoch)
        drawn.append(torch.rand(1))
    torch.manual_seed(5)
    assert drawn == [torch.rand(1)] * 2


def test_samples_may_be_turned(runs, tmp_path) -> None:
    plain, turned = (
        epoch_of(dataloader(runs, tmp_path, affine_probability=value), 1)[0]["image"] for value in (0.0, 1.0)
    )
    assert turned.dtype == plain.dtype == torch.float16
    assert turned.shape == plain.shape
    assert not torch.equal(turned, plain)
    # In the slices only: what is empty in all of them stays so, as one that is missing does.
    assert torch.equal(turned.amax(dim=(2, 3, 4)) > 0, plain.amax(dim=(2, 3, 4)) > 0)


def test_processes_take_parts_of_an_epoch(runs, tmp_path) -> None:
    epochs = []
    for rank in range(3):
        parts = {"train#sampler#num_replicas": 3, "train#sampler#rank": rank}
        epochs.append(epoch_of(dataloader(runs, tmp_path, batch_size=2, **parts), 3))
    assert len({len(epoch) for epoch in epochs}) == 1
    images = torch.cat([batch["image"] for epoch in epochs for batch in epoch])
    whole = torch.cat([batch["image"] for batch in epoch_of(dataloader(runs, tmp_path), 3)])
    assert all(any(torch.equal(image, other) for other in images) for image in whole)
