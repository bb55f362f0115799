# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The compartments of the simulated breast and chest, and painting them over one another.

``fractions`` is float32 ``[compartments, N]``: how much of each compartment is at each of N points, in [0, 1] and
summing to 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mri_phantom.breast_tissue import BREAST_TISSUES, BreastTissue

__all__ = ["COMPARTMENTS", "TISSUE_LABELS", "convert", "empty_fractions", "paint", "with_compartments"]

COMPARTMENTS = (*BREAST_TISSUES, "benign_isointense", "bone", "lung")

#: The numbers of the compartments in the written tissue labels; 0 is air around the body.
TISSUE_LABELS = {name: number for number, name in enumerate(COMPARTMENTS, start=1)}


def with_compartments(tissues: Mapping[str, BreastTissue]) -> dict[str, BreastTissue]:
    """Return the parameters of every compartment, in the order of ``COMPARTMENTS``, from those of the tissues.

    To the tissues come three that are made of others: benign lesions that differ from fibroglandular tissue by their
    uptake alone; bone, fat marrow with a part of it that gives no signal; and lung, mostly air.
    """
    benign, blood = tissues["benign"], tissues["vessel"]
    compartments = dict(tissues)
    compartments["benign_isointense"] = replace(
        tissues["fibroglandular"], ktrans=benign.ktrans, ve=benign.ve, vp=benign.vp
    )
    compartments["bone"] = replace(tissues["adipose"], proton_density=0.5 * tissues["adipose"].proton_density)
    compartments["lung"] = replace(tissues["muscle"], proton_density=0.13, vp=0.04 * blood.vp)
    return {name: compartments[name] for name in COMPARTMENTS}


def empty_fractions(count: int) -> np.ndarray:
    """Return fractions of nothing at ``count`` points, to be painted."""
    return np.zeros((len(COMPARTMENTS), count), dtype=np.float32)


def paint(fractions: np.ndarray, compartment: str, share: np.ndarray) -> None:
    """Replace ``share`` (``[N]``, in [0, 1]) of what is at each point by ``compartment``, in place."""
    touched = np.flatnonzero(share)
    new = share[touched].astype(np.float32)
    fractions[:, touched] *= 1 - new
    fractions[COMPARTMENTS.index(compartment), touched] += new


def convert(fractions: np.ndarray, compartment: str, into: str, share: np.ndarray) -> None:
    """Turn ``share`` (``[N]``, in [0, 1]) of one compartment into another, in place."""
    source = fractions[COMPARTMENTS.index(compartment)]
    moved = source * share
    source -= moved
    fractions[COMPARTMENTS.index(into)] += moved
