# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The conditional discriminator: contract, patches of 70 pixels, and that it sees both of its inputs."""

from __future__ import annotations

import torch
from contract import NetworkContract

from seq2seq_studies.networks.conditional_discriminator import ConditionalDiscriminator


class TestContract(NetworkContract):
    sizes = ((20, 24, 20), (21, 18, 19))

    def network(self, spatial_dims, timepoints):
        return ConditionalDiscriminator(spatial_dims, 2, 2 * timepoints, out_channels=3, width=3, num_layers=1)

    def inputs(self, spatial_dims, timepoints, size):
        return torch.randn(2, 1, 2, *size), torch.randn(2, timepoints, 2, *size)

    def output_shape(self, spatial_dims, timepoints, size):
        return 2, 3, *(length // 2 - 2 for length in size)


def test_a_score_depends_on_70_pixels_of_both() -> None:
    torch.manual_seed(0)
    # In double precision, so that no gradient is rounded to 0; without normalisation, which sees the whole image.
    discriminator = ConditionalDiscriminator(2, 1, 1, width=2).double()
    for name, module in list(discriminator.named_modules()):
        if isinstance(module, torch.nn.InstanceNorm2d):
            discriminator.get_submodule(name.rpartition(".")[0]).N = torch.nn.Identity()
    condition, image = (torch.randn(1, 1, 1, 160, 160).double().requires_grad_() for _ in range(2))
    score = discriminator(condition, image)
    assert score.shape == (1, 1, 18, 18)
    score[0, 0, 9, 9].backward()
    for part in (condition, image):
        rows, columns = torch.nonzero(part.grad[0, 0, 0].abs() > 0, as_tuple=True)
        assert rows.max() - rows.min() + 1 == 70
        assert columns.max() - columns.min() + 1 == 70
