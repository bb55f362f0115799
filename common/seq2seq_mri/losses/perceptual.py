# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""How different two images look to a network trained for recognition (the second term of Eq. 1)."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import torch
from monai.losses.perceptual import PerceptualLoss, PerceptualNetworkType
from torch import nn

from seq2seq_mri.losses.vgg import VGG19Distance

__all__ = ["SequencePerceptualLoss"]


class SequencePerceptualLoss(nn.Module):
    """Perceptual difference of MR images, L_p of Eq. 1 (Han et al., Medical Image Analysis 2024), one value per sample.

    The networks know 2D colour photographs; what they are shown of a ``(B, T, C, *spatial)`` image is:

    - 2D: of C adjacent slices the middle one, which is the result of a 2.5D generator;
    - 3D: a random ``fraction`` of the axial slices (last axis), drawn anew at each call from torch's generator;
    - each timepoint by itself, the gray value in all three colours, scaled as the network expects.

    MedicalNet networks are 3D and see whole volumes. The values of a sample's timepoints and slices are averaged.
    The network is frozen and stays in evaluation mode.

    Args:
        network: ``"vgg19"`` (:class:`VGG19Distance`), or a network of MONAI's
            ``PerceptualLoss``: ``"alex"``, ``"vgg"``, ``"squeeze"``, ``"resnet50"``, ``"radimagenet_resnet50"``,
            ``"medicalnet_resnet10_23datasets"``, ``"medicalnet_resnet50_23datasets"``.
        weights: for ``"vgg19"``, a file with the state dict of torchvision's ``vgg19`` or of its ``features``. By
            default weights are downloaded into the folder of the environment variable ``TORCH_HOME``.
        fraction: share of a volume's axial slices to look at, in (0, 1]; at least one slice is.

    Raises:
        ValueError: when ``network`` is unknown, its weights cannot be had or do not fit, ``weights`` is given for a
            network that takes no file, or ``fraction`` is out of range.
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
        self.distance: nn.Module = VGG19Distance(weights) if network == "vgg19" else _MonaiDistance(network)
        self.distance.eval().requires_grad_(False)

    @property
    def sees_volumes(self) -> bool:
        """Whether the network is a 3D one."""
        return self.network.startswith("medicalnet")

    def train(self, mode: bool = True) -> SequencePerceptualLoss:
        """Stay in evaluation mode: dropout and batch statistics must stay off while the generator trains."""
        return super().train(False)

    def forward(self, prediction: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Compare.

        Args:
            prediction: synthesised images in [0, 1], ``(B, T, C, X, Y)`` or ``(B, T, C, X, Y, Z)``.
            truth: measured images of the same shape; they get no gradient.

        Returns:
            one value ≥ 0 per sample, ``(B,)``; 0 for equal images.

        Raises:
            ValueError: when the shapes differ or are not as above, or a 3D network is given 2D images.
        """
        if prediction.shape != truth.shape or prediction.ndim not in (5, 6):
            raise ValueError(
                f"The perceptual loss got shapes {tuple(prediction.shape)} and {tuple(truth.shape)}; it compares equal "
                "shapes (B, T, C, X, Y) or (B, T, C, X, Y, Z)."
            )
        if self.sees_volumes and prediction.ndim == 5:
            raise ValueError(f"Perceptual network '{self.network}' compares volumes; for 2D images choose vgg19.")
        if len(prediction) == 0:
            return prediction.new_zeros(0, dtype=torch.float32)
        middle = prediction.shape[2] // 2
        pair = [prediction[:, :, middle], truth.detach()[:, :, middle]]
        if prediction.ndim == 6 and not self.sees_volumes:
            slices = self._slices(prediction.shape[-1]).to(prediction.device)
            pair = [volume.index_select(-1, slices).movedim(-1, 2).flatten(1, 2) for volume in pair]
        views = pair[0].shape[1]
        values = self.distance(*(images.flatten(0, 1).unsqueeze(1) for images in pair))
        return values.reshape(-1, views).mean(1)

    def _slices(self, depth: int) -> torch.Tensor:
        return torch.randperm(depth)[: max(1, round(self.fraction * depth))]


class _MonaiDistance(nn.Module):
    """A network of MONAI's PerceptualLoss, without its averaging over the batch.

    Raises:
        ValueError: when the network or its weights cannot be had.
    """

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
