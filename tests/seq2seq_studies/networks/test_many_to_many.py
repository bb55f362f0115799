# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What holds for every method that completes missing sequences, the paper's generator included; the discriminator."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch
from completion import TINY_TRANSFORMER, overfitted_psnr, small_mm_gan, small_pix2pix, small_resvit
from contract import NetworkContract
from small_generator import small
from torch import nn

from seq2seq_mri.sequences import channel_slices
from seq2seq_studies.networks.many_to_many import ConditionalDiscriminator, ManyToMany, MeanTranslation, output_layer

TABLE = {"t1": 1, "dce": 3, "wash-in": 1}
MASKS = torch.tensor([mask for mask in product([False, True], repeat=3) if any(mask)])


def small_translation(spatial_dims: int, sequences, in_channels: int) -> MeanTranslation:
    return MeanTranslation(small(spatial_dims, sequences, in_channels=in_channels))


METHODS = {
    "pix2pix": small_pix2pix,
    "mm_gan": small_mm_gan,
    "resvit": small_resvit,
    "seq2seq": small_translation,
}


@pytest.fixture(params=list(METHODS))
def method(request: pytest.FixtureRequest) -> ManyToMany:
    torch.manual_seed(0)
    return METHODS[request.param](2, TABLE, 2).eval()


def timepoint_mask(available: torch.Tensor) -> torch.Tensor:
    return available.repeat_interleave(torch.tensor(list(TABLE.values())), dim=1)


@torch.no_grad()
def test_available_sequences_come_back_and_missing_ones_are_made(method: ManyToMany) -> None:
    torch.manual_seed(1)
    image = torch.randn(len(MASKS), 5, 2, 21, 18)
    output, mask = method(image, MASKS), timepoint_mask(MASKS)
    assert output.shape == image.shape
    assert torch.equal(output[mask], image[mask])
    assert not (output[~mask] == image[~mask]).any()
    assert (output[~mask].flatten(1).std(1) > 0).all()


@torch.no_grad()
def test_what_missing_channels_hold_is_never_read(method: ManyToMany) -> None:
    torch.manual_seed(1)
    image, missing = torch.randn(len(MASKS), 5, 2, 21, 18), ~timepoint_mask(MASKS)
    expected = method(image, MASKS)
    for other in (0.0, 1e6, float("nan"), float("inf")):
        changed = image.clone()
        changed[missing] = other
        assert torch.equal(method(changed, MASKS), expected)
        assert torch.equal(method.predict(changed, MASKS), method.predict(image, MASKS))


def test_every_available_sequence_is_read(method: ManyToMany) -> None:
    for available in MASKS[MASKS.sum(1) == 2]:
        image = torch.randn(1, 5, 2, 21, 18, requires_grad=True)
        mask = timepoint_mask(available[None])
        (method(image, available[None]) * ~mask[:, :, None, None, None]).square().sum().backward()
        reached = image.grad.flatten(2).abs().sum(2) > 0
        assert torch.equal(reached, mask)


@pytest.mark.parametrize(
    ("build", "options", "steps"),
    [
        (small_pix2pix, {"width": 8}, 150),
        (small_mm_gan, {"channels": (8, 16, 32), "output_activation": "relu"}, 80),
        (small_resvit, {"transformer": replace(TINY_TRANSFORMER, num_layers=1, group_sizes=(1,))}, 150),
    ],
)
def test_overfits_one_batch(build, options, steps) -> None:
    torch.manual_seed(0)
    assert overfitted_psnr(build(2, {"t1": 1, "t2": 1}, **options), steps, learning_rate=0.01) >= 30


def test_output_layers() -> None:
    x = torch.linspace(-3, 3, 7)
    for name, expected in (("tanh", x.tanh()), ("sigmoid", x.sigmoid()), ("relu", x.clamp(min=0)), ("none", x)):
        assert isinstance(output_layer(name), nn.Module)
        torch.testing.assert_close(output_layer(name)(x), expected)
    with pytest.raises(ValueError, match="Unknown output_activation 'softmax'; use one of tanh, sigmoid, relu, none"):
        output_layer("softmax")


@torch.no_grad()
def test_the_generator_translates_from_each_available_sequence() -> None:
    torch.manual_seed(1)
    generator = small(sequences=TABLE)
    image = torch.randn(len(MASKS), 5, 2, 13, 9)
    output, slices = MeanTranslation(generator)(image, MASKS), list(channel_slices(TABLE).values())
    for row, mask in enumerate(MASKS.tolist()):
        for target in (index for index in range(3) if not mask[index]):
            sources = [slices[index] for index in range(3) if mask[index]]
            code = torch.eye(3)[target : target + 1]
            expected = torch.stack([generator(image[row : row + 1, source], code) for source in sources]).mean(0)
            torch.testing.assert_close(output[row : row + 1, slices[target]], expected, rtol=1e-4, atol=1e-5)


class TestConditionalDiscriminator(NetworkContract):
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
