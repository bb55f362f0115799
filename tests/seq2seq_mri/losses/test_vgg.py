# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import sys

import pytest
import torch
import torch.nn.functional as F

from seq2seq_mri.losses.perceptual import VGG19Distance

# Index of each convolution among torchvision's features; before those of the second set a pooling stands.
CONVOLUTIONS = [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28]
AFTER_POOLING = {5, 10, 19, 28}


def slow_distance(state, prediction, truth, outputs=13):
    """VGG19's first ReLU outputs with average pooling, written from the published configuration, image by image."""
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    values = []
    for pair in zip(prediction, truth, strict=True):
        maps = [(image.expand(3, -1, -1) - mean) / std for image in pair]
        value = 0.0
        for index in CONVOLUTIONS[:outputs]:
            if index in AFTER_POOLING:
                maps = [F.avg_pool2d(image[None], 2)[0] for image in maps]
            weight, bias = state[f"features.{index}.weight"], state[f"features.{index}.bias"]
            maps = [F.relu(F.conv2d(image[None], weight, bias, padding=1))[0] for image in maps]
            value = value + ((maps[0] - maps[1]) ** 2).mean()
        values.append(value)
    return torch.stack(values)


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, 1, 19, 16, generator=generator), torch.rand(2, 1, 19, 16, generator=generator)


def test_equals_slow_reference(vgg19_state, vgg19_file, pair):
    with torch.no_grad():
        torch.testing.assert_close(VGG19Distance(vgg19_file)(*pair), slow_distance(vgg19_state, *pair))
        torch.testing.assert_close(
            VGG19Distance(vgg19_file, outputs=3)(*pair), slow_distance(vgg19_state, *pair, outputs=3)
        )


@pytest.mark.parametrize("outputs", [1, 2, 3, 13, 16])
def test_ends_at_the_last_output(vgg19_file, outputs):
    features = VGG19Distance(vgg19_file, outputs=outputs).features
    assert isinstance(features[-1], torch.nn.ReLU)
    assert sum(isinstance(layer, torch.nn.ReLU) for layer in features) == outputs


def test_gradient_reaches_the_prediction_only(vgg19_file, pair):
    prediction, truth = (image.requires_grad_() for image in pair)
    VGG19Distance(vgg19_file, outputs=5)(prediction, truth).sum().backward()
    assert (prediction.grad != 0).all()
    assert truth.grad is None


def test_names_without_prefix(vgg19_state, vgg19_file, tmp_path, pair):
    path = tmp_path / "features.pth"
    names = [name for name in vgg19_state if name.startswith(("features.0.", "features.2."))]
    torch.save({name.removeprefix("features."): vgg19_state[name] for name in names}, path)
    with torch.no_grad():
        torch.testing.assert_close(VGG19Distance(path, 2)(*pair), VGG19Distance(vgg19_file, 2)(*pair))


def test_other_weights_are_refused(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"layer.weight": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match=r"other.pth: 'features.0.weight' of shape \(64, 3, 3, 3\) is not in it"):
        VGG19Distance(path)
    torch.save(torch.zeros(3), path)
    with pytest.raises(ValueError, match=r"'features.0.weight'"):
        VGG19Distance(path)


def test_unreadable_weights(tmp_path):
    path = tmp_path / "broken.pth"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match=r"broken.pth cannot be read"):
        VGG19Distance(path)


def test_small_images_and_wrong_outputs(vgg19_file):
    with pytest.raises(ValueError, match="at least 16 per axis"):
        VGG19Distance(vgg19_file)(torch.zeros(1, 1, 15, 32), torch.zeros(1, 1, 15, 32))
    with pytest.raises(ValueError, match="16 ReLU outputs; 17"):
        VGG19Distance(vgg19_file, outputs=17)


def test_offline_says_what_to_do(monkeypatch):
    def no_network(*args, **kwargs):
        raise OSError("Name or service not known")

    monkeypatch.setattr("torchvision.models.VGG19_Weights.get_state_dict", no_network)
    with pytest.raises(ValueError, match=r"Name or service not known.*TORCH_HOME.*lambda_perceptual to 0"):
        VGG19Distance()


def test_torchvision_that_does_not_import(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    with pytest.raises(ValueError, match=r"needs torchvision, which cannot be imported.*lambda_perceptual to 0"):
        VGG19Distance()


def test_downloaded_weights_equal_the_file(monkeypatch, vgg19_state, vgg19_file, pair):
    monkeypatch.setattr("torchvision.models.VGG19_Weights.get_state_dict", lambda *args, **kwargs: vgg19_state)
    with torch.no_grad():
        torch.testing.assert_close(VGG19Distance(outputs=3)(*pair), VGG19Distance(vgg19_file, outputs=3)(*pair))
