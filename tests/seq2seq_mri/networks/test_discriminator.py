# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import pytest
import torch

from seq2seq_mri.networks.discriminator import SequenceDiscriminators


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_each_sequence_has_its_own(spatial_dims: int) -> None:
    torch.manual_seed(0)
    table = {"wash-in": 1, "dce": 3}
    discriminators = SequenceDiscriminators(spatial_dims, table, in_channels=2, channels=3, num_layers=1)
    image = torch.randn(2, 3, 2, *(21, 18, 19)[:spatial_dims])
    scores = discriminators(image, "dce")
    assert scores.shape == (2, 3, 1, *(8, 7, 7)[:spatial_dims])
    one_by_one = [discriminators["dce"](frame[None])[-1] for frame in image.flatten(0, 1)]
    torch.testing.assert_close(scores, torch.cat(one_by_one).unflatten(0, (2, 3)))
    torch.testing.assert_close(torch.jit.script(discriminators)(image, "dce"), scores)
    torch.testing.assert_close(torch.export.export(discriminators, (image, "dce")).module()(image, "dce"), scores)
    scores.sum().backward()
    assert all(parameter.grad is None for parameter in discriminators["wash-in"].parameters())
    assert all(parameter.grad is not None for parameter in discriminators["dce"].parameters())
    with pytest.raises(ValueError, match="Unknown sequence 'pd'; the sequence table has wash-in, dce"):
        discriminators(image, "pd")
