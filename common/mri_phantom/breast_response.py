# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Whether a simulated cancer vanishes under neoadjuvant therapy (pathological complete response, pCR)."""

from __future__ import annotations

import numpy as np

from mri_phantom.breast_tissue import BREAST_TISSUES, BreastTissue

__all__ = ["response_probability"]

_INTERCEPT = -0.9
_PER_KTRANS = 5.0
_PER_RATE = 2.5
_PER_ADC = -12.0


def response_probability(tumour: BreastTissue) -> float:
    """Return the probability of a complete response, by a logistic model of the perfused tumour.

    Tumours that are well perfused, that wash out fast, and that are dense with cells respond more often: the log odds
    are

        -0.9 + 5 ln(K_trans / 0.45) + 2.5 ln(k_ep / 1.25) - 12 ln(ADC / 0.95),

    with K_trans and the rate of wash-out k_ep = K_trans / v_e in 1/min and the ADC in 1e-3 mm²/s, each relative to its
    mean in ``BREAST_TISSUES``. With the spreads of ``draw_breast_tissues`` (20 % in K_trans, 10 % in ADC) about 35 % of
    the patients respond. The model was made for this simulation; it is no finding about patients.

    Args:
        tumour: the parameters of a patient's malignant tissue.

    Example:
        >>> round(response_probability(BREAST_TISSUES["malignant"]), 3)
        0.289
    """
    mean = BREAST_TISSUES["malignant"]
    ktrans, adc = np.log(tumour.ktrans / mean.ktrans), np.log(tumour.adc / mean.adc)
    rate = ktrans - np.log(tumour.ve / mean.ve)
    return float(1 / (1 + np.exp(-(_INTERCEPT + _PER_KTRANS * ktrans + _PER_RATE * rate + _PER_ADC * adc))))
