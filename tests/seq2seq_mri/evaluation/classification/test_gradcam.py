# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Grad-CAM: against a network whose map is known, on a trained one that has to find a square, and the figure."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from seq2seq_mri.evaluation.classification.gradcam import ExplainedCases, gradcam_map
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


def test_unknown_layer() -> None:
    with pytest.raises(ValueError, match="no layer 'layer7'"):
        gradcam_map(MeanBrightness([1.0]), torch.zeros(1, 4, 4), layer="layer7")


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


class Pointer(nn.Module):
    """Looks at its last channel, which is the Grad-CAM; the other channels are for the figure."""

    def __init__(self, channels: int, spatial_dims: int) -> None:
        super().__init__()
        convolution = nn.Conv3d if spatial_dims == 3 else nn.Conv2d
        self.layer4 = convolution(channels, 1, 1, bias=False)
        self.layer4.weight.data[:] = 0
        self.layer4.weight.data[0, -1] = 1

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layer4(image).flatten(1).mean(dim=1, keepdim=True)


def shown(figure, columns: int) -> np.ndarray:
    """The panels, one row per case."""
    return np.asarray([axes for axes in figure.axes if axes.images][: 2 * columns], dtype=object).reshape(2, columns)


def test_cases_show_the_first_image_and_the_first_map(texts: Callable, tmp_path) -> None:
    """The inputs have five channels: M_d of t1, dce in two frames, M_d of dce in two frames."""
    cases = ExplainedCases(["t1_md", "dce", "dce_md"], {"t1": 1, "dce": 2})
    random = torch.Generator().manual_seed(0)
    subjects = {name: torch.rand(5, 9, 12, 5, generator=random) for name in ("p1", "p2")}
    for name, image in subjects.items():
        image[4] = 0
        image[4, 3:6, 2:5, 3 if name == "p1" else 1] = 1
        cases.add(name, image, Pointer(5, 3), f"pCR of {name}")
    assert len(cases) == 2
    figure = cases.figure()
    maximum = np.percentile([subjects["p1"][0, ..., 3], subjects["p2"][0, ..., 1]], 99.5)
    for panels, (name, image), place in zip(shown(figure, 3), subjects.items(), (3, 1), strict=True):
        view = image[..., place].numpy()[:, ::-1, ::-1].transpose(0, 2, 1)  # the slice where the Grad-CAM is
        np.testing.assert_allclose(panels[0].images[0].get_array(), view[1])
        np.testing.assert_allclose(panels[1].images[1].get_array(), view[0] / maximum, rtol=1e-5)
        np.testing.assert_allclose(panels[2].images[1].get_array(), view[4])
        assert f"{name}\npCR of {name}" in texts(figure)
    written = set(texts(figure))
    assert {"image", "$M_d$", "Grad-CAM", "slice 4/5", "slice 2/5", "R"} <= written
    assert save_figure(figure, tmp_path / "cam.png").stat().st_size > 5000


@pytest.mark.parametrize(("inputs", "columns"), [(["t1", "t2"], 2), (["t1_md", "t2_md"], 3)])
def test_plane_images_and_inputs_of_one_kind(inputs, columns, texts: Callable) -> None:
    """Without a map there is no such column; without an image, the map is shown in its own window."""
    cases = ExplainedCases(inputs, {"t1": 1, "t2": 1})
    image = torch.rand(2, 6, 8, generator=torch.Generator().manual_seed(0)) / 4
    for name in ("p1", "p2"):
        cases.add(name, image, Pointer(2, 2), "")
    figure = cases.figure()
    panel = shown(figure, columns)[0, 0].images[0]
    np.testing.assert_allclose(panel.get_array(), image[0].numpy()[::-1, ::-1].T)
    assert panel.get_clim() == pytest.approx((0, 1 if columns == 2 else float(image[0].max())))
    assert not {"R", "slice 1/1"} & set(texts(figure))
