# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What each tissue of the simulated breast is made of: relaxation, diffusion, and how it takes up contrast agent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np

__all__ = ["BREAST_TISSUES", "BreastTissue", "BreastTissueArrays", "draw_breast_tissues"]


@dataclass(frozen=True)
class BreastTissue:
    """Physical parameters of a tissue at 3 T.

    Attributes:
        proton_density: relative to water, in [0, 1].
        t1: longitudinal relaxation time, ms.
        t2: transverse relaxation time, ms.
        adc: apparent diffusion coefficient, 1e-3 mm²/s.
        fat: whether fat saturation suppresses it.
        ktrans: transfer constant of the contrast agent from plasma to the extravascular extracellular space, 1/min.
        ve: volume of this space as a fraction of the tissue's, in [0, 1].
        vp: volume of plasma as a fraction of the tissue's, in [0, 1].
    """

    proton_density: float
    t1: float
    t2: float
    adc: float
    fat: bool = False
    ktrans: float = 0.0
    ve: float = 0.0
    vp: float = 0.0


@dataclass(frozen=True)
class BreastTissueArrays:
    """The parameters of ``BreastTissue`` at N places, tissues or voxels; every array is ``[N]``.

    ``fat`` may be bool, or the fraction of the proton density that is fat, in [0, 1].
    """

    proton_density: np.ndarray
    t1: np.ndarray
    t2: np.ndarray
    adc: np.ndarray
    fat: np.ndarray
    ktrans: np.ndarray
    ve: np.ndarray
    vp: np.ndarray

    @classmethod
    def from_tissues(cls, tissues: Mapping[str, BreastTissue]) -> BreastTissueArrays:
        """Return the parameters of these tissues, in their order."""
        names = (field.name for field in fields(cls))
        return cls(**{name: np.array([getattr(tissue, name) for tissue in tissues.values()]) for name in names})


#: Mean parameters. T1 and T2 of adipose and fibroglandular tissue: Edden et al., Journal of Magnetic Resonance Imaging
#: 32:982, 2010 (T2 from multiple echoes, as the fast spin echo sees it); muscle, heart and T1 of blood: Stanisz et al.,
#: Magnetic Resonance in Medicine 54:507, 2005. Blood has a short T2 and a high ADC, which stand for the loss of signal
#: of what flows between the pulses. ADC of lesions: Guo et al., Journal of Magnetic Resonance Imaging 16:172, 2002.
#: Proton densities, the ADC of what is not a lesion, and skin, lymph node, cyst, necrosis and the relaxation of lesions
#: were chosen, not measured, within what is usual. So was the uptake, such that it follows the curves of Kuhl et al.,
#: Radiology 211:101, 1999: persistent in fibroglandular tissue and benign lesions (type I), a plateau in non-mass
#: enhancement (type II), washout in malignant lesions (type III; K_trans in the range of Tofts et al., Magnetic
#: Resonance in Medicine 33:564, 1995). Some differ in a single respect from another, so that it is known which sequence
#: tells them apart: cellular from other malignant tissue by ADC, non-mass enhancement from fibroglandular tissue by
#: uptake. Plasma is 58 % of blood.
BREAST_TISSUES: dict[str, BreastTissue] = {
    "adipose": BreastTissue(0.90, 423, 154, 0.15, True, 0.004, 0.10, 0.005),
    "fibroglandular": BreastTissue(0.78, 1680, 71, 1.85, False, 0.012, 0.40, 0.010),
    "skin": BreastTissue(0.70, 950, 40, 1.40, False, 0.040, 0.30, 0.020),
    "muscle": BreastTissue(0.78, 1412, 50, 1.45, False, 0.040, 0.12, 0.020),
    "vessel": BreastTissue(0.87, 1932, 40, 6.00, False, 0.0, 0.0, 0.58),
    "heart": BreastTissue(0.80, 1471, 47, 1.60, False, 0.50, 0.25, 0.080),
    "heart_blood": BreastTissue(0.87, 1932, 40, 6.00, False, 0.0, 0.0, 0.58),
    "lymph_node": BreastTissue(0.82, 1550, 90, 1.05, False, 0.15, 0.40, 0.040),
    "cyst": BreastTissue(1.00, 3000, 450, 2.40),
    "benign": BreastTissue(0.84, 1500, 95, 1.55, False, 0.045, 0.80, 0.015),
    "malignant": BreastTissue(0.84, 1550, 85, 0.95, False, 0.45, 0.36, 0.040),
    "malignant_cellular": BreastTissue(0.84, 1550, 85, 0.65, False, 0.45, 0.36, 0.040),
    "necrosis": BreastTissue(0.93, 2300, 150, 2.00, False, 0.015, 0.50, 0.005),
    "non_mass": BreastTissue(0.78, 1680, 71, 1.85, False, 0.15, 0.40, 0.030),
}

#: Coefficients of variation of K_trans between subjects, where it is not 0.1.
_UPTAKE_SPREAD = {"fibroglandular": 0.5, "benign": 0.2, "malignant": 0.2, "non_mass": 0.2}

#: The same of the ADC, where it is not 0.04.
_ADC_SPREAD = {"benign": 0.08, "malignant": 0.1}


def draw_breast_tissues(generator: np.random.Generator, spread: float = 0.012) -> dict[str, BreastTissue]:
    """Return one subject's tissues: ``BREAST_TISSUES`` with every parameter drawn about its mean.

    Args:
        generator: source of randomness.
        spread: coefficient of variation between subjects of proton density (half of it), T1 and T2. Uptake and ADC
            have their own: most of all the uptake of fibroglandular tissue (background parenchymal enhancement), by
            50 %, and the uptake (20 %) and ADC (10 %) of malignant lesions. No factor is beyond two deviations.

    Returns:
        name → parameters in the order of ``BREAST_TISSUES``. Drawn as one: the two kinds of malignant tissue, but for
        the ADC; non-mass enhancement and fibroglandular tissue, but for the uptake; blood in vessels and in the heart.
    """
    drawn = {}
    for name, mean in BREAST_TISSUES.items():
        deviations = spread * np.array([0.5, 1, 1, 0, 0, 0, 0])
        deviations[3:] = _ADC_SPREAD.get(name, 0.04), _UPTAKE_SPREAD.get(name, 0.1), 0.05, 0.1
        density, t1, t2, adc, ktrans, ve, vp = np.exp(deviations * np.clip(generator.standard_normal(7), -2, 2))
        drawn[name] = BreastTissue(
            proton_density=min(1.0, mean.proton_density * float(density)),
            t1=mean.t1 * float(t1),
            t2=mean.t2 * float(t2),
            adc=mean.adc * float(adc),
            fat=mean.fat,
            ktrans=mean.ktrans * float(ktrans),
            ve=mean.ve * float(ve),
            vp=mean.vp * float(vp),
        )
    malignant, blood, non_mass = drawn["malignant"], drawn["vessel"], drawn["non_mass"]
    restriction = BREAST_TISSUES["malignant_cellular"].adc / BREAST_TISSUES["malignant"].adc
    drawn["malignant_cellular"] = replace(malignant, adc=malignant.adc * restriction)
    drawn["non_mass"] = replace(drawn["fibroglandular"], ktrans=non_mass.ktrans, ve=non_mass.ve, vp=non_mass.vp)
    drawn["heart_blood"] = blood
    return drawn
