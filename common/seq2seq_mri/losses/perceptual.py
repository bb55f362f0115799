# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Perceptual loss: the difference of two images in the features of VGG19, or of a network of MONAI (Eq. 1)."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from monai.losses.perceptual import PerceptualLoss, PerceptualNetworkType
from torch import nn

from seq2seq_mri.networks.functional import channels_last

__all__ = ["BLOCKS", "SequencePerceptualLoss", "VGG19Distance"]

# Output channels of the convolutions in each of VGG19's blocks, up to relu5_1, the last of 13 ReLU outputs
# that are compared; pooling halves the image between blocks.
BLOCKS = ((64, 64), (128, 128), (256, 256, 256, 256), (512, 512, 512, 512), (512,))
# Pixels per axis below which an image vanishes in the poolings.
SMALLEST_SIZE = 2 ** (len(BLOCKS) - 1)
# Colour means and standard deviations of ImageNet for intensities in [0, 1].
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class SequencePerceptualLoss(nn.Module):
    """Perceptual difference of MR images, L_p of Eq. 1 (Han et al., Medical Image Analysis 2024), one value per sample.

    The networks know 2D colour photographs; what they are shown of a ``(B, T, C, *spatial)`` image is:

    - 2D: of C adjacent slices the middle one, which is the result of a 2.5D generator;
    - 3D: a random ``fraction`` of the axial slices (last axis), drawn anew at each call from torch's generator;
    - each timepoint by itself, the gray value in all three colours, scaled as the network expects.

    MedicalNet networks are 3D and see whole volumes. The values of a sample's timepoints and slices are averaged.
    The network is frozen and stays in evaluation mode.

    Args:
        network: ``"vgg19"`` (:class:`VGG19Distance`), or one of MONAI's ``PerceptualLoss``: ``"alex"``, ``"vgg"``,
            ``"squeeze"``, ``"resnet50"``, ``"radimagenet_resnet50"``, ``"medicalnet_resnet10_23datasets"``,
            ``"medicalnet_resnet50_23datasets"``.
        weights: for ``"vgg19"``, a file with the state dict of torchvision's ``vgg19`` or of its ``features``. By
            default weights are downloaded into the folder of the environment variable ``TORCH_HOME``.
        fraction: share of a volume's axial slices to look at, in (0, 1]; at least one slice is.

    Raises:
        ValueError: when the arguments do not fit together, or the weights cannot be had or read.
        FileNotFoundError: when ``weights`` does not exist.
    """

    def __init__(
        self, network: str = "vgg19", weights: str | os.PathLike | None = None, fraction: float = 0.25
    ) -> None:
        super().__init__()
        known = ["vgg19", *(str(name.value) for name in PerceptualNetworkType)]
        if network not in known:
            raise ValueError(f"Unknown perceptual network '{network}'; choose one of {', '.join(known)}.")
        if not 0 < fraction <= 1:
            raise ValueError(f"The fraction of slices for the perceptual loss is {fraction}; give one in (0, 1].")
        if weights is not None and network != "vgg19":
            raise ValueError(f"Perceptual network '{network}' takes no weights file; only vgg19 does.")
        if weights is not None and not Path(weights).is_file():
            raise FileNotFoundError(f"The perceptual network's weights file {weights} does not exist.")
        self.network = network
        self.fraction = fraction
        self.sees_volumes = network.startswith("medicalnet")
        self.distance: nn.Module = VGG19Distance(weights) if network == "vgg19" else _MonaiDistance(network)
        self.distance.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> SequencePerceptualLoss:
        """Stay in evaluation mode: dropout and batch statistics must stay off while the generator trains."""
        return super().train(False)

    def forward(self, prediction: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Return one value ≥ 0 per sample, ``(B,)``; 0 for equal images.

        Args:
            prediction: synthesised images in [0, 1], ``(B, T, C, X, Y)`` or ``(B, T, C, X, Y, Z)``.
            truth: measured images of the same shape; they get no gradient.

        Raises:
            ValueError: when a 3D network is given 2D images, or images are too small.
        """
        if self.sees_volumes and prediction.ndim == 5:
            raise ValueError(f"Perceptual network '{self.network}' compares volumes; for 2D images choose vgg19.")
        middle = prediction.shape[2] // 2
        pair = [prediction[:, :, middle], truth.detach()[:, :, middle]]
        if prediction.ndim == 6 and not self.sees_volumes:
            depth = prediction.shape[-1]
            slices = torch.randperm(depth)[: max(1, round(self.fraction * depth))].to(prediction.device)
            pair = [volume.index_select(-1, slices).movedim(-1, 2).flatten(1, 2) for volume in pair]
        views = pair[0].shape[1]
        values = self.distance(*(images.flatten(0, 1).unsqueeze(1) for images in pair))
        return values.reshape(-1, views).mean(1)


class VGG19Distance(nn.Module):
    """Sum over ReLU outputs of VGG19 of the mean squared difference of two images' features.

    Max pooling is replaced by average pooling, which passes gradients to all pixels. Layers behind the last output
    that is used are not built.

    Args:
        weights: as of :class:`SequencePerceptualLoss`.

    Raises:
        ValueError: when the weights cannot be had or read, or do not fit.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, weights: str | os.PathLike | None = None) -> None:
        super().__init__()
        self.features = _convolutions()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        state = _downloaded_state() if weights is None else _file_state(weights)
        origin = "the downloaded weights" if weights is None else f"the weights file {weights}"
        _load_features(self.features, state, origin)
        # The format of the feature maps, so that convolutions need not convert the kernels each time.
        self.features.to(memory_format=torch.channels_last)

    def forward(self, prediction: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Compare intensities in [0, 1], ``(N, 1, X, Y)``; returns float32 ``(N,)``. The truth gets no gradient.

        Raises:
            ValueError: when the images are too small.
        """
        if min(prediction.shape[2:]) < SMALLEST_SIZE:
            raise ValueError(
                f"Images of {tuple(prediction.shape[2:])} pixels are too small for the perceptual network VGG19; use "
                f"patches of at least {SMALLEST_SIZE} per axis, or set lambda_perceptual to 0."
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


def _convolutions() -> nn.Sequential:
    """Return VGG19's layers up to the last output that is compared, at the indices that they have in torchvision."""
    layers: list[nn.Module] = []
    channels = 3
    for block in BLOCKS:
        if layers:
            layers.append(nn.AvgPool2d(kernel_size=2, stride=2))
        for width in block:
            # Not in place: the output of a ReLU is kept for the comparison.
            layers += [nn.Conv2d(channels, width, kernel_size=3, padding=1), nn.ReLU()]
            channels = width
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


class _MonaiDistance(nn.Module):
    """A network of MONAI's PerceptualLoss, without its averaging over the batch."""

    def __init__(self, network: str) -> None:
        super().__init__()
        self.is_medicalnet = network.startswith("medicalnet")
        # LPIPS networks expect intensities in [-1, 1], the others in [0, 1].
        self.is_lpips = network in ("alex", "vgg", "squeeze")
        try:
            # torchvision warns of LPIPS's outdated arguments, MONAI of MedicalNet's channels, of which there is one.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                loss = PerceptualLoss(3 if self.is_medicalnet else 2, network, is_fake_3d=False)
        except Exception as error:  # torch hub's network, disc and import errors have no common class
            raise ValueError(
                f"The perceptual network '{network}' or its weights cannot be had ({error}). Run once with internet "
                "so that they are downloaded into the folder of the environment variable TORCH_HOME, copy that folder "
                "here, check that `import lpips, torchvision` works, or set lambda_perceptual to 0 to train without "
                "the perceptual term."
            ) from error
        self.compare = loss.perceptual_function

    def forward(self, prediction: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Compare images ``(N, 1, *spatial)`` in [0, 1]; returns ``(N,)``."""
        if self.is_medicalnet:
            # MedicalNet standardises over the batch it is given, so each volume is a batch of its own.
            return torch.stack([self._volume(p[None], t[None]) for p, t in zip(prediction, truth, strict=True)])
        if self.is_lpips:
            prediction, truth = 2 * prediction - 1, 2 * truth - 1
        return self.compare(prediction, truth).flatten(1).mean(1)

    def _volume(self, prediction: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        # The standard deviation of an empty patch is 0, by which MedicalNet's standardisation would divide.
        if truth.std() == 0 or prediction.std() == 0:
            return prediction.sum() * 0.0
        return self.compare(prediction, truth).mean()
