# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The classifier of the paper's experiments: MONAI's ResNet-18, which takes images, M_d maps, or both as channels.

Pretrained weights are those of MedicalNet (Chen et al., "Med3D: Transfer Learning for 3D Medical Image Analysis",
arXiv:1904.00625), a 3D network with one input channel; its first convolution is widened to the number of input
channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from monai.networks.layers.factories import Pool
from monai.networks.nets import resnet18
from monai.networks.nets.resnet import ResNetBlock, get_pretrained_resnet_medicalnet
from torch import nn

__all__ = ["PaddedShortcut", "build_classifier"]

#: Layers of a checkpoint that belong to the task it was trained for: MONAI's classifier and MedicalNet's segmentation.
_HEADS = ("fc.", "conv_seg.")


class PaddedShortcut(nn.Module):
    """The shortcut without parameters of a residual block that changes size: every ``stride``-th voxel, zero channels.

    He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, option A. It computes what MONAI's
    ``shortcut_type="A"`` does, which is a bound method: that cannot be scripted, and it lets no gradient through.

    Args:
        spatial_dims: 2 or 3.
        stride: of the residual block.
        added_channels: number of channels of zeros to append.
    """

    def __init__(self, spatial_dims: int, stride: int, added_channels: int) -> None:
        super().__init__()
        self.pool = Pool[Pool.AVG, spatial_dims](kernel_size=1, stride=stride)
        self.padding = [0, 0] * spatial_dims + [0, added_channels]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return ``[B, C + added_channels, *spatial / stride]`` of ``[B, C, *spatial]``, sizes rounded up."""
        return nn.functional.pad(self.pool(image), self.padding)


def build_classifier(
    spatial_dims: int,
    in_channels: int,
    num_classes: int = 1,
    pretrained: str | Path | None = None,
    shortcut_type: Literal["A", "B"] = "B",
    first_stride: int = 2,
    widen_factor: float = 1.0,
) -> nn.Module:
    """Build a ResNet-18 that gives logits ``[B, num_classes]`` of an image ``[B, in_channels, *spatial]``.

    Both shortcut types can be scripted and exported: MONAI's type "A", which cannot, is replaced by
    :class:`PaddedShortcut`, with the same outputs and the same names of weights.

    Args:
        spatial_dims: 2 or 3.
        in_channels: number of channels: of the images, of their imaging-differentiation maps, or of both.
        num_classes: 1 for a binary task (one logit: the log-odds of class 1), else the number of classes, 3 or more.
        pretrained: file of MedicalNet's ``resnet_18.pth`` or ``resnet_18_23dataset.pth``; ``"medicalnet"`` for MONAI's
            download of it, which needs the package ``huggingface_hub``; or ``None`` for random weights.
        shortcut_type: "B" (convolution and normalisation) or "A" (without parameters). MedicalNet's ResNet-18 has "A".
        first_stride: of the first convolution. 2, as in MedicalNet and in the ResNet of images; MONAI's default is 1,
            with eight (in 3D) times the work.
        widen_factor: scales the number of channels of every layer, for small networks. MedicalNet has 1.

    Returns:
        MONAI's ``ResNet``; its last layer is random also when pretrained.

    Raises:
        FileNotFoundError: when there is no file ``pretrained``.
        ValueError: for other dimensions, classes or shortcuts, and when the pretrained weights are asked for in 2D or
            with shortcut type "B", cannot be read or downloaded, or do not fit.
    """
    if spatial_dims not in (2, 3):
        raise ValueError(f"spatial_dims is {spatial_dims}; a classifier has 2 or 3.")
    if num_classes < 1 or num_classes == 2:
        raise ValueError(f"num_classes is {num_classes}; give 1 for a binary task (one logit), or 3 or more classes.")
    if shortcut_type not in ("A", "B"):
        raise ValueError(f"shortcut_type is {shortcut_type!r}; choose 'A' (MedicalNet) or 'B'.")
    if pretrained is not None and (spatial_dims != 3 or shortcut_type != "A"):
        raise ValueError(
            f"MedicalNet's ResNet-18 has spatial_dims 3 and shortcut_type 'A', not {spatial_dims} and "
            f"'{shortcut_type}'; set these, or leave out pretrained."
        )
    network = resnet18(
        spatial_dims=spatial_dims,
        n_input_channels=in_channels,
        num_classes=num_classes,
        shortcut_type=shortcut_type,
        conv1_t_stride=first_stride,
        widen_factor=widen_factor,
    )
    for block in network.modules():
        if isinstance(block, ResNetBlock) and isinstance(block.downsample, partial):
            added = block.conv2.out_channels - block.conv1.in_channels
            block.downsample = PaddedShortcut(spatial_dims, block.stride, added)
    if pretrained is not None:
        _load_medicalnet(network, pretrained)
    return network


def _load_medicalnet(network: nn.Module, source: str | Path) -> None:
    """Load MedicalNet's weights into all of ``network`` but its last layer."""
    stored = _read_medicalnet(source)
    weights = {name.removeprefix("module."): tensor for name, tensor in stored.items()}
    weights = {name: tensor for name, tensor in weights.items() if not name.startswith(_HEADS)}
    expected = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith(_HEADS)}
    first = weights.get("conv1.weight")
    if first is not None and first.ndim == 5 and first.shape[1] == 1:
        # Divided by the number of channels: equal ones give the response of the single one, whose scale is kept.
        in_channels = expected["conv1.weight"].shape[1]
        weights["conv1.weight"] = first.expand(-1, in_channels, -1, -1, -1) / in_channels
    for name in expected:
        # Older versions of torch, in which MedicalNet was trained, did not count the batches.
        if name.endswith("num_batches_tracked"):
            weights.setdefault(name, torch.zeros((), dtype=torch.long))
    found, wanted = ({name: tuple(tensor.shape) for name, tensor in of.items()} for of in (weights, expected))
    differences = [
        f"{name} has shape {found.get(name, 'none')} instead of {wanted.get(name, 'none')}"
        for name in wanted | found
        if found.get(name) != wanted.get(name)
    ]
    if differences:
        shown = "; ".join(differences[:4]) + (f"; and {len(differences) - 4} more" if len(differences) > 4 else "")
        raise ValueError(f"{source} does not hold the weights of MedicalNet's ResNet-18 ({shown}); give resnet_18.pth.")
    network.load_state_dict(weights, strict=False)


def _read_medicalnet(source: str | Path) -> Mapping[str, torch.Tensor]:
    content: object
    if str(source) == "medicalnet":
        try:
            content = get_pretrained_resnet_medicalnet(18, device="cpu", datasets23=True)
        except Exception as error:  # whatever a missing package, a missing network or the server raise
            raise ValueError(
                f"MedicalNet's weights cannot be downloaded ({type(error).__name__}: {error}). Install huggingface_hub "
                "and check the connection, or give the path of a local resnet_18.pth as pretrained."
            ) from error
    else:
        if not Path(source).is_file():
            raise FileNotFoundError(
                f"There is no file of pretrained weights {source}; download resnet_18.pth of MedicalNet, or leave out "
                "pretrained."
            )
        try:
            content = torch.load(source, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file makes the unpickler raise nearly anything
            raise ValueError(f"{source} cannot be read as weights; it is truncated or of another kind.") from error
        if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
            content = content["state_dict"]
    if not isinstance(content, Mapping) or not content or not all(torch.is_tensor(v) for v in content.values()):
        raise ValueError(f"{source} holds no state dict of tensors; give MedicalNet's resnet_18.pth.")
    return content
