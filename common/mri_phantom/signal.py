# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Signal equations of MRI sequences, and the protocols of brain and breast made of them.

Signals are magnitudes of the steady-state transverse magnetisation at the echo, relative to the equilibrium
magnetisation of water. The equations are the textbook solutions of the Bloch equations for ideal pulses. Proton
densities ρ are relative to water; T1, T2, TR (``repetition_time``), TE (``echo_time``) and TI (``inversion_time``) in
ms, flip angles α in degrees, concentrations in mmol/L. Arrays are broadcast against each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mri_phantom.kinetics import extended_tofts
from mri_phantom.tissue import Tissue, parameters

__all__ = [
    "brain_signals",
    "breast_signals",
    "inversion_recovery",
    "relaxation_with_gadolinium",
    "spin_echo",
    "spoiled_gradient_echo",
    "t1gd_signal",
]

Values = np.ndarray | float

_T1_WEIGHTED = {"repetition_time": 400.0, "echo_time": 8.0}
#: From the start of a frame of DCE to the centre of k-space, which sets the contrast, s: half of a frame of 60 s.
_FRAME_CENTRE = 30.0


def spin_echo(
    proton_density: Values, t1: Values, t2: Values, *, repetition_time: float, echo_time: float
) -> np.ndarray:
    """Return the spin-echo signal ρ (1 − exp(−TR/T1)) exp(−TE/T2), in [0, ρ].

    Example:
        >>> float(spin_echo(1.0, 1000.0, 100.0, repetition_time=1e9, echo_time=0.0))
        1.0
    """
    return proton_density * (1 - np.exp(-repetition_time / t1)) * np.exp(-echo_time / t2)


def inversion_recovery(
    proton_density: Values, t1: Values, t2: Values, *, repetition_time: float, inversion_time: float, echo_time: float
) -> np.ndarray:
    """Return the inversion-recovery spin-echo magnitude ρ |1 − 2 exp(−TI/T1) + exp(−TR/T1)| exp(−TE/T2), in [0, ρ].

    With TI chosen to null water (FLAIR) this shows prolonged T2 without cerebrospinal fluid.
    """
    recovered = 1 - 2 * np.exp(-inversion_time / t1) + np.exp(-repetition_time / t1)
    return proton_density * np.abs(recovered) * np.exp(-echo_time / t2)


def spoiled_gradient_echo(
    proton_density: Values, t1: Values, t2_star: Values, *, repetition_time: float, echo_time: float, flip_angle: float
) -> np.ndarray:
    """Return the spoiled gradient-echo signal ρ sin α (1 − E) / (1 − E cos α) exp(−TE/T2*), with E = exp(−TR/T1).

    This is the steady state without any transverse magnetisation left at the next pulse, in [0, ρ] for angles from 0 to
    180°; it is highest at the angle of Ernst & Anderson (Review of Scientific Instruments 37:93, 1966), cos α = E.
    """
    angle = np.deg2rad(flip_angle)
    kept = np.exp(-repetition_time / t1)
    steady = np.sin(angle) * (1 - kept) / (1 - kept * np.cos(angle))
    return proton_density * steady * np.exp(-echo_time / t2_star)


def relaxation_with_gadolinium(t1: Values, t2: Values, concentration: Values) -> tuple[Values, Values]:
    """Return T1 and T2 shortened by a contrast agent: 1/T' = 1/T + r C.

    The relaxivities r of 3.7 and 5.2 L/(mmol s) are those of gadopentetate dimeglumine in plasma at 3 T and 37 °C
    (Rohrer et al., Investigative Radiology 40:715, 2005).
    """
    # 1/ms and L/(mmol s) differ by a factor of 1000
    return 1 / (1 / t1 + 3.7 * concentration / 1000), 1 / (1 / t2 + 5.2 * concentration / 1000)


def t1gd_signal(proton_density: Values, t1: Values, t2: Values, concentration: Values) -> np.ndarray:
    """Return the signal of T1Gd: that of T1 (spin echo, TR 400 ms, TE 8 ms) under a concentration of contrast agent.

    It saturates near 1 mmol/L, and falls slowly beyond 2 mmol/L, where T2 becomes short.
    """
    return spin_echo(proton_density, *relaxation_with_gadolinium(t1, t2, concentration), **_T1_WEIGHTED)


def brain_signals(tissues: Mapping[str, Tissue]) -> dict[str, np.ndarray]:
    """Return every tissue's noise-free signal in T1, T1Gd, T2 and FLAIR: name → ``[len(tissues)]``, in their order.

    T1 and T1Gd: spin echo, TR 400 ms, TE 8 ms. T2: spin echo, TR 4500 ms, TE 60 ms. FLAIR: inversion recovery,
    TR 9000 ms, TI 2500 ms, TE 140 ms.
    """
    values = parameters(tissues.values())
    density, t1, t2 = values["proton_density"], values["t1"], values["t2"]
    return {
        "t1": spin_echo(density, t1, t2, **_T1_WEIGHTED),
        "t1gd": t1gd_signal(density, t1, t2, values["gadolinium"]),
        "t2": spin_echo(density, t1, t2, repetition_time=4500, echo_time=60),
        "flair": inversion_recovery(density, t1, t2, repetition_time=9000, inversion_time=2500, echo_time=140),
    }


def breast_signals(
    tissues: Mapping[str, np.ndarray],
    times: Sequence[float],
    b_values: Sequence[float],
    *,
    arrival: float = 75.0,
    dose: float = 1.0,
    fat_residual: Values = 0.04,
) -> dict[str, np.ndarray]:
    """Return the noise-free signal of tissues or voxels in every sequence of a breast protocol at 3 T.

    T1: spoiled gradient echo, TR 10 ms, TE 2.46 ms, 20°. DCE: spoiled gradient echo, TR 5.5 ms, TE 2.46 ms, 12°, frames
    of 60 s whose contrast is that of their middle. At this echo time fat and water are in phase. FatSatT1, FatSatDCE:
    the same with fat saturation. T2: fast spin echo, TR 4500 ms, effective TE 90 ms. DWI: spin-echo EPI with fat
    saturation, TR 8000 ms, TE 70 ms, and mono-exponential diffusion. Without contrast agent except DCE and FatSatDCE.
    T2* is taken to be T2: the rest of its decay would, within so short an echo time, scale all tissues much alike.

    Args:
        tissues: parameter of ``Tissue`` → ``[N]``, of tissues or of voxels; "fat" may be a share in [0, 1].
        times: start of each frame of DCE, s after the start of the first, increasing.
        b_values: of the frames of DWI, s/mm², at least 0.
        arrival: when the contrast agent reaches the arteries of the breast, s after the start of the first frame.
        dose: relative to the standard dose of 0.1 mmol/kg.
        fat_residual: the part of fat's signal that fat saturation leaves, a number or ``[N]``.

    Returns:
        "t1", "fatsat_t1", "t2", "dce", "fatsat_dce", "dwi" → float32 ``[T, N]``, in [0, 1]. T is the number of times,
        of b-values, or 1.
    """
    density, t1, t2 = tissues["proton_density"], tissues["t1"], tissues["t2"]
    minutes = (np.asarray(times, dtype=float) + _FRAME_CENTRE) / 60
    uptake = tissues["ktrans"], tissues["ve"], tissues["vp"]
    t1_after, t2_after = relaxation_with_gadolinium(
        t1, t2, dose * extended_tofts(minutes, *uptake, arrival=arrival / 60)
    )
    saturated = 1 - tissues["fat"] * (1 - fat_residual)

    plain = spoiled_gradient_echo(density, t1, t2, repetition_time=10, echo_time=2.46, flip_angle=20)[None]
    dynamic = spoiled_gradient_echo(density, t1_after, t2_after, repetition_time=5.5, echo_time=2.46, flip_angle=12)
    echo_planar = spin_echo(density, t1, t2, repetition_time=8000, echo_time=70) * saturated
    signals = {
        "t1": plain,
        "fatsat_t1": plain * saturated,
        "t2": spin_echo(density, t1, t2, repetition_time=4500, echo_time=90)[None],
        "dce": dynamic,
        "fatsat_dce": dynamic * saturated,
        # S exp(-b ADC), with the ADC in 1e-3 mm²/s
        "dwi": echo_planar * np.exp(-np.asarray(b_values)[:, None] * tissues["adc"] / 1000),
    }
    return {name: signal.astype(np.float32) for name, signal in signals.items()}
