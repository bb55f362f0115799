# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The baselines without a network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seq2seq_studies.comparison.trivial import CopySource, TissueMean

SEQUENCES = {"t1": 1, "dce": 2, "t2": 1}


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


def test_copy_is_the_mean_of_the_sources() -> None:
    image = torch.rand(4, 5, 6, 7)
    made = CopySource(SEQUENCES)(image, ["t1", "dce"])
    torch.testing.assert_close(made[3], (image[0] + image[1:3].mean(0)) / 2)
    assert torch.equal(made[:3], image[:3])


def test_a_tissue_is_told_from_the_source() -> None:
    baseline = TissueMean(SEQUENCES).fit([subject(seed=1), subject(seed=2)])
    unseen = subject(seed=3)["image"]
    made = baseline(unseen * torch.tensor([1, 0, 0, 0])[:, None, None, None], ["t1"])
    torch.testing.assert_close(made, unseen)
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


def test_only_sources_are_read() -> None:
    baseline, unseen = TissueMean(SEQUENCES).fit([subject(seed=1)]), subject(seed=3)["image"]
    other = unseen.clone()
    other[1:] = torch.rand(3, 8, 9, 10)
    assert torch.equal(baseline(unseen, ["t1"])[1:], baseline(other, ["t1"])[1:])
