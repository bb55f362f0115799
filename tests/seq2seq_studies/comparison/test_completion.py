# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Volumes completed by a network, slice by slice, and by the two baselines without one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seq2seq_studies.comparison.completion import TissueMean, complete_volume, copy_sources
from seq2seq_studies.networks.many_to_many import ManyToMany
from seq2seq_studies.networks.mm_gan import MMGAN

SEQUENCES = {"t1": 1, "dce": 2, "t2": 1}


@pytest.fixture
def network() -> ManyToMany:
    torch.manual_seed(0)
    return MMGAN(2, SEQUENCES, 3, channels=(4, 6), output_activation="tanh").eval()


def subject(names: str = "t1 dce t2", seed: int = 0) -> dict:
    """Three tissues; T1 tells all of them apart, T2 only one of them from the others."""
    tissue = torch.from_numpy(np.random.default_rng(seed).integers(0, 4, (8, 9, 10)))
    values = {"t1": [[0, 0.2, 0.5, 0.9]], "dce": [[0, 0.3, 0.1, 0.2], [0, 0.8, 0.4, 0.6]], "t2": [[0, 0.5, 0.5, 0.1]]}
    image = torch.tensor([row for name in SEQUENCES for row in values[name]])[:, tissue]
    available = torch.tensor([name in names.split() for name in SEQUENCES])
    return {
        "image": image * available.repeat_interleave(torch.tensor([1, 2, 1]))[:, None, None, None],
        "available": available,
    }


@pytest.mark.parametrize("batch", [1, 2, 100])
def test_equals_the_network_slice_by_slice(network, batch) -> None:
    volume = torch.rand(4, 9, 10, 5)
    made = complete_volume(network, volume, ["t1", "t2"], batch)
    padded = torch.cat([volume[..., :1], volume, volume[..., -1:]], -1)
    for index in range(5):
        stack = padded[..., index : index + 3].movedim(-1, 1)[None]
        with torch.no_grad():
            expected = network(stack, torch.tensor([[True, False, True]]))[0, :, 1].clamp(0, 1)
        torch.testing.assert_close(made[1:3, :, :, index], expected[1:3])
    assert torch.equal(made[[0, 3]], volume[[0, 3]])


def test_reads_only_the_sources_and_skips_empty_slices(network) -> None:
    volume = torch.rand(4, 9, 10, 5)
    volume[0, ..., 0] = 0
    other = torch.cat([volume[:1], torch.rand(3, 9, 10, 5)])
    made = complete_volume(network, volume, ["t1"])
    assert torch.equal(complete_volume(network, other, ["t1"]), made)
    assert (made[..., 0] == 0).all()
    tissue_mean = TissueMean(SEQUENCES).fit([subject(seed=1)])
    assert torch.equal(tissue_mean(volume, ["t1"]), tissue_mean(other, ["t1"]))


def test_copy_is_the_mean_of_the_sources() -> None:
    image = torch.rand(4, 5, 6, 7)
    made = copy_sources(SEQUENCES, image, ["t1", "dce"])
    torch.testing.assert_close(made[3], (image[0] + image[1:3].mean(0)) / 2)
    assert torch.equal(made[:3], image[:3])


def test_a_tissue_is_told_from_the_source() -> None:
    baseline = TissueMean(SEQUENCES).fit([subject(seed=1), subject(seed=2)])
    unseen = subject(seed=3)["image"]
    torch.testing.assert_close(baseline(unseen, ["t1"]), unseen)
    # The tissues that are alike in T2 get their mean, weighted by their voxels.
    made = baseline(unseen, ["t2"])
    alike, voxels = unseen[3] == 0.5, torch.stack([subject(seed=seed)["image"] for seed in (1, 2)])
    expected = voxels[:, 0][voxels[:, 3] == 0.5].mean()
    torch.testing.assert_close(made[0][alike], expected.expand(int(alike.sum())))
    assert (made[:, unseen[3] == 0] == 0).all()


def test_without_a_complete_subject_sources_are_averaged() -> None:
    subjects = [subject("t1 dce", seed=1), subject("dce t2", seed=2)]
    baseline, unseen = TissueMean(SEQUENCES).fit(subjects), subject(seed=3)["image"]
    made = baseline(unseen, ["t1", "t2"])[1:3]
    torch.testing.assert_close(made, (baseline(unseen, ["t1"])[1:3] + baseline(unseen, ["t2"])[1:3]) / 2)
    # T1 and T2 were never measured together.
    taken = subjects[1]["image"]
    mean = taken[3][(taken[1:] > 0).any(0)].mean()
    torch.testing.assert_close(baseline(unseen, ["t1"])[3], mean * (unseen[0] > 0))
    with pytest.raises(ValueError, match="No training subject has t2"):
        TissueMean(SEQUENCES).fit(subjects[:1])(unseen, ["t1"])
