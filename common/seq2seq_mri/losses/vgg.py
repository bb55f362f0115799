# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The distance of two grayscale images in the feature maps of VGG19."""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch
from torch import nn

from seq2seq_mri.networks.functional import channels_last

__all__ = ["VGG19Distance"]

# Output channels of the convolutions in each of VGG19's blocks; pooling halves the image between blocks.
BLOCKS = ((64, 64), (128, 128), (256, 256, 256, 256), (512, 512, 512, 512), (512, 512, 512, 512))
# Colour means and standard deviations of ImageNet for intensities in [0, 1].
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class VGG19Distance(nn.Module):
    """Sum over ReLU outputs of VGG19 of the mean squared difference of two images' features.

    Max pooling is replaced by average pooling, which passes gradients to all pixels. Layers behind the last output
    that is used are not built.

    Args:
        weights: a file with the state dict of torchvision's ``vgg19`` or of its ``features``; by default torchvision
            downloads it into the folder of the environment variable ``TORCH_HOME``.
        outputs: how many ReLU outputs are compared, from the first (``relu1_1``) on, at most 16. The default of 13
            ends at ``relu5_1``.

    Raises:
        ValueError: when the weights cannot be had or do not fit, or ``outputs`` is out of range.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, weights: str | os.PathLike | None = None, outputs: int = 13) -> None:
        super().__init__()
        if not 1 <= outputs <= 16:
            raise ValueError(f"VGG19 has 16 ReLU outputs; {outputs} were asked for.")
        self.features = _convolutions(outputs)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        state = _downloaded_state() if weights is None else _file_state(weights)
        origin = "the downloaded weights" if weights is None else f"the weights file {weights}"
        _load_features(self.features, state, origin)
        # The format of the feature maps, so that convolutions need not convert the kernels each time.
        self.features.to(memory_format=torch.channels_last)

    @property
    def smallest_size(self) -> int:
        """Pixels per axis below which an image vanishes in the pooling."""
        return int(2 ** sum(isinstance(layer, nn.AvgPool2d) for layer in self.features))

    def forward(self, prediction: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Compare.

        Args:
            prediction: intensities in [0, 1], ``(N, 1, X, Y)``.
            truth: the same; its features are computed without a graph.

        Returns:
            one value ≥ 0 per image, float32 of shape ``(N,)``.

        Raises:
            ValueError: when the images are too small for the network's poolings.
        """
        if min(prediction.shape[2:]) < self.smallest_size:
            raise ValueError(
                f"Images of {tuple(prediction.shape[2:])} pixels are too small for the perceptual network VGG19; use "
                f"patches of at least {self.smallest_size} per axis, or set lambda_perceptual to 0."
            )
        with torch.no_grad():
            expected = self._relu_outputs(truth)
        found = self._relu_outputs(prediction)
        distances = [(f.float() - e.float()).square().flatten(1).mean(1) for f, e in zip(found, expected, strict=True)]
        return torch.stack(distances).sum(0)

    def _relu_outputs(self, image: torch.Tensor) -> list[torch.Tensor]:
        maps = channels_last((image - self.mean) / self.std)
        outputs = []
        for layer in self.features:
            maps = layer(maps)
            if isinstance(layer, nn.ReLU):
                outputs.append(maps)
        return outputs


def _convolutions(outputs: int) -> nn.Sequential:
    """Build VGG19's layers up to ReLU output number ``outputs``, at the indices that they have in torchvision."""
    layers: list[nn.Module] = []
    channels, built = 3, 0
    for block in BLOCKS:
        for width in block:
            if built == outputs:
                return nn.Sequential(*layers)
            # Not in place: the output of a ReLU is kept for the comparison.
            layers += [nn.Conv2d(channels, width, kernel_size=3, padding=1), nn.ReLU()]
            channels, built = width, built + 1
        if built < outputs:
            layers.append(nn.AvgPool2d(kernel_size=2, stride=2))
    return nn.Sequential(*layers)


def _downloaded_state() -> Mapping[str, torch.Tensor]:
    advice = (
        "Download https://download.pytorch.org/models/vgg19-dcbb9e9d.pth on a machine with internet and put it into "
        "$TORCH_HOME/hub/checkpoints, give its path as perceptual_weights, or set lambda_perceptual to 0 to train "
        "without the perceptual term."
    )
    try:
        from torchvision.models import VGG19_Weights
    except (ImportError, RuntimeError) as error:  # a torchvision built for another torch raises RuntimeError
        raise ValueError(
            f"The perceptual network VGG19 needs torchvision, which cannot be imported ({error}). Install torch and "
            "torchvision together from the same source: PyPI's torchvision does not work over a CPU-only torch. "
            f"A given weights file needs no torchvision. {advice}"
        ) from error
    try:
        return VGG19_Weights.IMAGENET1K_V1.get_state_dict(
            progress=True, check_hash=True, map_location="cpu", weights_only=True
        )
    except Exception as error:  # network, disc, hash and parsing errors have no common class
        raise ValueError(f"The weights of the perceptual network VGG19 cannot be had ({error}). {advice}") from error


def _file_state(path: str | os.PathLike) -> Mapping[str, torch.Tensor]:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load has no common class for unreadable files
        raise ValueError(f"The perceptual network's weights file {path} cannot be read: {error}") from error


def _load_features(features: nn.Sequential, state: Mapping[str, torch.Tensor], origin: str) -> None:
    wanted = features.state_dict()
    for name, tensor in wanted.items():
        given = state.get(f"features.{name}", state.get(name)) if isinstance(state, Mapping) else None
        if not isinstance(given, torch.Tensor) or given.shape != tensor.shape:
            raise ValueError(
                f"VGG19 cannot be loaded from {origin}: 'features.{name}' of shape {tuple(tensor.shape)} is not in it. "
                "Give the state dict of torchvision's vgg19."
            )
        wanted[name] = given
    features.load_state_dict(wanted)
