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

from seq2seq_mri.evaluation.image_quality.image_quality import check_volume_pair

__all__ = ["LPIPSNetwork", "SliceLPIPS"]

LPIPSNetwork = Literal["alex", "vgg", "squeeze", "none"]

# For each network: torchvision's weights, and the smallest slice that its poolings leave something of.
_NETWORKS = {
    "alex": ("AlexNet_Weights", 31),
    "vgg": ("VGG16_Weights", 16),
    "squeeze": ("SqueezeNet1_1_Weights", 17),
}
_SLICES_AT_ONCE = 16


class SliceLPIPS:
    """Learned perceptual image patch similarity of two volumes; lower is closer, 0 is identical.

    Each axial slice (last axis) that holds foreground is scaled from [0, 1] to [-1, 1], repeated to the three channels
    that the networks expect, and compared; the result is the mean over these slices, and over timepoints.

    Args:
        network: ``"alex"`` (the LPIPS authors' choice for measuring), ``"vgg"``, ``"squeeze"`` (5 MB of weights), or
            ``"none"``, which builds nothing and gives NaN for every pair. Numbers of different networks cannot be
            compared.
        reduction: ``"mean"`` over slices, or ``"sum"`` as in the paper's released code.
        device: where the network runs.

    Raises:
        ValueError: when an argument is unknown, torchvision or lpips cannot be imported, or the network's weights are
            neither on this machine nor downloadable; the message says where they belong.
    """

    def __init__(
        self,
        network: LPIPSNetwork = "alex",
        reduction: Literal["mean", "sum"] = "mean",
        device: str | torch.device = "cpu",
    ) -> None:
        if network not in get_args(LPIPSNetwork):
            raise ValueError(f"Unknown LPIPS network {network!r}; choose one of {', '.join(get_args(LPIPSNetwork))}.")
        if reduction not in ("mean", "sum"):
            raise ValueError(f"Unknown LPIPS reduction {reduction!r}; choose mean or sum.")
        self.network = network
        self.reduction = reduction
        self.device = torch.device(device)
        self.distance = None if network == "none" else _load_distance(network).to(self.device)

    def __call__(
        self,
        prediction: ArrayLike | torch.Tensor,
        truth: ArrayLike | torch.Tensor,
        foreground: ArrayLike | torch.Tensor,
    ) -> float:
        """Compare two volumes.

        Args:
            prediction, truth, foreground: as :func:`image_quality` takes them, of three axes at least and in [0, 1];
                slices without foreground are left out.

        Returns:
            The distance, at least 0; NaN when the network is ``"none"``.

        Raises:
            ValueError: when shapes differ, the foreground is empty, an image has NaN or infinite values, or the slices
                are too small for the network.
        """
        if self.distance is None:
            return math.nan
        predictions, truths, masks = check_volume_pair(prediction, truth, foreground)
        smallest = _NETWORKS[self.network][1]
        if min(truths.shape[1:3]) < smallest:
            raise ValueError(
                f"Slices of {truths.shape[1]} x {truths.shape[2]} are too small for LPIPS with network"
                f" '{self.network}', which needs {smallest} x {smallest}; choose another network, or none."
            )
        images = zip(predictions, truths, masks, strict=True)
        timepoints = [self._one_timepoint(self.distance, *one) for one in images]
        return math.fsum(timepoints) / len(timepoints)

    @torch.inference_mode()
    def _one_timepoint(
        self, distance: torch.nn.Module, prediction: torch.Tensor, truth: torch.Tensor, foreground: torch.Tensor
    ) -> float:
        slices = foreground.any(dim=0).any(dim=0).nonzero()[:, 0]
        images = [
            volume[..., slices].movedim(-1, 0)[:, None].to(self.device, torch.float32) for volume in (prediction, truth)
        ]
        batches = zip(*(image.split(_SLICES_AT_ONCE) for image in images), strict=True)
        distances = [distance(*(batch.expand(-1, 3, -1, -1) for batch in pair), normalize=True) for pair in batches]
        total = torch.cat(distances).double()
        return (total.mean() if self.reduction == "mean" else total.sum()).item()


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
