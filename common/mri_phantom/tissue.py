# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What each tissue of the simulated brain is made of: proton density, T1, T2, and its uptake of gadolinium."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

__all__ = ["TISSUES", "Tissue", "draw_tissues"]


@dataclass(frozen=True)
class Tissue:
    """Physical parameters of a tissue at 3 T.

    Attributes:
        proton_density: relative to water, in [0, 1].
        t1: longitudinal relaxation time, ms.
        t2: transverse relaxation time, ms.
        gadolinium: concentration of contrast agent some minutes after a standard dose, mmol/L.
    """

    proton_density: float
    t1: float
    t2: float
    gadolinium: float = 0.0


#: Mean parameters. Brain: rounded from quantitative studies at 3 T (Wansapura et al., Journal of Magnetic Resonance
#: Imaging 9:531, 1999; Stanisz et al., Magnetic Resonance in Medicine 54:507, 2005; review: Deoni, Topics in Magnetic
#: Resonance Imaging 21:101, 2010), which differ among themselves: T1 of white matter is reported from 0.6 to 1.1 s.
#: Veins have the short T2 of deoxygenated blood, so that spin echoes show them dark. Lesions were chosen, not measured,
#: between brain and water: tumour and oedema so that they look alike without contrast agent, and fluid-rich oedema so
#: that T1 and T2 hardly tell it from cerebrospinal fluid.
TISSUES: dict[str, Tissue] = {
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


def draw_tissues(generator: np.random.Generator, spread: float = 0.012) -> dict[str, Tissue]:
    """Return one subject's tissues: ``TISSUES`` with every parameter drawn about its mean.

    Args:
        generator: source of randomness.
        spread: coefficient of variation between subjects of proton density (half of it), T1 and T2. The uptake of
            contrast agent has its own: the dose in blood varies by 15 %, the leakage into the tumour by 25 %.

    Returns:
        name → parameters in the order of ``TISSUES``. Tumour that enhances and tumour that does not, and grey matter
        with and without vessels, are drawn as one: they differ in gadolinium alone.
    """
    dose = float(np.exp(generator.normal(0, 0.15)))
    leakage = float(np.exp(np.clip(generator.normal(0, 0.25), -0.5, 0.5)))
    drawn = {}
    for name, mean in TISSUES.items():
        density, t1, t2 = np.exp(spread * np.clip(generator.standard_normal(3), -2.5, 2.5) * np.array([0.5, 1, 1]))
        drawn[name] = Tissue(
            proton_density=min(1.0, mean.proton_density * density),
            t1=mean.t1 * t1,
            t2=mean.t2 * t2,
            gadolinium=mean.gadolinium * dose * (leakage if name == "enhancing_tumour" else 1.0),
        )
    for enhancing, plain in (("enhancing_tumour", "tumour"), ("cortical_vessel", "grey_matter")):
        drawn[enhancing] = replace(drawn[plain], gadolinium=drawn[enhancing].gadolinium)
    return drawn
