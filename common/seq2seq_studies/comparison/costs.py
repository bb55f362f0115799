# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Parameters, multiply-adds, seconds and memory of each method's training step and inference, on random images."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count

import torch
from torch import nn

from seq2seq_studies.comparison.comparison_settings import ComparisonSettings
from seq2seq_studies.comparison.completion import complete_volume
from seq2seq_studies.comparison.methods import LEARNING_RATES
from seq2seq_studies.comparison.recipes import Recipe, build_recipe
from seq2seq_studies.comparison.resources import PeakMemory, count_gmacs
from seq2seq_studies.comparison.training import training_step
from seq2seq_studies.networks.many_to_many import ManyToMany

__all__ = ["measure_costs", "measure_inference", "measure_training"]

_ROUNDS = 3


def measure_costs(
    settings: ComparisonSettings, method: str, sequences: Mapping[str, int], volume: Sequence[int]
) -> dict[str, float | None]:
    """Measure a method, see the two functions below; call it in a new process, which holds nothing from before."""
    return measure_inference(settings, method, sequences, volume) | measure_training(settings, method, sequences)


def measure_training(
    settings: ComparisonSettings, method: str, sequences: Mapping[str, int]
) -> dict[str, float | None]:
    """Measure training steps in this process.

    Returns:
        ``parameters`` of the network (of all networks of Pix2Pix), ``discriminator_parameters``; per step
        ``training_gmacs`` and ``training_seconds`` (median); ``training_gib``, the greatest memory with weights,
        gradients and Adam's moments, over what Python and the libraries hold.
    """
    recipe, device = _recipe(settings, method, sequences)
    batch = settings.batch_size * settings.patches
    image = torch.rand(batch, sum(sequences.values()), *settings.slice_size, settings.slices, device=device)
    measured = torch.ones(batch, len(sequences), dtype=torch.bool, device=device)
    optimizers, steps = recipe.optimizers(LEARNING_RATES[settings.size]), count()

    def run() -> None:
        training_step(recipe, optimizers, image, measured, next(steps))

    recipe.network.train()
    with PeakMemory(device) as memory:
        for _ in range(_ROUNDS):
            run()
    sizes = {name: sum(weight.numel() for weight in module.parameters()) for name, module in recipe.modules.items()}
    return {
        "parameters": sizes["network"],
        "discriminator_parameters": sizes.get("discriminator", 0),
        "training_seconds": _median_seconds(run, device),
        "training_gmacs": count_gmacs(run),
        "training_gib": _gibibytes(memory, recipe.modules.values()),
    }


def measure_inference(
    settings: ComparisonSettings, method: str, sequences: Mapping[str, int], volume: Sequence[int]
) -> dict[str, float | None]:
    """Measure the completion of a subject of shape ``volume`` that lacks one sequence, in this process.

    Returns:
        ``inference_gmacs`` of one slice with one sequence missing, ``inference_gmacs_one_source`` of one that has a
        single sequence; ``inference_seconds`` of a volume with one sequence missing (median); ``inference_gib``, the
        greatest memory with weights, over what Python and the libraries hold.
    """
    recipe, device = _recipe(settings, method, sequences)
    network, names = recipe.network.eval(), list(sequences)
    image = torch.rand(sum(sequences.values()), *volume)

    def run() -> None:
        complete_volume(network, image, names[:-1], settings.slice_batch_size)

    with PeakMemory(device) as memory:
        run()
    single = image[..., :1]
    return {
        "inference_seconds": _median_seconds(run, device),
        "inference_gmacs": count_gmacs(lambda: _without_inference_mode(network, single, len(names) - 1)),
        "inference_gmacs_one_source": count_gmacs(lambda: _without_inference_mode(network, single, 1)),
        "inference_gib": _gibibytes(memory, [network]),
    }


def _recipe(settings: ComparisonSettings, method: str, sequences: Mapping[str, int]) -> tuple[Recipe, torch.device]:
    device = torch.device(settings.used_device)
    size = settings.slice_size
    return build_recipe(method, settings.size, sequences, settings.slices, size, steps=1).to(device), device


@torch.no_grad()
def _without_inference_mode(network: ManyToMany, volume: torch.Tensor, given: int) -> None:
    """Complete one slice; the counter of operations does not see those of torch's inference mode."""
    device = next(network.parameters()).device
    stack = volume.movedim(-1, 0)[:, :, None].expand(-1, -1, network.in_channels, -1, -1).to(device)
    network(stack, torch.arange(len(network.sequences), device=device)[None] < given)


def _gibibytes(memory: PeakMemory, modules: Iterable[nn.Module]) -> float | None:
    """Return the peak with the weights, which were held before."""
    held = sum(weight.nbytes for module in modules for weight in module.parameters())
    return None if memory.over is None else (memory.over + held) / 2**30


def _median_seconds(run: Callable[[], None], device: torch.device) -> float:
    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    taken = []
    for _ in range(_ROUNDS):
        started = now()
        run()
        taken.append(now() - started)
    return statistics.median(taken)
