# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""2.5D stacks against slow loops."""

from __future__ import annotations

import pytest
import torch

from seq2seq_mri.transforms.slice_stack import network_input, slice_stacks


@pytest.mark.parametrize("in_channels", [1, 5])
@pytest.mark.parametrize("shape", [(1, 5, 4, 7), (3, 4, 6, 2), (2, 3, 5, 1)])
def test_slice_stacks_against_a_loop(shape, in_channels) -> None:
    volume = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    depth = shape[-1]
    indices = [*range(depth), 0]
    stacks = slice_stacks(volume, indices, in_channels)
    assert stacks.shape == (len(indices), shape[0], in_channels, shape[1], shape[2])
    for n, index in enumerate(indices):
        for t in range(shape[0]):
            for c in range(in_channels):
                neighbour = min(max(index + c - in_channels // 2, 0), depth - 1)
                assert torch.equal(stacks[n, t, c], volume[t, :, :, neighbour])
    assert torch.equal(slice_stacks(volume, torch.tensor(indices), in_channels), stacks)


def test_patches_and_volumes_agree() -> None:
    """A training patch of three slices is the same network input as the stack that inference makes there."""
    volume = torch.rand(4, 6, 5, 9, generator=torch.Generator().manual_seed(0))
    for channels in (slice(0, 1), slice(1, 4)):
        patch = network_input(volume[None, ..., 3:6], channels, 2)
        assert torch.equal(patch, slice_stacks(volume[channels], [4], 3))
        assert torch.equal(network_input(volume[None], channels, 3)[:, :, 0], volume[None, channels])
