# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""How far what a GPU computes may be from what the CPU computes in float32 with the same weights.

Float32 without TF32 differs by the order of sums only. bfloat16 has eight bits: after the layers of a network an output
is right to some percent, and a gradient, which has passed them twice, to tens of percent. Of gradients those of kernels
and matrices are compared: that of a bias before a normalisation is 0, and what is computed is rounding alone.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from seq2seq_mri.training.trainer import autocast

#: Largest error of an image, ‖found - expected‖ / ‖expected‖, by the type that was computed in.
IMAGE = {None: 1e-3, "bfloat16": 0.1}
#: The same of the gradients of all kernels together; two that have nothing in common differ by 1 and more. In float32,
#: a value at the edge of a ReLU that falls to its other side changes a gradient by up to a percent.
GRADIENT = {None: 2e-2, "bfloat16": 0.5}


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Return ‖found - expected‖ / ‖expected‖; NaN where either has one, which no bound lets pass."""
    found, expected = found.detach().double().cpu(), expected.detach().double().cpu()
    assert found.shape == expected.shape
    return float((found - expected).norm() / expected.norm())


def gradients(module: nn.Module) -> torch.Tensor:
    """Return the gradients of a module's kernels and matrices, end to end; NaN where any gradient is not finite."""
    found = [parameter.grad.float().cpu() for parameter in module.parameters() if parameter.grad is not None]
    is_finite = all(bool(gradient.isfinite().all()) for gradient in found)
    kernels = torch.cat([gradient.flatten() for gradient in found if gradient.dim() > 1])
    return kernels if is_finite else kernels * float("nan")


def forward_and_backward(
    network: nn.Module, inputs: Sequence[Any], device: torch.device, dtype: str | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run a copy of the network on a device; returns its output, and its gradients for a squared error."""
    network = copy.deepcopy(network).to(device)
    given = [value.to(device) if isinstance(value, torch.Tensor) else value for value in inputs]
    with autocast(device, dtype):
        output = network(*given)
    (output.float() - 0.25).square().sum().backward()
    return output, gradients(network)


@contextmanager
def no_waiting(device: torch.device) -> Iterator[None]:
    """Have torch refuse every operation that would wait for the GPU."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
