# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import pytest
import torch
from torch import nn

from seq2seq_mri.losses.perceptual import SequencePerceptualLoss, VGG19Distance


class SquaredDifference(nn.Module):
    """Stands in for a pretrained network; remembers the shape that it was shown."""

    def __init__(self, **arguments):
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, prediction, truth):
        self.shape = prediction.shape
        return self.weight * (prediction - truth).square().flatten(1).mean(1, keepdim=True)


@pytest.fixture
def monai_network(monkeypatch):
    """Let MONAI's PerceptualLoss hold ``SquaredDifference`` instead of a downloaded network."""

    class Holder(nn.Module):
        def __init__(self, *arguments, **options):
            super().__init__()
            self.perceptual_function = SquaredDifference()

    monkeypatch.setattr("seq2seq_mri.losses.perceptual.PerceptualLoss", Holder)


def random_pair(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(shape, generator=generator), torch.rand(shape, generator=generator)


def test_vgg19_of_middle_slices_averaged_over_timepoints(vgg19_file):
    prediction, truth = random_pair(2, 2, 3, 17, 16)
    loss, distance = SequencePerceptualLoss(weights=vgg19_file), VGG19Distance(vgg19_file)
    with torch.no_grad():
        found = loss(prediction, truth)
        for b in range(2):
            values = [distance(prediction[b, t, 1][None, None], truth[b, t, 1][None, None]) for t in range(2)]
            torch.testing.assert_close(found[b], torch.cat(values).mean())


def test_neighbours_do_not_count(monai_network):
    prediction, truth = random_pair(1, 1, 3, 8, 8)
    prediction[:, :, 1] = truth[:, :, 1]
    assert SequencePerceptualLoss("squeeze")(prediction, truth).item() == 0


@pytest.mark.parametrize(("network", "scale"), [("squeeze", 4), ("alex", 4), ("radimagenet_resnet50", 1)])
def test_volume_with_all_slices(monai_network, network, scale):
    """Networks of the LPIPS family see intensities in [-1, 1]: differences doubled, squares fourfold."""
    prediction, truth = random_pair(2, 3, 1, 5, 6, 7)
    loss = SequencePerceptualLoss(network, fraction=1)
    expected = scale * (prediction - truth).square().mean((1, 2, 3, 4, 5))
    torch.testing.assert_close(loss(prediction, truth), expected)
    assert loss.distance.compare.shape == (2 * 3 * 7, 1, 5, 6)


def test_fraction_of_slices(monai_network):
    prediction, truth = random_pair(1, 1, 1, 5, 5, 10)
    truth = prediction + torch.arange(10) / 10
    loss = SequencePerceptualLoss("radimagenet_resnet50", fraction=0.3)
    torch.manual_seed(0)
    slices = torch.randperm(10)[:3]
    torch.manual_seed(0)
    torch.testing.assert_close(loss(prediction, truth), ((slices / 10) ** 2).mean()[None])


def test_medicalnet_sees_volumes_and_survives_empty_ones(monai_network):
    loss = SequencePerceptualLoss("medicalnet_resnet10_23datasets")
    prediction, truth = random_pair(2, 1, 1, 5, 6, 7)
    truth[1] = 0
    prediction.requires_grad_()
    found = loss(prediction, truth)
    torch.testing.assert_close(found[0], (prediction[0] - truth[0]).square().mean())
    assert found[1] == 0
    found.sum().backward()
    assert torch.isfinite(prediction.grad).all()
    with pytest.raises(ValueError, match="compares volumes; for 2D"):
        loss(*random_pair(1, 1, 3, 8, 8))


def test_frozen_and_in_evaluation_mode(monai_network):
    loss = SequencePerceptualLoss("squeeze").train()
    assert not any(module.training for module in loss.modules())
    assert not any(parameter.requires_grad for parameter in loss.parameters())


def test_no_samples(monai_network):
    assert SequencePerceptualLoss("squeeze")(*random_pair(0, 1, 3, 8, 8)).shape == (0,)


def test_missing_weights_say_what_to_do(monkeypatch):
    def no_network(*args, **kwargs):
        raise OSError("Name or service not known")

    monkeypatch.setattr("seq2seq_mri.losses.perceptual.PerceptualLoss", no_network)
    with pytest.raises(ValueError, match=r"'alex' or its weights.*Name or service.*TORCH_HOME.*lambda_perceptual to 0"):
        SequencePerceptualLoss("alex")


def test_mistakes(monai_network, tmp_path):
    with pytest.raises(ValueError, match="'vgg17'; choose one of vgg19, alex"):
        SequencePerceptualLoss("vgg17")
    with pytest.raises(ValueError, match="takes no weights file"):
        SequencePerceptualLoss("alex", weights=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"absent.pth does not exist"):
        SequencePerceptualLoss(weights=tmp_path / "absent.pth")
    with pytest.raises(ValueError, match="in \\(0, 1\\]"):
        SequencePerceptualLoss("squeeze", fraction=0)
    with pytest.raises(ValueError, match="compares equal shapes"):
        SequencePerceptualLoss("squeeze")(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8))
