# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Volumes completed slice by slice."""

from __future__ import annotations

import pytest
import torch

from seq2seq_studies.comparison.completion import complete_volume
from seq2seq_studies.networks.many_to_many import ManyToMany
from seq2seq_studies.networks.mm_gan import MMGAN

SEQUENCES = {"t1": 1, "dce": 2, "t2": 1}


@pytest.fixture
def network() -> ManyToMany:
    torch.manual_seed(0)
    return MMGAN(2, SEQUENCES, 3, channels=(4, 6), output_activation="tanh").eval()


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
    assert torch.equal(made[0], volume[0])
    assert torch.equal(made[3], volume[3])


def test_reads_only_the_sources_and_skips_empty_slices(network) -> None:
    volume = torch.rand(4, 9, 10, 5)
    volume[0, ..., 0] = 0
    made = complete_volume(network, volume, ["t1"])
    other = torch.cat([volume[:1], torch.rand(3, 9, 10, 5)])
    assert torch.equal(complete_volume(network, other, ["t1"]), made)
    assert (made[..., 0] == 0).all()


def test_mistakes(network) -> None:
    volume = torch.rand(4, 9, 10, 5)
    with pytest.raises(ValueError, match="no source"):
        complete_volume(network, volume, [])
    with pytest.raises(ValueError, match="Unknown sequence 'pd'"):
        complete_volume(network, volume, ["pd"])
    with pytest.raises(ValueError, match="3 spatial dimensions"):
        complete_volume(MMGAN(3, SEQUENCES, channels=(4, 6)), volume, ["t1"])
