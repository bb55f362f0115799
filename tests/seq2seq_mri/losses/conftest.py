# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def vgg19_state() -> dict[str, torch.Tensor]:
    """Random weights of VGG19's convolutions under torchvision's names, written from the published configuration."""
    generator = torch.Generator().manual_seed(0)
    widths = [64, 64, "pool", 128, 128, "pool", *[256] * 4, "pool", *[512] * 4, "pool", *[512] * 4, "pool"]
    state, channels, index = {}, 3, 0
    for width in widths:
        if width == "pool":
            index += 1
            continue
        weight = torch.randn(width, channels, 3, 3, generator=generator) * (2 / (9 * channels)) ** 0.5
        state[f"features.{index}.weight"] = weight
        state[f"features.{index}.bias"] = 0.1 * torch.randn(width, generator=generator)
        channels, index = width, index + 2
    state["classifier.0.bias"] = torch.zeros(4096)
    return state


@pytest.fixture(scope="session")
def vgg19_file(vgg19_state: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vgg19") / "vgg19.pth"
    torch.save(vgg19_state, path)
    return path
