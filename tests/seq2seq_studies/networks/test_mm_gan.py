# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""MM-GAN: contract, published size, a plain copy of the network, and its dropout."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from completion import FOUR, CompletionContract, count_parameters, small_mm_gan

from seq2seq_studies.networks.mm_gan import MMGAN

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit")


class TestContract(CompletionContract):
    def complete(self, spatial_dims, sequences):
        return small_mm_gan(spatial_dims, sequences, in_channels=2)


def test_published_size() -> None:
    with torch.device("meta"):
        assert count_parameters(MMGAN(2, FOUR)) == 29_241_348
        assert count_parameters(MMGAN(2, FOUR, channels=(64, 128, 256, 512, 512, 512, 512, 512))) == 54_407_172


@torch.no_grad()
def test_equals_a_plain_copy() -> None:
    torch.manual_seed(0)
    network = small_mm_gan(2, FOUR, channels=(4, 5, 6, 7), output_activation="relu").double().eval()
    first, second, third, fourth, up_3, up_2, up_1, kernel, bias = network.state_dict().values()
    image = torch.randn(2, 4, 1, 32, 48).double()
    available = torch.tensor([[True, True, False, True], [False, True, False, False]])
    given = image[:, :, 0] * available[:, :, None, None]

    def down(x, weight, normalised):
        x = F.conv2d(x, weight, stride=2, padding=1)
        return F.leaky_relu(F.instance_norm(x) if normalised else x, 0.2)

    def up(x, weight, skip):
        return torch.cat([F.relu(F.instance_norm(F.conv_transpose2d(x, weight, stride=2, padding=1))), skip], 1)

    level_1 = down(given, first, normalised=False)
    level_2 = down(level_1, second, normalised=True)
    level_3 = down(level_2, third, normalised=True)
    level_4 = down(level_3, fourth, normalised=False)
    x = up(up(up(level_4, up_3, level_3), up_2, level_2), up_1, level_1)
    expected = F.relu(F.conv2d(F.pad(x.repeat_interleave(2, 2).repeat_interleave(2, 3), [2, 1, 2, 1]), kernel, bias))
    torch.testing.assert_close(network.predict(image, available)[:, :, 0], expected)


def test_dropout_of_deep_levels() -> None:
    network = MMGAN(2, FOUR, channels=(4, 4, 4, 4, 4, 4))
    layers = [*network.downwards, *network.upwards]
    rates = [
        [part.p for part in layer.modules() if isinstance(part, torch.nn.Dropout2d | torch.nn.Dropout)]
        for layer in layers
    ]
    assert rates == [[], [], [], [0.2], [0.2], [0.2], [0.2], [0.2], [], [], []]
