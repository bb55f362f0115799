# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Combinations of sequences, read from ``t1gd+flair`` or ``t1+t1gd:synthesised+t2+flair``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = ["Combination", "default_combinations", "parse_combination", "parse_combinations"]

_SYNTHESISED = "synthesised"


@dataclass(frozen=True)
class Combination:
    """Sequences that a segmentation network is given, in the order of the sequence table.

    Attributes:
        measured: names of the sequences that are images of the scanner.
        synthesised: names of the sequences that a generator made.
        order: all of them, in the table's order, which is that of the network's channels.
    """

    measured: tuple[str, ...]
    synthesised: tuple[str, ...]
    order: tuple[str, ...]

    @property
    def name(self) -> str:
        """The combination as it is written: ``t1+t1gd:synthesised``."""
        return "+".join(f"{name}:{_SYNTHESISED}" if name in self.synthesised else name for name in self.order)

    @property
    def folder(self) -> str:
        """A name for files, of letters, digits, ``-`` and ``_``."""
        return re.sub(r"[^A-Za-z0-9_-]", "-", self.name.replace("+", "_"))


def parse_combination(text: str, sequences: Mapping[str, int]) -> Combination:
    """Read names of the sequence table, joined by ``+`` in any order; ``:synthesised`` takes what a generator made.

    Raises:
        ValueError: when a sequence is unknown or stands twice.
    """
    sources: dict[str, bool] = {}
    for part in str(text).split("+"):
        name, _, source = part.strip().partition(":")
        if name not in sequences:
            raise ValueError(f"Combination '{text}': unknown sequence '{name}'; there are {', '.join(sequences)}.")
        if source not in ("", _SYNTHESISED):
            raise ValueError(f"Combination '{text}': '{part}' is not '{name}' and not '{name}:{_SYNTHESISED}'.")
        if name in sources:
            raise ValueError(f"Combination '{text}': {name} stands twice.")
        sources[name] = bool(source)
    order = tuple(name for name in sequences if name in sources)
    return Combination(
        tuple(name for name in order if not sources[name]), tuple(name for name in order if sources[name]), order
    )


def default_combinations(sequences: Mapping[str, int], synthesised: bool) -> list[str]:
    """Return the combinations that are compared when none are named: all sequences first, which is the reference.

    With the four sequences of BraTS: all; T1Gd + FLAIR; T2 + FLAIR; T1 + T2 + FLAIR; and, if there are
    ``synthesised`` images, all with T1Gd synthesised. With other tables: all, and all but one.
    """
    full = "+".join(sequences)
    if {"t1", "t1gd", "t2", "flair"} <= set(sequences):
        subsets = ["t1gd+flair", "t2+flair", "t1+t2+flair"]
        made = ["+".join(f"{name}:{_SYNTHESISED}" if name == "t1gd" else name for name in sequences)]
    else:
        subsets = ["+".join(other for other in sequences if other != name) for name in sequences if len(sequences) > 1]
        made = []
    return [full, *subsets, *(made if synthesised else [])]


def parse_combinations(texts: Iterable[str], sequences: Mapping[str, int]) -> list[Combination]:
    """Read several combinations; the first is the reference that the others are compared with.

    Raises:
        ValueError: when one cannot be read or stands twice, two would share a folder, or there are fewer than two.
    """
    combinations = [parse_combination(text, sequences) for text in texts]
    for place, combination in enumerate(combinations):
        if combination in combinations[:place]:
            raise ValueError(f"The combination {combination.name} stands twice.")
        if combination.folder in [other.folder for other in combinations[:place]]:
            raise ValueError(f"The combination {combination.name} would share a folder; rename the sequences.")
    if len(combinations) < 2:
        raise ValueError("Give at least two combinations: the reference first, then those to compare with it.")
    return combinations
