# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The perceptual loss: VGG19 against a plain copy, what networks are shown of an image, and where weights come from."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from seq2seq_mri.losses.perceptual import SequencePerceptualLoss, VGG19Distance

# Index of each convolution among torchvision's features; before those of the second set a pooling stands.
CONVOLUTIONS = [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28]
AFTER_POOLING = {5, 10, 19, 28}


def slow_distance(state, prediction, truth):
    """VGG19's first ReLU outputs with average pooling, written from the published configuration, image by image."""
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    values = []
    for pair in zip(prediction, truth, strict=True):
        maps = [(image.expand(3, -1, -1) - mean) / std for image in pair]
        value = 0.0
        for index in CONVOLUTIONS:
            if index in AFTER_POOLING:
                maps = [F.avg_pool2d(image[None], 2)[0] for image in maps]
            weight, bias = state[f"features.{index}.weight"], state[f"features.{index}.bias"]
            maps = [F.relu(F.conv2d(image[None], weight, bias, padding=1))[0] for image in maps]
            value = value + ((maps[0] - maps[1]) ** 2).mean()
        values.append(value)
    return torch.stack(values)


def random_pair(*shape: int) -> tuple[torch.Tensor, ...]:
    return torch.rand((2, *shape), generator=torch.Generator().manual_seed(0)).unbind()


def no_network(*args, **kwargs):
    raise OSError("Name or service not known")


def test_vgg19_equals_a_plain_copy_and_passes_the_gradient_to_the_prediction_only(vgg19_state, vgg19_file):
    prediction, truth = (image.requires_grad_() for image in random_pair(2, 1, 19, 16))
    found = VGG19Distance(vgg19_file)(prediction, truth)
    with torch.no_grad():
        torch.testing.assert_close(found, slow_distance(vgg19_state, prediction, truth))
    found.sum().backward()
    assert (prediction.grad != 0).all()
    assert truth.grad is None


def test_vgg19_of_the_features_alone_and_of_torchvisions_download(monkeypatch, vgg19_state, vgg19_file, tmp_path):
    pair = random_pair(1, 1, 16, 16)
    path = tmp_path / "features.pth"
    torch.save({name.removeprefix("features."): value for name, value in vgg19_state.items()}, path)
    monkeypatch.setattr("torchvision.models.VGG19_Weights.get_state_dict", lambda *args, **kwargs: vgg19_state)
    with torch.no_grad():
        expected = VGG19Distance(vgg19_file)(*pair)
        assert torch.equal(VGG19Distance(path)(*pair), expected)
        assert torch.equal(VGG19Distance()(*pair), expected)


def test_vgg19_refuses_other_files_and_small_images(vgg19_file, tmp_path):
    path = tmp_path / "other.pth"
    for content in ({"layer.weight": torch.zeros(3)}, torch.zeros(3)):
        torch.save(content, path)
        with pytest.raises(ValueError, match=r"other.pth: 'features.0.weight' of shape \(64, 3, 3, 3\) is not in it"):
            VGG19Distance(path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match=r"other.pth cannot be read"):
        VGG19Distance(path)
    with pytest.raises(ValueError, match="at least 16 per axis"):
        VGG19Distance(vgg19_file)(*random_pair(1, 1, 15, 32))


def test_weights_that_cannot_be_had_say_what_to_do(monkeypatch):
    monkeypatch.setattr("torchvision.models.VGG19_Weights.get_state_dict", no_network)
    with pytest.raises(ValueError, match=r"Name or service not known.*TORCH_HOME.*lambda_perceptual to 0"):
        SequencePerceptualLoss()
    monkeypatch.setattr("seq2seq_mri.losses.perceptual.PerceptualLoss", no_network)
    with pytest.raises(ValueError, match=r"'alex' or its weights.*Name or service.*TORCH_HOME.*lambda_perceptual to 0"):
        SequencePerceptualLoss("alex")
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    with pytest.raises(ValueError, match=r"needs torchvision, which cannot be imported.*lambda_perceptual to 0"):
        VGG19Distance()


class SquaredDifference(nn.Module):
    """Stands in for a pretrained network; remembers the shape that it was shown."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, prediction, truth):
        self.shape = prediction.shape
        return self.weight * (prediction - truth).square().flatten(1).mean(1, keepdim=True)


@pytest.fixture
def monai_network(monkeypatch):
    """Let MONAI's PerceptualLoss hold ``SquaredDifference`` instead of a downloaded network."""
    loss = SimpleNamespace(perceptual_function=SquaredDifference())
    monkeypatch.setattr("seq2seq_mri.losses.perceptual.PerceptualLoss", lambda *arguments, **options: loss)


def test_vgg19_of_middle_slices_averaged_over_timepoints(vgg19_file):
    prediction, truth = random_pair(2, 2, 3, 17, 16)
    loss, distance = SequencePerceptualLoss(weights=vgg19_file), VGG19Distance(vgg19_file)
    with torch.no_grad():
        found = loss(prediction, truth)
        for b in range(2):
            torch.testing.assert_close(found[b], distance(prediction[b, :, 1:2], truth[b, :, 1:2]).mean())


@pytest.mark.parametrize(("network", "scale"), [("squeeze", 4), ("alex", 4), ("radimagenet_resnet50", 1)])
def test_volume_with_all_slices(monai_network, network, scale):
    """Networks of the LPIPS family see intensities in [-1, 1]: differences doubled, squares fourfold."""
    prediction, truth = random_pair(2, 3, 1, 5, 6, 7)
    loss = SequencePerceptualLoss(network, fraction=1).train()
    assert not any(module.training for module in loss.modules())
    assert not any(parameter.requires_grad for parameter in loss.parameters())
    expected = scale * (prediction - truth).square().mean((1, 2, 3, 4, 5))
    torch.testing.assert_close(loss(prediction, truth), expected)
    assert loss.distance.compare.shape == (2 * 3 * 7, 1, 5, 6)


def test_fraction_of_slices(monai_network):
    prediction, _ = random_pair(1, 1, 1, 5, 5, 10)
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"network": "vgg17"}, "'vgg17'; choose one of vgg19, alex"),
        ({"network": "alex", "weights": "alex.pth"}, "takes no weights file"),
        ({"weights": "absent.pth"}, "absent.pth does not exist"),
        ({"fraction": 0}, r"in \(0, 1\]"),
    ],
)
def test_mistakes(arguments, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        SequencePerceptualLoss(**arguments)
