# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What was computed on, in words."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

__all__ = ["describe_machine"]


def describe_machine(device: str, packages: Sequence[str] = ("torch", "monai")) -> str:
    """Return processor or GPU, its number of cores, and the versions of Python and of ``packages``."""
    parts = [_processor()] if device == "cpu" else [torch.cuda.get_device_name()]
    if device == "cpu":
        parts.append(f"{os.cpu_count()} cores")
    parts.append(f"Python {platform.python_version()}")
    for package in packages:
        try:
            parts.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            parts.append(f"{package} absent")
    return ", ".join(parts)


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()
