# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Grad-CAM maps of a classifier, and their figure beside the image and the imaging-differentiation map M_d.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV 2017.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from monai.config.type_definitions import NdarrayOrTensor
from monai.utils import convert_to_tensor
from monai.visualize import GradCAM
from torch import nn

from seq2seq_mri.plots.panels import (
    DIFFERENTIATION_LABEL,
    INTENSITY_LABEL,
    add_colour_bar,
    add_corner_text,
    add_side_letters,
    image_grid,
    show_image,
    show_overlay,
    write_row_label,
)
from seq2seq_mri.plots.slices import as_array, axial_view
from seq2seq_mri.plots.style import ANATOMY_COLOURS, MAP_COLOURS, publication_style
from seq2seq_mri.transforms.select_channels import count_channels, map_sequences

__all__ = ["ExplainedCases", "gradcam_map"]


class _TwoLogits(nn.Module):
    """Gives a binary classifier's one logit as those of two classes, so that class 0 can be explained as well."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits = self.network(image)
        return torch.cat([-logits, logits], dim=1) if logits.shape[1] == 1 else logits


def gradcam_map(
    network: nn.Module, image: NdarrayOrTensor, label: int | None = None, layer: str = "layer4"
) -> np.ndarray:
    """Return where in an image a classifier finds what speaks for a class.

    Args:
        network: gives logits ``[B, num_classes]`` (one of a binary task); it is left as it is.
        image: ``[C, *spatial]``, as the network takes it.
        label: the class to explain; default: the one that the network chooses.
        layer: name of the module whose output is weighed by its gradient. ``"layer4"``, the last of a ResNet, has one
            value for 32 voxels along each axis, and places what it finds no better than to half of that; ``"layer3"``
            and ``"layer2"`` are finer and know less of the class.

    Returns:
        float32 ``[*spatial]`` in [0, 1], interpolated linearly from the layer's voxels. The largest value is 1 however
        weak it is; where nothing in the layer speaks for the class, all is zero.

    Raises:
        ValueError: when the network has no such layer.
    """
    if layer not in dict(network.named_modules()):
        raise ValueError(f"The classifier has no layer '{layer}'; choose one of its modules, such as 'layer4'.")
    with torch.inference_mode(False), torch.enable_grad():
        # A copy, because MONAI's hooks stay on a network for ever.
        model = _TwoLogits(copy.deepcopy(network)).eval()
        parameter = next(model.parameters())
        batch = convert_to_tensor(image, dtype=parameter.dtype, device=parameter.device, track_meta=False)[None]
        # A layer has a gradient also where nothing before it has weights, if the image asks for one.
        batch = batch.clone().requires_grad_(True)
        cam = GradCAM(model, target_layers=f"network.{layer}", postprocessing=lambda values: values)
        activation = as_array(cam(batch, class_idx=label))[0, 0]
    maximum = float(activation.max())
    return activation / maximum if maximum > 0 else np.zeros_like(activation)


class ExplainedCases:
    """Collects cases, and draws for each the image, M_d, and the Grad-CAM of the class that the network chooses.

    Of several inputs the first image and the first M_d are shown, and of several timepoints the first. A classifier
    that takes no image but M_d only is shown with M_d as the image. The slice is for each case the one with the largest
    sum of the Grad-CAM where the image is above 0; a coarse layer reaches far into the background.

    Args:
        inputs: names of the classifier's channels, see :class:`SelectChannelsd`.
        sequences: the sequence table.
        layer: see :func:`gradcam_map`.
        spacing: voxel sizes along X, Y, Z in millimetres; None: as if they were equal.

    Raises:
        ValueError: when an input is unknown.
    """

    def __init__(
        self,
        inputs: Sequence[str],
        sequences: Mapping[str, int],
        layer: str = "layer4",
        spacing: Sequence[float] | None = None,
    ) -> None:
        counts = [count_channels([name], sequences) for name in inputs]
        first_channel = dict(zip(inputs, np.cumsum([0, *counts[:-1]]).tolist(), strict=True))
        maps = [first_channel[name] for name in inputs if map_sequences([name], sequences)]
        images = [channel for channel in first_channel.values() if channel not in maps]
        self._channels = [*(images or maps)[:1], *maps[:1]]
        self._only_maps = not images
        self.layer = layer
        self.spacing = tuple(spacing or (1.0, 1.0, 1.0))
        self._rows: list[tuple[str, str, list[np.ndarray]]] = []
        self._brightest = 0.0

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, name: str, image: torch.Tensor, network: nn.Module, caption: str) -> None:
        """Take in a case.

        Args:
            name: of the subject.
            image: what the network is given, ``[C, *spatial]`` with two or three spatial axes in RAS orientation.
            network: the classifier.
            caption: what to write below the name.

        Raises:
            ValueError: when the network has no such layer.
        """
        chosen = [as_array(image[channel]) for channel in self._channels]
        volumes = [*chosen, gradcam_map(network, image, layer=self.layer)]
        volumes = [volume.reshape(*volume.shape[:2], -1) for volume in volumes]
        self._brightest = max(self._brightest, float(volumes[0].max()))
        inside = np.where(volumes[0] > 0, volumes[-1], 0)
        shown, depth = inside if inside.any() else volumes[-1], volumes[0].shape[2]
        place = int(shown.sum(axis=(0, 1), dtype=np.float64).argmax()) if shown.any() else depth // 2
        where = f"slice {place + 1}/{depth}" if depth > 1 else ""
        self._rows.append((f"{name}\n{caption}", where, [axial_view(volume, place) for volume in volumes]))

    @publication_style()
    def figure(self) -> Figure:
        """Draw the cases, one row each: the image, M_d over it, and the Grad-CAM over it."""
        views = np.stack([shown for _, _, shown in self._rows])
        bright = (self._brightest or 1.0) if self._only_maps else 1.0
        headings = ["image", "$M_d$", "Grad-CAM"] if views.shape[1] == 3 else ["image", "Grad-CAM"]
        figure, axes = image_grid(len(views), len(headings), views[0, 0], width=1.6, spacing=self.spacing)
        for column, heading in zip(axes[0], headings, strict=True):
            column.set_title(heading, pad=3)
        bars = [("Grad-CAM\n(fraction of its maximum)", (0.0, 1.0), MAP_COLOURS)]
        if len(headings) == 3:
            maximum = float(np.percentile(views[:, 1], 99.5)) or 1.0
            views[:, 1] /= maximum
            bars.append((DIFFERENTIATION_LABEL, (0.0, maximum), MAP_COLOURS))
        else:
            bars.append((INTENSITY_LABEL, (0.0, bright), ANATOMY_COLOURS))
        for row, (label, where, _), (image, *overlays) in zip(axes, self._rows, views, strict=True):
            write_row_label(row[0], label)
            show_image(row[0], image, (0.0, bright))
            if where:
                add_corner_text(row[0], where)
            for panel, values in zip(row[1:], overlays, strict=True):
                show_overlay(panel, image / bright, values)
        if self._rows[0][1]:
            add_side_letters(axes[0, 0])
        for label, limits, colours in reversed(bars):
            add_colour_bar(axes, label, limits, colours)
        return figure
