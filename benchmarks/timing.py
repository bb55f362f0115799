# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Timing variants of one computation against each other."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from tqdm import tqdm

from machine import MatrixProduct, seconds_of

__all__ = [
    "describe_products",
    "fraction_of_peak",
    "interleaved_seconds",
    "ratios",
    "summary",
]

Key = TypeVar("Key")

QUIET = 0.9  # least share of the processor at which a result counts


def interleaved_seconds(
    variants: Mapping[Key, Callable[[], Any]], rounds: int, device: torch.device, *, warm_up: int = 1, title: str = ""
) -> dict[Key, list[float]]:
    """Time variants in turn, A B C A B C …, so that what else the machine does meets all of them alike.

    Args:
        variants: what to run, by name.
        rounds: how often each is timed.
        device: whose work is waited for.
        warm_up: rounds before these that are not counted.
        title: of the progress bar.

    Returns:
        name → seconds in each round.
    """
    seconds: dict[Key, list[float]] = {name: [] for name in variants}
    with tqdm(total=(warm_up + rounds) * len(variants), desc=title, unit="run") as bar:
        for turn in range(warm_up + rounds):
            for name, run in variants.items():
                taken = seconds_of(run, device)
                if turn >= warm_up:
                    seconds[name].append(taken)
                bar.update()
    return seconds


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """Return median, least and most of one variant's seconds."""
    return {"seconds": statistics.median(seconds), "min": min(seconds), "max": max(seconds)}


def fraction_of_peak(gmacs: float, seconds: Sequence[float], peak_gmacs: float, peak_seconds: Sequence[float]) -> float:
    """Return the rate of a variant in units of that of a matrix product: the median of the rounds' fractions."""
    rounds = zip(seconds, peak_seconds, strict=True)
    return statistics.median((gmacs / taken) / (peak_gmacs / peak) for taken, peak in rounds)


def describe_products(
    products: Mapping[str, MatrixProduct], seconds: Mapping[str, Sequence[float]]
) -> dict[str, dict[str, Any]]:
    """Return what a results file says of the matrix products, and warn where the machine was not quiet."""
    described = {}
    for name, product in products.items():
        share = product.processor_share
        described[name] = {
            "size": product.size,
            "gflops": 2 * product.gmacs / statistics.median(seconds[name]),
            **summary(seconds[name]),
            "processor_share": share,
        }
        if share is not None and share < QUIET:
            print(
                f"WARNING: the machine was not quiet: matrix products in {name} got {share:.0%} of their threads' time."
                " Ratios and fractions of peak are not to be trusted; stop what else runs and repeat."
            )
    return described


def ratios(baseline: Sequence[float], variant: Sequence[float]) -> float:
    """Return how many times as fast as the baseline a variant is: the median of the rounds' ratios."""
    return statistics.median(slow / fast for slow, fast in zip(baseline, variant, strict=True))
