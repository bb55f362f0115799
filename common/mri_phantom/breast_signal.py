# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What the sequences of a breast protocol measure, from a tissue's relaxation, diffusion and uptake."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mri_phantom.breast_tissue import BreastTissueArrays
from mri_phantom.kinetics import extended_tofts
from mri_phantom.signal import (
    diffusion_weighted,
    relaxation_with_gadolinium,
    spin_echo,
    spoiled_gradient_echo,
)

__all__ = ["breast_signals"]

#: From the start of a frame of DCE to the centre of k-space, which sets the contrast: half of a frame of 60 s.
_FRAME_CENTRE = 30.0


def breast_signals(
    tissues: BreastTissueArrays,
    times: Sequence[float],
    b_values: Sequence[float],
    *,
    arrival: float = 75.0,
    dose: float = 1.0,
    fat_residual: float | np.ndarray = 0.04,
) -> dict[str, np.ndarray]:
    """Return the noise-free signal of tissues or voxels in every sequence of a breast protocol at 3 T.

    T1: spoiled gradient echo, TR 10 ms, TE 2.46 ms, 20°. DCE: spoiled gradient echo, TR 5.5 ms, TE 2.46 ms, 12°, frames
    of 60 s whose contrast is that of their middle. At this echo time fat and water are in phase. FatSatT1, FatSatDCE:
    the same with fat saturation. T2: fast spin echo, TR 4500 ms, effective TE 90 ms. DWI: spin-echo EPI with fat
    saturation, TR 8000 ms, TE 70 ms, and mono-exponential diffusion. Without contrast agent except DCE and FatSatDCE.
    T2* is taken to be T2: the rest of its decay would, within so short an echo time, scale all tissues much alike.

    Args:
        tissues: parameters ``[N]``, of tissues (``BreastTissueArrays.from_tissues``) or of voxels.
        times: start of each frame of DCE, s after the start of the first, increasing.
        b_values: of the frames of DWI, s/mm².
        arrival: when the contrast agent reaches the arteries of the breast, s after the start of the first frame.
        dose: relative to the standard dose of 0.1 mmol/kg.
        fat_residual: the part of fat's signal that fat saturation leaves, a number or ``[N]``.

    Returns:
        "t1", "fatsat_t1", "t2", "dce", "fatsat_dce", "dwi" → float32 ``[T, N]``, in [0, 1] relative to the equilibrium
        magnetisation of water. T is the number of times, of b-values, or 1.

    Raises:
        ValueError: when the contrast agent arrives before the middle of the first frame, the times do not increase, or
            a b-value is negative.
    """
    first = float(times[0]) + _FRAME_CENTRE
    if first > arrival:
        raise ValueError(
            f"The first frame of DCE is measured at {first:g} s, after the contrast agent arrives at {arrival:g} s; "
            "begin earlier or let it arrive later."
        )
    b_factors = np.asarray(b_values, dtype=float)[:, None]
    if not (b_factors >= 0).all():
        raise ValueError(f"The b-values are {list(b_values)}; give numbers from 0, in s/mm².")

    density, t1, t2 = tissues.proton_density, tissues.t1, tissues.t2
    minutes = (np.asarray(times, dtype=float) + _FRAME_CENTRE) / 60
    concentration = dose * extended_tofts(minutes, tissues.ktrans, tissues.ve, tissues.vp, arrival=arrival / 60)
    t1_after, t2_after = relaxation_with_gadolinium(t1, t2, concentration)
    saturated = 1 - np.asarray(tissues.fat, dtype=float) * (1 - np.asarray(fat_residual, dtype=float))

    plain = spoiled_gradient_echo(density, t1, t2, repetition_time=10, echo_time=2.46, flip_angle=20)[None]
    dynamic = spoiled_gradient_echo(density, t1_after, t2_after, repetition_time=5.5, echo_time=2.46, flip_angle=12)
    echo_planar = spin_echo(density, t1, t2, repetition_time=8000, echo_time=70) * saturated
    signals = {
        "t1": plain,
        "fatsat_t1": plain * saturated,
        "t2": spin_echo(density, t1, t2, repetition_time=4500, echo_time=90)[None],
        "dce": dynamic,
        "fatsat_dce": dynamic * saturated,
        "dwi": diffusion_weighted(echo_planar, b_factors, tissues.adc),
    }
    return {name: signal.astype(np.float32) for name, signal in signals.items()}
