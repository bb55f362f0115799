# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Grad-CAM: against a network whose map is known, on a trained one that has to find a square, and the figure."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from seq2seq_mri.evaluation.classification.gradcam import gradcam_figure, gradcam_map
from seq2seq_mri.losses.classification import ClassificationLoss
from seq2seq_mri.networks.classifier import build_classifier
from seq2seq_mri.plots.style import save_figure


class MeanBrightness(nn.Module):
    """The logits are the mean of the image, times ``weights``: Grad-CAM of a class of positive weight is the image."""

    def __init__(self, weights: list[float]) -> None:
        super().__init__()
        self.layer4 = nn.ReLU()
        self.fc = nn.Linear(1, len(weights), bias=False)
        self.fc.weight.data = torch.tensor(weights)[:, None]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.fc(self.layer4(image).flatten(2).mean(dim=2))


@pytest.mark.parametrize("shape", [(7, 6), (5, 6, 7)])
@pytest.mark.parametrize("weights", [[2.0], [0.5, -1.0, 3.0]])
def test_known_map(shape, weights) -> None:
    image = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    network = MeanBrightness(weights).train()
    image += 1
    expected = image[0].clip(0) / image.max()
    np.testing.assert_allclose(gradcam_map(network, image), expected, rtol=1e-5)
    against = 0 if len(weights) == 1 else 1
    assert not gradcam_map(network, image, label=against).any()
    with torch.inference_mode():
        np.testing.assert_allclose(gradcam_map(network, torch.from_numpy(image)), expected, rtol=1e-5)
    assert network.training
    assert not network.layer4._forward_hooks
    assert not network.layer4._backward_hooks


def test_class_that_the_network_chooses() -> None:
    image = -np.ones((1, 4, 4), dtype=np.float32)
    image[0, 1, 2] = 1  # the mean of what is above zero is positive: class 1 of the binary network of weight 1
    chosen = gradcam_map(MeanBrightness([1.0]), image)
    assert chosen[1, 2] == 1
    assert chosen.sum() == 1
    # For a network of negative weight it speaks for class 0.
    np.testing.assert_array_equal(gradcam_map(MeanBrightness([-1.0]), image), chosen)


def test_wrong_layer_and_class() -> None:
    network = MeanBrightness([1.0])
    with pytest.raises(ValueError, match="no layer 'layer7'"):
        gradcam_map(network, torch.zeros(1, 4, 4), layer="layer7")
    with pytest.raises(ValueError, match="label to explain is 2; this classifier has the classes 0 to 1"):
        gradcam_map(network, torch.zeros(1, 4, 4), label=2)


def square_images(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Noise, in every second image with a bright square; the images, the labels, and the squares' corners."""
    generator = np.random.default_rng(seed)
    images = generator.uniform(0, 0.4, (count, 1, 32, 32)).astype(np.float32)
    corners = generator.integers(2, 22, (count, 2))
    for index in range(1, count, 2):
        x, y = corners[index]
        images[index, 0, x : x + 8, y : y + 8] += 0.6
    return torch.from_numpy(images), torch.arange(count) % 2, corners


def test_trained_network_looks_at_the_square() -> None:
    torch.manual_seed(0)
    network = build_classifier(2, 1, first_stride=1, widen_factor=1 / 8)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    loss = ClassificationLoss()
    for step in range(40):
        images, labels, _ = square_images(16, step)
        optimizer.zero_grad()
        loss(network(images), labels).backward()
        optimizer.step()
    images, _, corners = square_images(12, 1000)
    for index in range(1, 12, 2):
        cam = gradcam_map(network, images[index], label=1, layer="layer2")
        assert cam.shape == (32, 32)
        x, y = corners[index]
        # The layer has one value for four pixels, so the map reaches that far beyond the square.
        around = np.zeros((32, 32), dtype=bool)
        around[max(x - 4, 0) : x + 12, max(y - 4, 0) : y + 12] = True
        assert around[np.unravel_index(cam.argmax(), cam.shape)]
        assert cam[around].mean() > 1.5 * cam[~around].mean()


@pytest.fixture
def cases() -> tuple[dict, dict, dict]:
    generator = np.random.default_rng(0)
    images = {name: generator.random((9, 12, 5)) for name in ("p1", "p2")}
    cams = {name: np.zeros((9, 12, 5)) for name in images}
    cams["p1"][3:6, 2:5, 3] = 1
    return images, cams, {"p1": 0.1 * images["p1"], "p2": None}


def test_figure(cases, texts: Callable, tmp_path) -> None:
    images, cams, maps = cases
    figure = gradcam_figure(images, cams, maps, captions={"p1": "pCR, 0.83"}, title="Layer 4")
    panels = np.asarray(figure.axes[:6], dtype=object).reshape(2, 3)
    # Each case has the slice where its map is; without any, it is the middle one.
    np.testing.assert_allclose(panels[0, 0].images[0].get_array(), images["p1"][::-1, ::-1, 3].T)
    np.testing.assert_allclose(panels[1, 0].images[0].get_array(), images["p2"][::-1, ::-1, 2].T)
    np.testing.assert_allclose(panels[0, 2].images[1].get_array(), cams["p1"][::-1, ::-1, 3].T)
    written = texts(figure)
    for text in ("image", "$M_d$", "Grad-CAM", "p1\npCR, 0.83", "p2", "slice 4/5", "slice 3/5", "Layer 4", "no\nmap"):
        assert text in written
    assert save_figure(figure, tmp_path / "cam.png").stat().st_size > 5000
    fixed = gradcam_figure(images, cams, slice_index=1)
    assert "slice 2/5" in texts(fixed)
    assert "$M_d$" not in texts(fixed)


def test_plane_images(texts: Callable) -> None:
    image = np.random.default_rng(0).random((6, 8))
    written = texts(gradcam_figure({"a": image}, {"a": image}, {"a": torch.zeros(6, 8)}))
    assert not any("slice" in text for text in written)
    assert "R" not in written


def test_figures_that_cannot_be(cases) -> None:
    images, cams, maps = cases
    with pytest.raises(ValueError, match="no Grad-CAM of p2"):
        gradcam_figure(images, {"p1": cams["p1"]})
    with pytest.raises(ValueError, match="There is no image to show"):
        gradcam_figure({}, {})
    with pytest.raises(ValueError, match=r"image of p1 has shape \(1, 9, 12, 5\); a figure needs"):
        gradcam_figure({"p1": images["p1"][None]}, cams)
    with pytest.raises(ValueError, match="maximum of the M_d colours is 0"):
        gradcam_figure(images, cams, maps, maximum=0.0)
