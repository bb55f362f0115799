# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Tables of what the tissues of brain and breast are made of: relaxation, diffusion, uptake of contrast agent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields, replace

import numpy as np

__all__ = [
    "BRAIN_TISSUES",
    "BREAST_LABELS",
    "BREAST_TISSUES",
    "Tissue",
    "draw_brain_tissues",
    "draw_breast_tissues",
    "parameters",
]


@dataclass(frozen=True)
class Tissue:
    """Physical parameters of a tissue at 3 T.

    Attributes:
        proton_density: relative to water, in [0, 1].
        t1: longitudinal relaxation time, ms.
        t2: transverse relaxation time, ms.
        gadolinium: concentration of contrast agent some minutes after a standard dose, mmol/L.
        adc: apparent diffusion coefficient, 1e-3 mm²/s.
        fat: whether fat saturation suppresses it.
        ktrans: transfer constant of the contrast agent from plasma to the extravascular extracellular space, 1/min.
        ve: volume of this space as a fraction of the tissue's, in [0, 1].
        vp: volume of plasma as a fraction of the tissue's, in [0, 1].
    """

    proton_density: float
    t1: float
    t2: float
    gadolinium: float = 0.0
    adc: float = 0.0
    fat: bool = False
    ktrans: float = 0.0
    ve: float = 0.0
    vp: float = 0.0


#: Mean parameters. Brain: rounded from quantitative studies at 3 T (Wansapura et al., Journal of Magnetic Resonance
#: Imaging 9:531, 1999; Stanisz et al., Magnetic Resonance in Medicine 54:507, 2005; review: Deoni, Topics in Magnetic
#: Resonance Imaging 21:101, 2010), which differ among themselves: T1 of white matter is reported from 0.6 to 1.1 s.
#: Veins have the short T2 of deoxygenated blood, so that spin echoes show them dark. Lesions were chosen, not measured,
#: between brain and water: tumour and oedema so that they look alike without contrast agent, and fluid-rich oedema so
#: that T1 and T2 hardly tell it from cerebrospinal fluid.
BRAIN_TISSUES: dict[str, Tissue] = {
    "csf": Tissue(1.00, 4300, 2000),
    "grey_matter": Tissue(0.82, 1331, 92, 0.012),
    "cortical_vessel": Tissue(0.82, 1331, 92, 0.80),
    "white_matter": Tissue(0.70, 832, 78, 0.005),
    "caudate": Tissue(0.81, 1250, 85, 0.012),
    "putamen": Tissue(0.80, 1180, 80, 0.012),
    "pallidum": Tissue(0.75, 970, 62, 0.010),
    "thalamus": Tissue(0.77, 1080, 84, 0.010),
    "brainstem": Tissue(0.73, 950, 84, 0.006),
    "vein": Tissue(0.87, 1900, 40, 0.80),
    "choroid_plexus": Tissue(0.88, 1700, 160, 0.35),
    "necrosis": Tissue(0.97, 3500, 600),
    "tumour": Tissue(0.85, 1600, 140),
    "enhancing_tumour": Tissue(0.85, 1600, 140, 1.20),
    "oedema": Tissue(0.84, 1650, 150),
    "fluid_oedema": Tissue(0.90, 3000, 1200),
}

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
BREAST_TISSUES: dict[str, Tissue] = {
    "adipose": Tissue(0.90, 423, 154, adc=0.15, fat=True, ktrans=0.004, ve=0.10, vp=0.005),
    "fibroglandular": Tissue(0.78, 1680, 71, adc=1.85, ktrans=0.012, ve=0.40, vp=0.010),
    "skin": Tissue(0.70, 950, 40, adc=1.40, ktrans=0.040, ve=0.30, vp=0.020),
    "muscle": Tissue(0.78, 1412, 50, adc=1.45, ktrans=0.040, ve=0.12, vp=0.020),
    "vessel": Tissue(0.87, 1932, 40, adc=6.00, vp=0.58),
    "heart": Tissue(0.80, 1471, 47, adc=1.60, ktrans=0.50, ve=0.25, vp=0.080),
    "heart_blood": Tissue(0.87, 1932, 40, adc=6.00, vp=0.58),
    "lymph_node": Tissue(0.82, 1550, 90, adc=1.05, ktrans=0.15, ve=0.40, vp=0.040),
    "cyst": Tissue(1.00, 3000, 450, adc=2.40),
    "benign": Tissue(0.84, 1500, 95, adc=1.55, ktrans=0.045, ve=0.80, vp=0.015),
    "malignant": Tissue(0.84, 1550, 85, adc=0.95, ktrans=0.45, ve=0.36, vp=0.040),
    "malignant_cellular": Tissue(0.84, 1550, 85, adc=0.65, ktrans=0.45, ve=0.36, vp=0.040),
    "necrosis": Tissue(0.93, 2300, 150, adc=2.00, ktrans=0.015, ve=0.50, vp=0.005),
    "non_mass": Tissue(0.78, 1680, 71, adc=1.85, ktrans=0.15, ve=0.40, vp=0.030),
}

#: The numbers of tissues in the written labels of a breast, with those that are made of others; 0 is air around it.
BREAST_LABELS = {
    name: number for number, name in enumerate((*BREAST_TISSUES, "benign_isointense", "bone", "lung"), start=1)
}

#: Coefficient of variation between subjects of T1 and T2, and twice that of the proton density.
_SPREAD = 0.012
#: The same in the breast of K_trans where it is not 0.1, and of the ADC where it is not 0.04.
_UPTAKE_SPREAD = {"fibroglandular": 0.5, "benign": 0.2, "malignant": 0.2, "non_mass": 0.2}
_ADC_SPREAD = {"benign": 0.08, "malignant": 0.1}


def parameters(tissues: Iterable[Tissue]) -> dict[str, np.ndarray]:
    """Return parameter → values ``[number of tissues]``, in the order of ``tissues``."""
    columns = zip(*map(astuple, tissues), strict=True)
    return {field.name: np.array(column) for field, column in zip(fields(Tissue), columns, strict=True)}


def draw_brain_tissues(generator: np.random.Generator) -> dict[str, Tissue]:
    """Return one subject's tissues: ``BRAIN_TISSUES`` with every parameter drawn about its mean.

    T1 and T2 vary by 1.2 % between subjects, the proton density by half of that, the dose of contrast agent in blood by
    15 %, its leakage into the tumour by 25 %. Tumour that enhances and tumour that does not, and grey matter with and
    without vessels, are drawn as one: they differ in gadolinium alone.
    """
    dose = float(np.exp(generator.normal(0, 0.15)))
    leakage = float(np.exp(np.clip(generator.normal(0, 0.25), -0.5, 0.5)))
    drawn = {}
    for name, mean in BRAIN_TISSUES.items():
        deviations = _SPREAD * np.array([0.5, 1, 1])
        density, t1, t2 = np.exp(deviations * np.clip(generator.standard_normal(3), -2.5, 2.5))
        gadolinium = dose * (leakage if name == "enhancing_tumour" else 1.0)
        drawn[name] = _scaled(mean, proton_density=density, t1=t1, t2=t2, gadolinium=gadolinium)
    for enhancing, plain in (("enhancing_tumour", "tumour"), ("cortical_vessel", "grey_matter")):
        drawn[enhancing] = replace(drawn[plain], gadolinium=drawn[enhancing].gadolinium)
    return drawn


def draw_breast_tissues(generator: np.random.Generator) -> dict[str, Tissue]:
    """Return one subject's tissues: ``BREAST_TISSUES`` with every parameter drawn about its mean, and three of these.

    T1 and T2 vary by 1.2 % between subjects, the proton density by half of that. Uptake and ADC have their own spread:
    most of all the uptake of fibroglandular tissue (background parenchymal enhancement), by 50 %, and the uptake (20 %)
    and ADC (10 %) of malignant lesions. No factor is beyond two deviations. Drawn as one: the two kinds of malignant
    tissue, but for the ADC; non-mass enhancement and fibroglandular tissue, but for the uptake; blood in vessels and in
    the heart. Made of others: benign lesions that differ from fibroglandular tissue by their uptake alone; bone, fat
    marrow with a part of it that gives no signal; and lung, mostly air.

    Returns:
        name → parameters in the order of ``BREAST_LABELS``.
    """
    drawn = {}
    for name, mean in BREAST_TISSUES.items():
        deviations = _SPREAD * np.array([0.5, 1, 1, 0, 0, 0, 0])
        deviations[3:] = _ADC_SPREAD.get(name, 0.04), _UPTAKE_SPREAD.get(name, 0.1), 0.05, 0.1
        density, t1, t2, adc, ktrans, ve, vp = np.exp(deviations * np.clip(generator.standard_normal(7), -2, 2))
        drawn[name] = _scaled(mean, proton_density=density, t1=t1, t2=t2, adc=adc, ktrans=ktrans, ve=ve, vp=vp)
    gland, malignant, benign, non_mass = (drawn[name] for name in ("fibroglandular", "malignant", "benign", "non_mass"))
    restriction = BREAST_TISSUES["malignant_cellular"].adc / BREAST_TISSUES["malignant"].adc
    return drawn | {
        "malignant_cellular": replace(malignant, adc=malignant.adc * restriction),
        "non_mass": replace(gland, ktrans=non_mass.ktrans, ve=non_mass.ve, vp=non_mass.vp),
        "heart_blood": drawn["vessel"],
        "benign_isointense": replace(gland, ktrans=benign.ktrans, ve=benign.ve, vp=benign.vp),
        "bone": replace(drawn["adipose"], proton_density=0.5 * drawn["adipose"].proton_density),
        "lung": replace(drawn["muscle"], proton_density=0.13, vp=0.04 * drawn["vessel"].vp),
    }


def _scaled(mean: Tissue, **factors: float) -> Tissue:
    """Return ``mean`` with parameters multiplied by factors; no proton density is above that of water."""
    values = {name: getattr(mean, name) * float(factor) for name, factor in factors.items()}
    return replace(mean, **values | {"proton_density": min(1.0, values["proton_density"])})
