# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Signal equations of MRI sequences, and the four of a brain tumour protocol.

Magnitudes of the steady-state transverse magnetisation at the echo, relative to the equilibrium magnetisation of
water. The equations are the textbook solutions of the Bloch equations for ideal pulses.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mri_phantom.tissue import Tissue

__all__ = [
    "brain_signals",
    "diffusion_weighted",
    "inversion_recovery",
    "relaxation_with_gadolinium",
    "spin_echo",
    "spoiled_gradient_echo",
    "t1gd_signal",
]

_T1_WEIGHTED = {"repetition_time": 400.0, "echo_time": 8.0}


def spin_echo(
    proton_density: np.ndarray | float,
    t1: np.ndarray | float,
    t2: np.ndarray | float,
    *,
    repetition_time: float,
    echo_time: float,
) -> np.ndarray:
    """Return the spin-echo signal ρ (1 − exp(−TR/T1)) exp(−TE/T2).

    Args:
        proton_density: ρ, relative to water.
        t1: longitudinal relaxation time, ms; broadcast against the other arrays.
        t2: transverse relaxation time, ms.
        repetition_time: TR, ms.
        echo_time: TE, ms.

    Returns:
        signal in [0, ρ].

    Example:
        >>> float(spin_echo(1.0, 1000.0, 100.0, repetition_time=1e9, echo_time=0.0))
        1.0
    """
    t1, t2 = np.asarray(t1, dtype=float), np.asarray(t2, dtype=float)
    return proton_density * (1 - np.exp(-repetition_time / t1)) * np.exp(-echo_time / t2)


def inversion_recovery(
    proton_density: np.ndarray | float,
    t1: np.ndarray | float,
    t2: np.ndarray | float,
    *,
    repetition_time: float,
    inversion_time: float,
    echo_time: float,
) -> np.ndarray:
    """Return the inversion-recovery spin-echo magnitude ρ |1 − 2 exp(−TI/T1) + exp(−TR/T1)| exp(−TE/T2).

    With TI chosen to null water (FLAIR) this shows prolonged T2 without cerebrospinal fluid.

    Args:
        proton_density: ρ, relative to water.
        t1: longitudinal relaxation time, ms; broadcast against the other arrays.
        t2: transverse relaxation time, ms.
        repetition_time: TR, ms.
        inversion_time: TI, ms.
        echo_time: TE, ms.

    Returns:
        signal in [0, ρ].
    """
    t1, t2 = np.asarray(t1, dtype=float), np.asarray(t2, dtype=float)
    recovered = 1 - 2 * np.exp(-inversion_time / t1) + np.exp(-repetition_time / t1)
    return proton_density * np.abs(recovered) * np.exp(-echo_time / t2)


def spoiled_gradient_echo(
    proton_density: np.ndarray | float,
    t1: np.ndarray | float,
    t2_star: np.ndarray | float,
    *,
    repetition_time: float,
    echo_time: float,
    flip_angle: float,
) -> np.ndarray:
    """Return the spoiled gradient-echo signal ρ sin α (1 − E) / (1 − E cos α) exp(−TE/T2*), with E = exp(−TR/T1).

    This is the steady state without any transverse magnetisation left at the next pulse; it is highest at the angle
    of Ernst & Anderson (Review of Scientific Instruments 37:93, 1966), cos α = E.

    Args:
        proton_density: ρ, relative to water.
        t1: longitudinal relaxation time, ms; broadcast against the other arrays.
        t2_star: apparent transverse relaxation time, ms.
        repetition_time: TR, ms.
        echo_time: TE, ms.
        flip_angle: α, degrees.

    Returns:
        signal in [0, ρ] for angles from 0 to 180°.
    """
    t1, t2_star = np.asarray(t1, dtype=float), np.asarray(t2_star, dtype=float)
    angle = np.deg2rad(flip_angle)
    kept = np.exp(-repetition_time / t1)
    steady = np.sin(angle) * (1 - kept) / (1 - kept * np.cos(angle))
    return proton_density * steady * np.exp(-echo_time / t2_star)


def diffusion_weighted(signal: np.ndarray | float, b_value: np.ndarray | float, adc: np.ndarray | float) -> np.ndarray:
    """Return the signal that mono-exponential diffusion leaves, S exp(−b ADC).

    Args:
        signal: S, without diffusion weighting; broadcast against the other arrays.
        b_value: b, s/mm².
        adc: apparent diffusion coefficient, 1e-3 mm²/s.

    Returns:
        signal in [0, S].
    """
    return np.asarray(signal) * np.exp(-np.asarray(b_value, dtype=float) * np.asarray(adc, dtype=float) / 1000)


def relaxation_with_gadolinium(
    t1: np.ndarray | float,
    t2: np.ndarray | float,
    concentration: np.ndarray | float,
    *,
    r1: float = 3.7,
    r2: float = 5.2,
) -> tuple[np.ndarray, np.ndarray]:
    """Return T1 and T2 shortened by a contrast agent: 1/T' = 1/T + r C.

    The default relaxivities are those of gadopentetate dimeglumine in plasma at 3 T and 37 °C (Rohrer et al.,
    Investigative Radiology 40:715, 2005).

    Args:
        t1: T1 without the agent, ms.
        t2: T2 without the agent, ms.
        concentration: C, mmol/L.
        r1: longitudinal relaxivity, L/(mmol s).
        r2: transverse relaxivity, L/(mmol s).

    Returns:
        T1 and T2 with the agent, ms.
    """
    t1, t2, concentration = (np.asarray(value, dtype=float) for value in (t1, t2, concentration))
    # 1/ms and L/(mmol s) differ by a factor of 1000
    return 1 / (1 / t1 + r1 * concentration / 1000), 1 / (1 / t2 + r2 * concentration / 1000)


def t1gd_signal(
    proton_density: np.ndarray | float,
    t1: np.ndarray | float,
    t2: np.ndarray | float,
    concentration: np.ndarray | float,
) -> np.ndarray:
    """Return the signal of T1Gd: that of T1 (spin echo, TR 400 ms, TE 8 ms) under a concentration of contrast agent.

    Args:
        proton_density: ρ, relative to water.
        t1: T1 without the agent, ms; broadcast against the other arrays.
        t2: T2 without the agent, ms.
        concentration: of gadolinium, mmol/L.

    Returns:
        signal in [0, ρ]. It saturates near 1 mmol/L, and falls slowly beyond 2 mmol/L, where T2 becomes short.
    """
    return spin_echo(proton_density, *relaxation_with_gadolinium(t1, t2, concentration), **_T1_WEIGHTED)


def brain_signals(tissues: Mapping[str, Tissue]) -> dict[str, np.ndarray]:
    """Return every tissue's noise-free signal in T1, T1Gd, T2 and FLAIR.

    T1 and T1Gd: spin echo, TR 400 ms, TE 8 ms. T2: spin echo, TR 4500 ms, TE 60 ms. FLAIR: inversion recovery,
    TR 9000 ms, TI 2500 ms, TE 140 ms.

    Args:
        tissues: name → parameters.

    Returns:
        sequence's name → signals ``[len(tissues)]`` in the order of ``tissues``.
    """
    density = np.array([tissue.proton_density for tissue in tissues.values()])
    t1 = np.array([tissue.t1 for tissue in tissues.values()])
    t2 = np.array([tissue.t2 for tissue in tissues.values()])
    concentration = np.array([tissue.gadolinium for tissue in tissues.values()])
    return {
        "t1": spin_echo(density, t1, t2, **_T1_WEIGHTED),
        "t1gd": t1gd_signal(density, t1, t2, concentration),
        "t2": spin_echo(density, t1, t2, repetition_time=4500, echo_time=60),
        "flair": inversion_recovery(density, t1, t2, repetition_time=9000, inversion_time=2500, echo_time=140),
    }
