# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What each method costs: parameters, multiply-adds, seconds and memory, measured in processes of their own."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from seq2seq_studies.comparison.arithmetic import count_gmacs
from seq2seq_studies.comparison.completion import complete_volume
from seq2seq_studies.comparison.methods import SIZES
from seq2seq_studies.comparison.process import PeakMemory, in_fresh_process
from seq2seq_studies.comparison.recipes import build_recipe
from seq2seq_studies.comparison.training import training_step

__all__ = ["CostMeasurement", "measure_costs", "measure_inference", "measure_training"]

_ROUNDS = 3
GIBIBYTE = 2**30


@dataclass(frozen=True)
class CostMeasurement:
    """What is to be measured, on random images.

    Attributes:
        method: key of ``METHODS``.
        size: key of ``SIZES``.
        sequences: the sequence table.
        slices: adjacent slices that a network is given.
        patch: width and height of the patches to train on.
        batch: patches of a training step.
        volume: shape of the volume that is completed.
        slice_batch_size: slices that are completed together.
        device: ``cpu`` or ``cuda``.
    """

    method: str
    size: str
    sequences: dict[str, int]
    slices: int
    patch: tuple[int, int]
    batch: int
    volume: tuple[int, int, int]
    slice_batch_size: int
    device: str


def measure_costs(measurement: CostMeasurement) -> dict[str, float | None]:
    """Measure in a new process, which has no memory of anything before; see the two functions below."""
    return in_fresh_process(_measure_both, measurement)


def _measure_both(measurement: CostMeasurement) -> dict[str, float | None]:
    return measure_inference(measurement) | measure_training(measurement)


def measure_training(measurement: CostMeasurement) -> dict[str, float | None]:
    """Measure training steps in this process.

    Returns:
        ``parameters`` of the network (of all networks of Pix2Pix), ``discriminator_parameters``; per step
        ``training_gmacs`` and ``training_seconds`` (median); ``training_gib``, the greatest memory with weights,
        gradients and Adam's moments, over what Python and the libraries hold.
    """
    device, recipe = torch.device(measurement.device), _recipe(measurement)
    count = len(measurement.sequences)
    channels = sum(measurement.sequences.values())
    image = torch.rand(measurement.batch, channels, *measurement.patch, measurement.slices, device=device)
    measured = torch.ones(measurement.batch, count, dtype=torch.bool, device=device)
    rate = SIZES[measurement.size].learning_rate
    modules: dict[str, Any] = {"network": recipe.network, "discriminator": recipe.discriminator}
    modules = {name: module for name, module in modules.items() if module is not None}
    optimizers: dict[str, torch.optim.Optimizer] = {
        name: torch.optim.Adam(module.parameters(), lr=rate, betas=recipe.betas) for name, module in modules.items()
    }
    steps = iter(range(10**6))

    def run() -> None:
        training_step(recipe, optimizers, image, measured, next(steps))

    weights = {name: sum(weight.nbytes for weight in module.parameters()) for name, module in modules.items()}
    recipe.network.train()
    with PeakMemory(device) as memory:
        for _ in range(_ROUNDS):
            run()
    return {
        "parameters": _parameters(recipe.network),
        "discriminator_parameters": _parameters(recipe.discriminator) if recipe.discriminator is not None else 0,
        "training_seconds": _median_seconds(run, device),
        "training_gmacs": count_gmacs(run),
        "training_gib": None if memory.over is None else (memory.over + sum(weights.values())) / GIBIBYTE,
    }


def measure_inference(measurement: CostMeasurement) -> dict[str, float | None]:
    """Measure the completion of a subject that lacks one sequence, in this process.

    Returns:
        ``inference_gmacs`` of one slice with one sequence missing, ``inference_gmacs_one_source`` of one that has a
        single sequence; ``inference_seconds`` of a volume with one sequence missing (median); ``inference_gib``, the
        greatest memory with weights, over what Python and the libraries hold.
    """
    device, network = torch.device(measurement.device), _recipe(measurement).network.eval()
    names = list(measurement.sequences)
    volume = torch.rand(sum(measurement.sequences.values()), *measurement.volume)
    weights = sum(weight.nbytes for weight in network.parameters())

    def run() -> None:
        complete_volume(network, volume, names[:-1], measurement.slice_batch_size)

    with PeakMemory(device) as memory:
        run()
    single = volume[..., :1]
    return {
        "inference_seconds": _median_seconds(run, device),
        "inference_gmacs": count_gmacs(lambda: _without_inference_mode(network, single, len(names) - 1)),
        "inference_gmacs_one_source": count_gmacs(lambda: _without_inference_mode(network, single, 1)),
        "inference_gib": None if memory.over is None else (memory.over + weights) / GIBIBYTE,
    }


def _recipe(measurement: CostMeasurement) -> Any:
    recipe = build_recipe(
        measurement.method, measurement.size, measurement.sequences, measurement.slices, measurement.patch, steps=1
    )
    return recipe.to(torch.device(measurement.device))


@torch.no_grad()
def _without_inference_mode(network: Any, volume: torch.Tensor, given: int) -> None:
    """Complete one slice; the counter of operations does not see those of torch's inference mode."""
    device = next(network.parameters()).device
    stack = volume.movedim(-1, 0)[:, :, None].expand(-1, -1, network.in_channels, -1, -1).to(device)
    available = torch.arange(len(network.sequences), device=device)[None] < given
    network(stack, available)


def _parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _median_seconds(run: Callable[[], None], device: torch.device) -> float:
    taken = []
    for _ in range(_ROUNDS):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        started = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)
