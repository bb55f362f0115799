# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The plain network that benchmarks and tests compare with; that it computes the same is a test of the generator."""

from __future__ import annotations

import torch
from small_generator import small

from naive_generator import naive_copy
from naive_inference import naive_translations
from seq2seq_mri.inference.slice_inferer import SliceTranslationInferer


def test_has_weights_of_its_own_and_the_mode_of_the_generator() -> None:
    generator = small(2, {"t1": 1, "t2": 1}, in_channels=3).eval()
    naive = naive_copy(generator)
    assert not naive.training
    before = generator.encoder.stem[0].weight.clone()
    with torch.no_grad():
        naive.encoder.stem[0].weight.add_(1)
    torch.testing.assert_close(generator.encoder.stem[0].weight, before)


def test_volumes_equal_the_inferers() -> None:
    generator = small(2, {"t1": 1, "dce": 2}, in_channels=3).eval()
    image = torch.rand(3, 16, 20, 5)
    image[..., :4, :, :] = 0
    expected = SliceTranslationInferer()(image[None], generator, sources=["t1", "dce"], targets=["dce"])
    found = naive_translations(naive_copy(generator), image, [("t1", "dce"), ("dce", "dce")], batch_size=3)
    for index, source in enumerate(["t1", "dce"]):
        torch.testing.assert_close(found[source, "dce"], expected[index], atol=1e-5, rtol=1e-5)
