# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Protocols of breast MRI that change over the years, so that most examinations lack several sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mri_phantom.cohort import draw_silenced
from seq2seq_mri.sequences import SEQUENCE_TABLES

__all__ = ["BREAST_SEQUENCES", "Examination", "complete_examinations", "draw_examinations"]

#: All sequences, in the order of the sequence table.
BREAST_SEQUENCES = tuple(SEQUENCE_TABLES["breast"])

_PROTOCOLS = {
    "older": ("t1", "t2", "dce", "wash_in", "wash_out"),
    "newer": ("fatsat_t1", "t2", "fatsat_dce", "wash_in", "wash_out"),
    "mixed": ("t1", "fatsat_t1", "t2", "dce", "fatsat_dce", "wash_in", "wash_out"),
}


@dataclass(frozen=True)
class Examination:
    """What one examination consists of.

    Attributes:
        sequences: those that there are, in the order of ``BREAST_SEQUENCES``.
        acquired: those of the protocol, of which some may be lost; wash maps are computed from these.
        coronal: whether they were acquired as thick coronal slices.
    """

    sequences: tuple[str, ...]
    acquired: tuple[str, ...]
    coronal: bool = False


def complete_examinations(count: int) -> list[Examination]:
    """Return examinations that have every sequence."""
    return [Examination(BREAST_SEQUENCES, BREAST_SEQUENCES)] * count


def draw_examinations(
    generator: np.random.Generator, count: int, mixed: float, diffusion: float, missing: Sequence[int]
) -> list[Examination]:
    """Deal the protocols to ``count`` examinations.

    - Older: T1, T2 and DCE without fat saturation, as thick coronal slices; wash maps.
    - Newer: FatSatT1, T2 and FatSatDCE, three-dimensional; wash maps; some have DWI.
    - Mixed, from the time of transition: all of these, three-dimensional; some have DWI, and lack nothing then.

    Args:
        generator: source of randomness.
        count: number of examinations.
        mixed: share of the mixed protocol, rounded up; the rest is half older and half newer.
        diffusion: share of the newer and of the mixed ones that have DWI, rounded up each.
        missing: the least and the most sequences that an older or a newer examination lacks beyond its protocol.
    """
    mixed_count = int(np.ceil(mixed * count))
    newer_count = (count - mixed_count) // 2
    kinds = ["mixed"] * mixed_count + ["newer"] * newer_count + ["older"] * (count - mixed_count - newer_count)
    with_diffusion = {"mixed": int(np.ceil(diffusion * mixed_count)), "newer": int(np.ceil(diffusion * newer_count))}
    lacking = {
        kind: draw_silenced(generator, _PROTOCOLS[kind], kinds.count(kind), *missing) for kind in ("older", "newer")
    }
    dealt = dict.fromkeys(_PROTOCOLS, 0)
    examinations = []
    for index in generator.permutation(count):
        kind = kinds[index]
        number = dealt[kind]
        dealt[kind] += 1
        diffusion_too = {"dwi"} if number < with_diffusion.get(kind, 0) else set()
        acquired = set(_PROTOCOLS[kind]) | diffusion_too
        present = acquired - lacking[kind][number] if kind in lacking else acquired
        examinations.append(Examination(_ordered(present), _ordered(acquired), kind == "older"))
    return examinations


def _ordered(names: set[str]) -> tuple[str, ...]:
    return tuple(name for name in BREAST_SEQUENCES if name in names)
