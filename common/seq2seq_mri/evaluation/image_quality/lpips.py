# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""LPIPS of a synthesised volume: the learned perceptual distance of Zhang et al. 2018, axial slice by axial slice.

The distance itself is that of the ``lpips`` package (version 0.1 of its linear weights), which takes its networks'
ImageNet weights from torchvision.
"""

from __future__ import annotations

import math
import warnings
from pickle import UnpicklingError
from typing import Literal, get_args

import torch
from numpy.typing import ArrayLike

from seq2seq_mri.evaluation.image_quality.volume_pair import check_volume_pair

__all__ = ["LPIPSNetwork", "SliceLPIPS"]

LPIPSNetwork = Literal["alex", "vgg", "squeeze", "none"]

# For each network: torchvision's weights, and the smallest slice that its poolings leave something of.
_NETWORKS = {
    "alex": ("AlexNet_Weights", 31),
    "vgg": ("VGG16_Weights", 16),
    "squeeze": ("SqueezeNet1_1_Weights", 17),
}


class SliceLPIPS:
    """Learned perceptual image patch similarity of two volumes; lower is closer, 0 is identical.

    Each axial slice (last axis) that holds foreground is scaled from ``value_range`` to [-1, 1], repeated to the three
    channels that the networks expect, and compared; the result is the mean over these slices, and over timepoints.

    Args:
        network: ``"alex"`` (the LPIPS authors' choice for measuring), ``"vgg"``, ``"squeeze"`` (5 MB of weights), or
            ``"none"``, which builds nothing and gives NaN for every pair. Numbers of different networks cannot be
            compared.
        reduction: ``"mean"`` over slices, or ``"sum"`` as in the paper's released code.
        value_range: the smallest and largest intensity, which become -1 and 1.
        batch_size: number of slices compared at once.
        device: where the network runs.

    Raises:
        ValueError: when an argument is unknown, torchvision or lpips cannot be imported, or the network's weights are
            neither on this machine nor downloadable; the message says where they belong.
    """

    def __init__(
        self,
        network: LPIPSNetwork = "alex",
        reduction: Literal["mean", "sum"] = "mean",
        value_range: tuple[float, float] = (0.0, 1.0),
        batch_size: int = 16,
        device: str | torch.device = "cpu",
    ) -> None:
        if network not in get_args(LPIPSNetwork):
            raise ValueError(f"Unknown LPIPS network {network!r}; choose one of {', '.join(get_args(LPIPSNetwork))}.")
        if reduction not in ("mean", "sum"):
            raise ValueError(f"Unknown LPIPS reduction {reduction!r}; choose mean or sum.")
        if not value_range[0] < value_range[1]:
            raise ValueError(f"The LPIPS value range {value_range} is empty; give (smallest, largest).")
        if batch_size < 1:
            raise ValueError(f"The LPIPS batch size is {batch_size}; give a positive number of slices.")
        self.network = network
        self.reduction = reduction
        self.value_range = value_range
        self.batch_size = batch_size
        self.device = torch.device(device)
        self.distance = None if network == "none" else _load_distance(network).to(self.device)

    def __call__(
        self,
        prediction: ArrayLike | torch.Tensor,
        truth: ArrayLike | torch.Tensor,
        foreground: ArrayLike | torch.Tensor | None = None,
    ) -> float:
        """Compare two volumes.

        Args:
            prediction: synthesised volume ``[X, Y, Z]`` or ``[T, X, Y, Z]``, values in ``value_range``.
            truth: measured volume of the same shape.
            foreground: mask of the same shape, or ``[X, Y, Z]`` for all timepoints; slices in which it is empty are
                left out. None takes every slice.

        Returns:
            The distance, at least 0; NaN when the network is ``"none"``.

        Raises:
            ValueError: when shapes differ, the foreground is empty, an image has NaN or infinite values, the images
                are not volumes, or the slices are too small for the network.
        """
        if self.distance is None:
            return math.nan
        predictions, truths, masks = check_volume_pair(prediction, truth, foreground)
        if truths.ndim != 4:
            raise ValueError(f"LPIPS compares volumes [X, Y, Z] or [T, X, Y, Z], not images of {truths.ndim - 1} axes.")
        smallest = _NETWORKS[self.network][1]
        if min(truths.shape[1:3]) < smallest:
            raise ValueError(
                f"Slices of {truths.shape[1]} x {truths.shape[2]} are too small for LPIPS with network"
                f" '{self.network}', which needs {smallest} x {smallest}; choose another network, or none."
            )
        timepoints = [
            self._one_timepoint(self.distance, *images) for images in zip(predictions, truths, masks, strict=True)
        ]
        return math.fsum(timepoints) / len(timepoints)

    @torch.inference_mode()
    def _one_timepoint(
        self, distance: torch.nn.Module, prediction: torch.Tensor, truth: torch.Tensor, foreground: torch.Tensor
    ) -> float:
        slices = foreground.any(dim=0).any(dim=0).nonzero()[:, 0]
        distances = []
        for start in range(0, len(slices), self.batch_size):
            batch = slices[start : start + self.batch_size]
            distances.append(distance(self._as_colour(prediction, batch), self._as_colour(truth, batch)))
        total = torch.cat(distances).double()
        return (total.mean() if self.reduction == "mean" else total.sum()).item()

    def _as_colour(self, volume: torch.Tensor, slices: torch.Tensor) -> torch.Tensor:
        low, high = self.value_range
        images = volume[..., slices].movedim(-1, 0).to(self.device, torch.float32, copy=True)
        scaled = images.sub_(low).mul_(2.0 / (high - low)).sub_(1.0)
        return scaled[:, None].expand(-1, 3, -1, -1)


def _load_distance(network: str) -> torch.nn.Module:
    try:
        import lpips
        from torchvision import models
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        # A torchvision built for another torch fails with "operator torchvision::nms does not exist" (RuntimeError),
        # with an undefined symbol (OSError), or at a second import half initialised (AttributeError).
        raise ValueError(
            f"LPIPS needs the packages lpips and torchvision, and importing them failed: {error}. When torchvision is"
            " the cause it was built for another torch: install both from the same place (pip install torch"
            " torchvision), over a CPU-only torch also: pip install --no-deps torchvision==0.16.2. Or turn LPIPS off"
            " with network none."
        ) from error

    weights = getattr(models, _NETWORKS[network][0]).IMAGENET1K_V1
    try:
        with warnings.catch_warnings():
            # lpips asks torchvision for weights by a deprecated argument, and older torch warns about its torch.load.
            warnings.filterwarnings("ignore", category=UserWarning, module="torchvision.models")
            warnings.filterwarnings("ignore", category=FutureWarning, module="lpips")
            distance = lpips.LPIPS(net=network, verbose=False)
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        file_name = weights.url.rsplit("/", 1)[-1]
        folder = f"{torch.hub.get_dir()}/checkpoints"
        raise ValueError(
            f"The weights of LPIPS network '{network}' cannot be had: {error}. Download {weights.url} to"
            f" {folder}/{file_name}, or to hub/checkpoints/ in a folder that the environment variable TORCH_HOME names;"
            " or choose a network whose weights are there, or turn LPIPS off with network none."
        ) from error
    return distance.eval().requires_grad_(False)
