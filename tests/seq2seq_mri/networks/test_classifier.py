# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Classifier: MONAI's own as truth, scripting and export, which MONAI's type "A" cannot, MedicalNet's weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from monai.networks.nets import resnet18

from seq2seq_mri.networks import classifier as module
from seq2seq_mri.networks.classifier import build_classifier

SMALL = 1 / 16


def monai_resnet(spatial_dims: int = 3, channels: int = 1, **options) -> torch.nn.Module:
    options = {"shortcut_type": "A", "conv1_t_stride": 2, "widen_factor": SMALL} | options
    return resnet18(spatial_dims=spatial_dims, n_input_channels=channels, num_classes=1, **options).eval()


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("shortcut_type", ["A", "B"])
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_equals_monais(spatial_dims: int, shortcut_type) -> None:
    torch.manual_seed(0)
    network = build_classifier(spatial_dims, 2, shortcut_type=shortcut_type, widen_factor=SMALL).eval()
    monai = monai_resnet(spatial_dims, 2, shortcut_type=shortcut_type)
    assert list(network.state_dict()) == list(monai.state_dict())
    monai.load_state_dict(network.state_dict())
    image = torch.rand(2, 2, *(33, 26, 19)[:spatial_dims])
    for same in (network, torch.jit.script(network), torch.export.export(network, (image,)).module()):
        torch.testing.assert_close(same(image), monai(image))


def test_gradient_passes_the_padded_shortcut() -> None:
    """MONAI's lets none through."""
    image = torch.rand(1, 2, 5, 4, requires_grad=True)
    module.PaddedShortcut(2, 2, 3)(image).sum().backward()
    assert image.grad is not None
    assert image.grad.sum() == 2 * 3 * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spatial_dims": 1}, "spatial_dims is 1"),
        ({"num_classes": 2}, "give 1 for a binary task"),
        ({"num_classes": 0}, "num_classes is 0"),
        ({"shortcut_type": "C"}, "shortcut_type is 'C'"),
        ({"pretrained": "resnet_18.pth", "shortcut_type": "A"}, "not 2 and 'A'"),
        ({"pretrained": "resnet_18.pth", "spatial_dims": 3}, "not 3 and 'B'"),
    ],
)
def test_impossible_networks(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        build_classifier(**{"spatial_dims": 2, "in_channels": 1, "widen_factor": SMALL, **arguments})


@pytest.fixture(scope="module")
def medicalnet() -> dict[str, torch.Tensor]:
    """Random weights with MedicalNet's names: of data-parallel training, one channel, no last layer."""
    torch.manual_seed(5)
    network = monai_resnet(feed_forward=False, bias_downsample=True)
    for name, tensor in network.state_dict().items():
        if name.endswith(("running_mean", "bias")):
            tensor.normal_(std=0.1)
    return {f"module.{name}": tensor for name, tensor in network.state_dict().items()}


def pretrained(path: Path | str, in_channels: int = 3) -> torch.nn.Module:
    return build_classifier(3, in_channels, pretrained=path, shortcut_type="A", widen_factor=SMALL).eval()


@pytest.mark.parametrize("counted", [True, False])
def test_medicalnet_file(tmp_path: Path, medicalnet, counted: bool) -> None:
    stored = {name: value for name, value in medicalnet.items() if counted or "num_batches" not in name}
    head = {"module.conv_seg.0.weight": torch.zeros(2)}
    torch.save({"state_dict": {**stored, **head}, "epoch": 3}, tmp_path / "resnet_18.pth")
    truth = monai_resnet(feed_forward=False)
    truth.load_state_dict({name.removeprefix("module."): value for name, value in medicalnet.items()})
    image = torch.rand(2, 1, 24, 20, 17)
    for in_channels in (1, 3):
        network = pretrained(tmp_path / "resnet_18.pth", in_channels)
        last, network.fc = network.fc, torch.nn.Identity()
        torch.testing.assert_close(network(image.expand(-1, in_channels, -1, -1, -1)), truth(image))
        assert last.weight.shape == (1, 32)


def test_medicalnet_download(monkeypatch: pytest.MonkeyPatch, medicalnet) -> None:
    monkeypatch.setattr(module, "get_pretrained_resnet_medicalnet", lambda depth, device, datasets23: medicalnet)
    assert torch.equal(pretrained("medicalnet", 1).conv1.weight, medicalnet["module.conv1.weight"])

    def fail(depth, device, datasets23):
        raise OSError("no route to host")

    monkeypatch.setattr(module, "get_pretrained_resnet_medicalnet", fail)
    with pytest.raises(ValueError, match=r"cannot be downloaded \(OSError: no route to host\).*huggingface_hub"):
        pretrained("medicalnet")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"module.layer4.0.conv1.weight": None}, "layer4.0.conv1.weight has shape none instead of"),
        ({"module.layer5.weight": torch.zeros(1)}, r"layer5.weight has shape \(1,\) instead of none"),
        ({"module.conv1.weight": torch.zeros(4, 2, 7, 7, 7)}, r"conv1.weight has shape \(4, 2, 7, 7, 7\)"),
        ({f"module.{k}": torch.zeros(1) for k in range(6)}, "; and 2 more"),
    ],
)
def test_weights_that_do_not_fit(tmp_path: Path, medicalnet, changes, message) -> None:
    weights = {name: value for name, value in (medicalnet | changes).items() if value is not None}
    torch.save({"state_dict": weights}, tmp_path / "resnet_18.pth")
    with pytest.raises(ValueError, match=message):
        pretrained(tmp_path / "resnet_18.pth")


def test_files_without_weights(tmp_path: Path) -> None:
    path = tmp_path / "resnet_18.pth"
    with pytest.raises(FileNotFoundError, match="no file of pretrained weights"):
        pretrained(path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="cannot be read as weights"):
        pretrained(path)
    torch.save({"epoch": 3}, path)
    with pytest.raises(ValueError, match="holds no state dict"):
        pretrained(path)
