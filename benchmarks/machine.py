# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What the benchmarks ran on, and matrix products, which show how fast it can be."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

__all__ = [
    "DTYPES",
    "MatrixProduct",
    "checked_device",
    "describe_machine",
    "machine_name",
    "matrix_products",
    "seconds_of",
    "synchronize",
]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

# Instruction sets that decide how fast a convolution can be.
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")

TRIALS = 3


def checked_device(device: str) -> torch.device:
    """Return ``"cpu"`` or ``"cuda"`` as a device.

    Raises:
        ValueError: when it is neither, or torch cannot use it here.
    """
    if device not in ("cpu", "cuda"):
        raise ValueError(f"device is {device!r}; give cpu or cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is 'cuda', but torch finds no GPU here; check torch.cuda.is_available().")
    return torch.device(device)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was asked to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(run: Callable[[], Any], device: torch.device) -> float:
    """Return how long ``run`` takes, the device's work included."""
    synchronize(device)
    start = time.perf_counter()
    run()
    synchronize(device)
    return time.perf_counter() - start


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Return processor, versions and settings that the results depend on; no names of hosts or users."""
    cpu = _cpu_facts()
    facts: dict[str, Any] = {
        "date": date.today().isoformat(),
        "cpu": cpu.get("model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "instructions": [name for name in INSTRUCTIONS if name in cpu.get("flags", "").split()],
        "threads": torch.get_num_threads(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts |= {
            "gpu": properties.name,
            "gpu_memory_gib": round(properties.total_memory / 2**30, 1),
            "cuda": torch.version.cuda,
            "convolutions_use_tf32": torch.backends.cudnn.allow_tf32,
        }
    return facts


def machine_name(device: torch.device) -> str:
    """Return a name for files: the GPU's, or the processor's with the number of threads."""
    facts = describe_machine(device)
    name = facts["gpu"] if device.type == "cuda" else f"{facts['cpu']} {facts['threads']} threads"
    name = re.sub(r"\((r|tm|c)\)|@.*?hz|\bcpu\b|\bprocessor\b", " ", name.lower())
    return re.sub(r"[^a-z0-9.]+", "-", name).strip("-.")


def matrix_products(device: torch.device, quick: bool = False) -> dict[str, MatrixProduct]:
    """Return, for each type, the product of square matrices that reaches the most operations per second here.

    Sizes of 2048, 3072 and 4096 (on a GPU 4096 and 8192) are tried. How fast it is has to be measured in turn with what
    it is compared with: on a machine that others use, or that slows down when it is warm, a peak measured before or
    after says little.

    Args:
        device: where to compute. On a GPU, float32 matrices are multiplied as convolutions are: in TF32 where cuDNN
            may.
        quick: only to try the programs, matrices of 256.
    """
    sizes: Sequence[int] = (4096, 8192) if device.type == "cuda" else (2048, 3072, 4096)
    if quick:
        sizes = (256,)
    best: dict[str, MatrixProduct] = {}
    with tqdm(total=len(DTYPES) * len(sizes), desc="Matrix product", unit="size") as bar:
        for name, dtype in DTYPES.items():
            rates: dict[int, float] = {}
            for size in sizes:
                product = MatrixProduct(device, dtype, size)
                product()
                rates[size] = product.gmacs / min(seconds_of(product, device) for _ in range(TRIALS))
                bar.update()
            best[name] = MatrixProduct(device, dtype, max(rates, key=lambda size: rates[size]))
    return best


class MatrixProduct:
    """A product of two square matrices.

    Args:
        device: where to compute.
        dtype: type of the matrices.
        size: their rows and columns.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype, size: int) -> None:
        self.size = size
        self.gmacs = size**3 / 1e9
        self.left, self.right = (torch.rand(size, size, device=device).to(dtype) for _ in range(2))
        self.result = torch.empty_like(self.left)
        self._processor_seconds = 0.0
        self._seconds = 0.0

    def __call__(self) -> None:
        start, processor_start = time.perf_counter(), time.process_time()
        with _tf32_as_convolutions():
            torch.mm(self.left, self.right, out=self.result)
        self._seconds += time.perf_counter() - start
        self._processor_seconds += time.process_time() - processor_start

    @property
    def processor_share(self) -> float | None:
        """What share of its threads' time this process got in all products so far; None on a GPU.

        On a quiet machine it is near 1. Where other processes compute, convolutions lose far more than products do,
        because their threads wait for each other more often: neither ratios nor fractions mean anything then.
        """
        if self.left.device.type != "cpu" or self._seconds == 0:
            return None
        return self._processor_seconds / (self._seconds * torch.get_num_threads())


@contextmanager
def _tf32_as_convolutions() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def _cpu_facts() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return {}
    first = path.read_text().split("\n\n")[0]
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}
