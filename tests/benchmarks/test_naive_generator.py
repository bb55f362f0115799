# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The plain network that the benchmarks compare with computes the same as this project's."""

from __future__ import annotations

import pytest
import torch

from naive_generator import naive_copy
from naive_inference import naive_translations
from seq2seq_mri.inference.slice_inferer import SliceTranslationInferer
from seq2seq_mri.networks.generator import Seq2SeqGenerator


def small(spatial_dims: int, sequences: dict[str, int], **options) -> Seq2SeqGenerator:
    torch.manual_seed(0)
    options = {"in_channels": 3, "channels": (4, 6, 8), "num_res_blocks": 2, "lstm_layers": 2, **options}
    return Seq2SeqGenerator(spatial_dims, sequences, code_channels=6, weight_code_channels=3, **options)


@pytest.mark.parametrize("upsample", ["first", "last"])
@pytest.mark.parametrize(("source_timepoints", "timepoints"), [(1, 1), (2, 2), (1, 2), (2, 1)])
@pytest.mark.parametrize(("spatial_dims", "size"), [(2, (20, 24)), (3, (12, 16, 20))])
def test_equals_the_generator(spatial_dims, size, source_timepoints, timepoints, upsample) -> None:
    generator = small(spatial_dims, {"t1": 1, "dce": timepoints, "t2": 1}, upsample=upsample)
    image = torch.rand(2, source_timepoints, 3, *size)
    code = torch.eye(3)[1]
    with torch.no_grad():
        expected, found = generator(image, code[None]), naive_copy(generator)(image, code)
        assert found.shape == expected.shape == (2, timepoints, 3, *size)
        # By the norm; the single worst voxel of the 3D images differs by up to 1.1e-5 of the largest value.
        assert (found - expected).norm() <= 1e-5 * expected.norm()
        # That this is rounding and nothing else shows in float64.
        generator = generator.double()
        image, code = image.double(), code.double()
        expected, found = generator(image, code[None]), naive_copy(generator)(image, code)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_gradients_equal_the_generators() -> None:
    generator = small(2, {"t1": 2, "t2": 2}, output_activation="sigmoid").double()
    naive = naive_copy(generator)
    image, code = torch.rand(2, 2, 3, 16, 16, dtype=torch.float64), torch.eye(2, dtype=torch.float64)[0]
    generator(image, code[None]).square().sum().backward()
    naive(image, code).square().sum().backward()
    found = dict(naive.named_parameters())
    for name, parameter in generator.named_parameters():
        torch.testing.assert_close(found[name].grad, parameter.grad, msg=name)


def test_has_weights_of_its_own_and_the_mode_of_the_generator() -> None:
    generator = small(2, {"t1": 1, "t2": 1}).eval()
    naive = naive_copy(generator)
    assert not naive.training
    shapes, ours = ({name: value.shape for name, value in of.state_dict().items()} for of in (naive, generator))
    assert ours.items() <= shapes.items()
    left_out = {name: value for name, value in naive.state_dict().items() if name not in ours}
    assert all("bias" in name and not value.any() for name, value in left_out.items())
    before = generator.encoder.stem[0].weight.clone()
    with torch.no_grad():
        naive.encoder.stem[0].weight.add_(1)
    torch.testing.assert_close(generator.encoder.stem[0].weight, before)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_volumes_equal_the_inferers(batch_size: int) -> None:
    generator = small(2, {"t1": 1, "dce": 2}).eval()
    image = torch.rand(3, 16, 20, 5)
    image[..., :4, :, :] = 0
    expected = SliceTranslationInferer()(image[None], generator, sources=["t1", "dce"], targets=["dce"])
    found = naive_translations(naive_copy(generator), image, [("t1", "dce"), ("dce", "dce")], batch_size)
    for index, source in enumerate(["t1", "dce"]):
        torch.testing.assert_close(found[source, "dce"], expected[index], atol=1e-5, rtol=1e-5)
