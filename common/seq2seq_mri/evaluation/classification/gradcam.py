# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Where a classifier looks: Grad-CAM laid over the image, beside the imaging-differentiation map M_d.

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
    show_absent,
    show_image,
    show_overlay,
    write_row_label,
)
from seq2seq_mri.plots.slices import as_array, axial_view
from seq2seq_mri.plots.style import ANATOMY_COLOURS, MAP_COLOURS, publication_style

__all__ = ["gradcam_figure", "gradcam_map"]


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
        ValueError: when the network has no such layer or class.
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
        count = model(batch).shape[1]
        if label is not None and not 0 <= label < count:
            raise ValueError(f"The label to explain is {label}; this classifier has the classes 0 to {count - 1}.")
        cam = GradCAM(model, target_layers=f"network.{layer}", postprocessing=lambda values: values)
        activation = as_array(cam(batch, class_idx=label))[0, 0]
    maximum = float(activation.max())
    return activation / maximum if maximum > 0 else np.zeros_like(activation)


@publication_style()
def gradcam_figure(
    images: Mapping[str, NdarrayOrTensor],
    activations: Mapping[str, NdarrayOrTensor],
    differentiation: Mapping[str, NdarrayOrTensor | None] | None = None,
    *,
    captions: Mapping[str, str] | None = None,
    title: str = "",
    slice_index: int | None = None,
    maximum: float | None = None,
    window: tuple[float, float] = (0.0, 1.0),
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
) -> Figure:
    """Draw, one row per case, the image, M_d over it, and the Grad-CAM over it.

    Args:
        images: for each case, by its name, one image ``[X, Y]`` or ``[X, Y, Z]`` in RAS orientation.
        activations: for each case the map of :func:`gradcam_map`, of the same size.
        differentiation: for each case M_d of the same size, or None where there is none; in units of the normalised
            intensity. None leaves the column out.
        captions: what to write below a case's name, for example its label and its probability.
        title: of the figure.
        slice_index: axial slice of volumes, counted from 0; default: for each case the one with the largest sum of the
            Grad-CAM where the image is above 0; a coarse layer reaches far into the background.
        maximum: M_d at the end of the colours; default: the 99.5th percentile over the shown slices.
        window: intensities of the image shown as black and white.
        spacing: voxel sizes along X, Y, Z in millimetres.

    Returns:
        The figure; :func:`save_figure` writes it.

    Raises:
        ValueError: when there is no case, one has no map, sizes differ, or the slice, window or maximum does not exist.
    """
    low, high = window
    volumes = {name: _volume(image, f"image of {name}") for name, image in images.items()}
    cams, maps = {}, {}
    for name in volumes:
        if name not in activations:
            raise ValueError(f"There is no Grad-CAM of {name}; give one for each image.")
        cams[name] = _volume(activations[name], f"Grad-CAM of {name}")
        given = (differentiation or {}).get(name)
        if given is not None:
            maps[name] = _volume(given, f"M_d of {name}")
    if not volumes:
        raise ValueError("There is no image to show; give at least one case.")
    depth = next(iter(volumes.values())).shape[-1]
    slices = {name: _slice(slice_index, cam, volumes[name]) for name, cam in cams.items()}
    views = {name: axial_view(image, slices[name]) for name, image in volumes.items()}
    map_views = {name: axial_view(values, slices[name]) for name, values in maps.items()}
    if maximum is None:
        maximum = float(np.percentile(np.stack([*map_views.values()]), 99.5)) or 1.0 if map_views else 1.0
    elif not (np.isfinite(maximum) and maximum > 0):
        raise ValueError(f"The maximum of the M_d colours is {maximum}; give a positive number.")

    headings = ["image", "$M_d$", "Grad-CAM"] if differentiation is not None else ["image", "Grad-CAM"]
    labels = {name: name for name in volumes} | {name: f"{name}\n{text}" for name, text in (captions or {}).items()}
    figure, axes = image_grid(len(views), len(headings), next(iter(views.values())), width=1.6, spacing=spacing)
    for column, heading in zip(axes[0], headings, strict=True):
        column.set_title(heading, pad=3)
    for row, (name, view) in zip(axes, views.items(), strict=True):
        write_row_label(row[0], labels[name])
        show_image(row[0], view, (low, high))
        if depth > 1:
            add_corner_text(row[0], f"slice {slices[name] + 1}/{depth}")
        anatomy = (view - low) / (high - low)
        show_overlay(row[-1], anatomy, axial_view(cams[name], slices[name]))
        if differentiation is not None and name in map_views:
            show_overlay(row[1], anatomy, map_views[name] / maximum)
        elif differentiation is not None:
            show_absent(row[1], "no map")
    if depth > 1:
        add_side_letters(axes[0, 0])
    if maps:
        add_colour_bar(axes, DIFFERENTIATION_LABEL, (0.0, maximum), MAP_COLOURS)
    else:
        add_colour_bar(axes, INTENSITY_LABEL, (low, high), ANATOMY_COLOURS)
    add_colour_bar(axes, "Grad-CAM\n(fraction of its maximum)", (0.0, 1.0), MAP_COLOURS)
    if title:
        figure.suptitle(title)
    return figure


def _volume(values: NdarrayOrTensor, name: str) -> np.ndarray:
    """Return ``[X, Y, Z]``, one slice for a 2D image."""
    array = as_array(values)
    if array.ndim == 2:
        return array[..., None]
    if array.ndim != 3:
        raise ValueError(f"The {name} has shape {array.shape}; a figure needs [X, Y] or [X, Y, Z], one channel of it.")
    return array


def _slice(slice_index: int | None, cam: np.ndarray, image: np.ndarray) -> int:
    inside = np.where(image > 0, cam, 0)
    shown = inside if inside.any() else cam
    if slice_index is None and shown.any():
        return int(shown.sum(axis=(0, 1), dtype=np.float64).argmax())
    return cam.shape[-1] // 2 if slice_index is None else slice_index
