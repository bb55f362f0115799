# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What each term of a training step costs."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from ignite.engine import Engine, Events
from ignite.handlers import EMAHandler
from tqdm import tqdm

from machine import seconds_of, synchronize

if TYPE_CHECKING:
    from training import OurStep

__all__ = ["step_costs"]

EMA_MOMENTUM = 0.002


def step_costs(step: OurStep, rounds: int, device: torch.device, title: str = "") -> dict[str, float]:
    """Return the median seconds of each term of a step, and of what is left.

    Encoding, unrolling and decoding include those of the cycle term; its share of them is the difference of a run with
    it. The moving average of the weights, which the trainer keeps after each step, is timed by itself.

    Args:
        step: it has been made before.
        rounds: number of steps.
        device: whose work is waited for after each term.
        title: of the progress bar.

    Returns:
        term → seconds.
    """
    terms: dict[str, tuple[Any, str]] = {
        "encode": (step.network, "encode"),
        "unroll": (step.network, "unroll"),
        "decode": (step.network, "decode"),
        "reconstruction": (step.loss, "reconstruction"),
        "backward": (step, "backward"),
        "optimizer": (step.optimizer, "step"),
    }
    if step.loss.perceptual is not None:
        terms["perceptual"] = (step.loss.perceptual, "forward")
    costs: dict[str, list[float]] = defaultdict(list)
    average = _moving_average(step.network)
    for _ in tqdm(range(rounds), desc=f"Cost of terms, {title}", unit="step"):
        with _timed(terms, device) as spent:
            whole = seconds_of(step, device)
        for name in terms:
            costs[name].append(spent[name])
        costs["rest"].append(whole - sum(spent.values()))
        costs["moving average"].append(seconds_of(average, device))
    return {name: statistics.median(seconds) for name, seconds in costs.items()}


@contextmanager
def _timed(terms: dict[str, tuple[Any, str]], device: torch.device) -> Iterator[dict[str, float]]:
    """Time every call of the methods within the block."""
    spent = dict.fromkeys(terms, 0.0)

    def timed(name: str, method: Callable) -> Callable:
        def call(*arguments: Any, **options: Any) -> Any:
            synchronize(device)
            start = time.perf_counter()
            result = method(*arguments, **options)
            synchronize(device)
            spent[name] += time.perf_counter() - start
            return result

        return call

    for name, (owner, method) in terms.items():
        setattr(owner, method, timed(name, getattr(owner, method)))
    try:
        yield spent
    finally:
        for owner, method in terms.values():
            delattr(owner, method)  # what was set on the object; the class has its own


def _moving_average(network: torch.nn.Module) -> Callable[[], Any]:
    """Return what updates the moving average once, as in training."""
    engine = Engine(lambda engine, batch: None)
    EMAHandler(network, momentum=EMA_MOMENTUM).attach(engine, event=Events.ITERATION_COMPLETED)
    return lambda: engine.run([0], max_epochs=1)
