# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Grad-CAM against networks whose map is known, and its figure."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from seq2seq_mri.evaluation.classification.gradcam import ExplainedCases, gradcam_map


class MeanBrightness(nn.Module):
    """The logits are the mean of the image, times ``weights``: Grad-CAM of a class of positive weight is the image."""

    def __init__(self, weights: list[float]) -> None:
        super().__init__()
        self.layer4 = nn.ReLU()
        self.fc = nn.Linear(1, len(weights), bias=False)
        self.fc.weight.data = torch.tensor(weights)[:, None]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.fc(self.layer4(image).flatten(2).mean(dim=2))


@pytest.mark.parametrize(
    ("shape", "weights", "against"), [((7, 6), [2.0], 0), ((5, 6, 7), [2.0], 0), ((5, 6, 7), [0.5, -1.0, 3.0], 1)]
)
def test_known_map(shape, weights, against) -> None:
    image = np.random.default_rng(0).normal(1, size=(1, *shape)).astype(np.float32)
    network = MeanBrightness(weights).train()
    expected = image[0].clip(0) / image.max()
    np.testing.assert_allclose(gradcam_map(network, image), expected, rtol=1e-5)
    assert not gradcam_map(network, image, label=against).any()
    with torch.inference_mode():
        np.testing.assert_allclose(gradcam_map(network, torch.from_numpy(image)), expected, rtol=1e-5)
    assert network.training
    assert not network.layer4._forward_hooks
    # For a binary network of negative weight it speaks for class 0.
    np.testing.assert_allclose(gradcam_map(MeanBrightness([-1.0]), image), expected, rtol=1e-5)


def test_a_coarse_layer_is_interpolated() -> None:
    network = MeanBrightness([1.0])
    network.layer4 = nn.AvgPool2d(4)
    image = np.repeat([1.0, 0.0], 4)[None, :, None] * np.ones((1, 8, 8), dtype=np.float32)
    expected = np.interp(np.arange(8), [1.5, 5.5], [1, 0])  # the centres of the layer's pixels
    np.testing.assert_allclose(gradcam_map(network, image), expected[:, None].repeat(8, axis=1), atol=1e-6)


def test_unknown_layer() -> None:
    with pytest.raises(ValueError, match="no layer 'layer7'"):
        gradcam_map(MeanBrightness([1.0]), torch.zeros(1, 4, 4), layer="layer7")


def pointer(channels: int, spatial_dims: int) -> nn.Module:
    """A network that looks at its last channel, which is the Grad-CAM; the other channels are for the figure."""
    layer4 = (nn.Conv3d if spatial_dims == 3 else nn.Conv2d)(channels, 1, 1, bias=False)
    layer4.weight.data[:] = 0
    layer4.weight.data[0, -1] = 1
    pool = nn.AdaptiveAvgPool3d(1) if spatial_dims == 3 else nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(OrderedDict(layer4=layer4, pool=pool, logit=nn.Flatten()))


def shown(figure, columns: int) -> np.ndarray:
    """The panels, one row per case."""
    return np.asarray([axes for axes in figure.axes if axes.images][: 2 * columns], dtype=object).reshape(2, columns)


def test_cases_show_the_first_image_and_the_first_map(texts) -> None:
    """The inputs have five channels: M_d of t1, dce in two frames, M_d of dce in two frames."""
    cases = ExplainedCases(["t1_md", "dce", "dce_md"], {"t1": 1, "dce": 2})
    random = torch.Generator().manual_seed(0)
    subjects = {name: torch.rand(5, 9, 12, 5, generator=random) for name in ("p1", "p2")}
    for (name, image), place in zip(subjects.items(), (3, 1), strict=True):
        image[4] = 0
        image[4, 3:6, 2:5, place] = 1
        cases.add(name, image, pointer(5, 3), f"pCR of {name}")
    figure = cases.figure()
    written = set(texts(figure))
    maximum = np.percentile([subjects["p1"][0, ..., 3], subjects["p2"][0, ..., 1]], 99.5)
    for panels, (name, image), place in zip(shown(figure, 3), subjects.items(), (3, 1), strict=True):
        view = image[..., place].numpy()[:, ::-1, ::-1].transpose(0, 2, 1)  # the slice where the Grad-CAM is
        np.testing.assert_allclose(panels[0].images[0].get_array(), view[1])
        np.testing.assert_allclose(panels[1].images[1].get_array(), view[0] / maximum, rtol=1e-5)
        np.testing.assert_allclose(panels[2].images[1].get_array(), view[4])
        assert {f"{name}\npCR of {name}", f"slice {place + 1}/5"} <= written
    assert {"image", "$M_d$", "Grad-CAM", "R"} <= written


@pytest.mark.parametrize(("inputs", "columns"), [(["t1", "t2"], 2), (["t1_md", "t2_md"], 3)])
def test_plane_images_and_inputs_of_one_kind(inputs, columns, texts) -> None:
    """Without a map there is no such column; without an image, the map is shown in its own window."""
    cases = ExplainedCases(inputs, {"t1": 1, "t2": 1})
    image = torch.rand(2, 6, 8, generator=torch.Generator().manual_seed(0)) / 4
    for name in ("p1", "p2"):
        cases.add(name, image, pointer(2, 2), "")
    figure = cases.figure()
    panel = shown(figure, columns)[0, 0].images[0]
    np.testing.assert_allclose(panel.get_array(), image[0].numpy()[::-1, ::-1].T)
    assert panel.get_clim() == pytest.approx((0, 1 if columns == 2 else float(image[0].max())))
    assert not {"R", "slice 1/1"} & set(texts(figure))
