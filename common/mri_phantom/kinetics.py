# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The concentration of contrast agent in blood and in tissue over time: pharmacokinetics of dynamic MRI."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from scipy.special import exprel

__all__ = ["extended_tofts", "population_arterial_input"]

_HAEMATOCRIT = 0.42

#: Longest step of the integration, minutes: an eleventh of the width of the first pass of the bolus.
_STEP = 0.005


def population_arterial_input(times: np.ndarray) -> np.ndarray:
    """Return C_p, mmol/L, the concentration of contrast agent in arterial plasma after a standard dose (0.1 mmol/kg).

    The mean of a population by Parker et al., Magnetic Resonance in Medicine 56:993, 2006: two Gaussians for the
    first pass and the recirculation of the bolus, and an exponential times a sigmoid for the rest,

    C_b(t) = Σ_n A_n / (σ_n √(2π)) exp(−(t − T_n)² / (2 σ_n²)) + α exp(−β t) / (1 + exp(−s (t − τ))),

    in whole blood; plasma holds all of it, C_p = C_b / (1 − 0.42). ``times`` are minutes after the bolus arrives, of
    any shape; before, it is 0.
    """
    times = np.asarray(times, dtype=float)
    after = np.maximum(times, 0.0)
    blood = 1.050 * np.exp(-0.1685 * after) / (1 + np.exp(-38.078 * (after - 0.483)))
    for area, centre, width in ((0.809, 0.17046, 0.0563), (0.330, 0.365, 0.132)):
        blood += area / (width * np.sqrt(2 * np.pi)) * np.exp(-((after - centre) ** 2) / (2 * width**2))
    return np.where(times >= 0, blood / (1 - _HAEMATOCRIT), 0.0)


def extended_tofts(
    times: Sequence[float] | np.ndarray,
    ktrans: np.ndarray | float,
    ve: np.ndarray | float,
    vp: np.ndarray | float,
    *,
    arrival: float = 0.0,
    arterial_input: Callable[[np.ndarray], np.ndarray] = population_arterial_input,
) -> np.ndarray:
    """Return the concentration of contrast agent in tissue by the extended Tofts model.

    C(t) = v_p C_p(t) + K_trans ∫₀ᵗ C_p(s) exp(−(K_trans / v_e) (t − s)) ds, with t from the bolus' arrival (Tofts et
    al., Journal of Magnetic Resonance Imaging 10:223, 1999). The integral is exact for the arterial input
    interpolated linearly between points at most 0.3 s apart, however fast the exchange. Equal rates K_trans / v_e
    are integrated once: millions of voxels of a few tissues cost no more than these tissues.

    Args:
        times: ``[T]``, minutes, increasing.
        ktrans: K_trans, 1/min, at least 0, broadcast against the others to some shape.
        ve: v_e, at least 0. Where it is 0 there is no space to leak into, and the second term is 0.
        vp: v_p, at least 0.
        arrival: when the bolus arrives, minutes, on the scale of ``times``.
        arterial_input: returns C_p, mmol/L, at an array of minutes after the arrival.

    Returns:
        C in mmol/L, ``[T, *shape]``; 0 before the arrival.

    Example:
        >>> extended_tofts([0.0, 2.0], 0.0, 0.3, [0.0, 0.1], arrival=1.0, arterial_input=np.ones_like)
        array([[0. , 0. ],
               [0. , 0.1]])
    """
    times = np.asarray(times, dtype=float)
    ktrans, ve, vp = np.broadcast_arrays(*(np.asarray(value, dtype=float) for value in (ktrans, ve, vp)))
    exchanging = ve > 0
    rate = np.divide(ktrans, ve, out=np.zeros(ktrans.shape), where=exchanging)
    rates, place = np.unique(rate, return_inverse=True)
    elapsed = np.maximum(times - arrival, 0.0)
    leaked = _decaying_integral(elapsed, rates, arterial_input)[:, place.reshape(rate.shape)]

    shape = (-1, *(1,) * rate.ndim)
    plasma = np.where(times >= arrival, arterial_input(elapsed), 0.0).reshape(shape)
    return vp * plasma + np.where(exchanging, ktrans, 0.0) * leaked


def _decaying_integral(
    times: np.ndarray, rates: np.ndarray, arterial_input: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Return ∫₀ᵗ C_p(s) exp(−rate (t − s)) ds, ``[T, number of rates]``, at times that do not decrease, from 0."""
    results = np.zeros((len(times), len(rates)))
    integral, before = np.zeros(len(rates)), 0.0
    for index, time in enumerate(times):
        if time > before:
            steps = int(np.ceil((time - before) / _STEP))
            step = (time - before) / steps
            plasma = arterial_input(np.linspace(before, time, steps + 1))
            decay = np.exp(-rates * step)
            first, last = _weights_of_a_step(rates * step, step)
            for left, right in pairwise(plasma):
                integral = integral * decay + (left * first + right * last)
            before = float(time)
        results[index] = integral
    return results


def _weights_of_a_step(x: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights of the two ends of a linear piece in ∫₀ʰ C_p(s) exp(−rate (h − s)) ds, with x = rate h."""
    whole = exprel(-x)
    # the closed form loses all digits at a slow exchange, where a series serves
    slow = x < 0.01
    series = 1 / 2 - x / 6 + x**2 / 24 - x**3 / 120 + x**4 / 720
    last = np.where(slow, series, (1 - whole) / np.where(slow, 1.0, x))
    return step * (whole - last), step * last
