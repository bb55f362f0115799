# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Cases of a classifier to be drawn: what it was shown, and where in it the classifier looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure

from seq2seq_mri.evaluation.classification.gradcam import gradcam_figure, gradcam_map
from seq2seq_mri.plots.slices import as_array
from seq2seq_mri.transforms.select_channels import count_channels, map_sequences

__all__ = ["ExplainedCases"]


class ExplainedCases:
    """Collects cases, and draws for each the image, M_d, and the Grad-CAM of the class that the network chooses.

    Of several inputs the first image and the first M_d are shown, and of several timepoints the first. A classifier
    that takes no image but M_d only is shown with M_d as the image.

    Args:
        inputs: names of the classifier's channels, see
            :class:`SelectChannelsd`.
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
        maps = [name for name in inputs if map_sequences([name], sequences)]
        images = [name for name in inputs if name not in maps]
        self._image = first_channel[(images or maps)[0]]
        self._map = first_channel[maps[0]] if maps else None
        self._only_maps = not images
        self.layer = layer
        self.spacing = tuple(spacing or (1.0, 1.0, 1.0))
        self._images: dict[str, np.ndarray] = {}
        self._maps: dict[str, np.ndarray] = {}
        self._activations: dict[str, np.ndarray] = {}
        self._captions: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._images)

    def add(self, name: str, image: torch.Tensor, network: torch.nn.Module, caption: str = "") -> None:
        """Take in a case.

        Args:
            name: of the subject.
            image: what the network is given, ``[C, *spatial]``.
            network: the classifier.
            caption: what to write below the name.

        Raises:
            ValueError: when the network has no such layer.
        """
        self._activations[name] = gradcam_map(network, image, layer=self.layer)
        self._images[name] = as_array(image[self._image])
        if self._map is not None:
            self._maps[name] = as_array(image[self._map])
        self._captions[name] = caption

    def figure(self, title: str = "") -> Figure:
        """Draw the cases, one row each.

        Raises:
            ValueError: when there is none.
        """
        brightest = max((float(image.max()) for image in self._images.values()), default=1.0)
        return gradcam_figure(
            self._images,
            self._activations,
            self._maps if self._map is not None else None,
            captions=self._captions,
            title=title,
            window=(0.0, brightest or 1.0) if self._only_maps else (0.0, 1.0),
            spacing=self.spacing,
        )
