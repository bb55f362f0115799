# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Shares of tissues at the points of a phantom, painted over one another."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

__all__ = ["Fractions"]


class Fractions:
    """Shares of tissues at N points, float32 ``values`` ``[tissues, N]`` in [0, 1], which sum to 1 at every point.

    Args:
        names: of the tissues.
        values: their shares.

    Example:
        >>> fractions = Fractions.of_one("fat", ["fat", "gland"], count=3)
        >>> fractions.paint("gland", np.array([0.0, 0.25, 1.0]))
        >>> fractions["fat"].tolist()
        [1.0, 0.75, 0.0]
    """

    def __init__(self, names: Iterable[str], values: np.ndarray) -> None:
        self.names = tuple(names)
        self.values = values

    @classmethod
    def of_one(cls, tissue: str, names: Iterable[str], count: int) -> Fractions:
        """Return ``count`` points that are all of one tissue."""
        names = tuple(names)
        fractions = cls(names, np.zeros((len(names), count), dtype=np.float32))
        fractions[tissue][:] = 1
        return fractions

    def __getitem__(self, tissue: str) -> np.ndarray:
        """Return the shares ``[N]`` of a tissue, which may be changed."""
        return self.values[self.names.index(tissue)]

    def paint(self, tissue: str, share: np.ndarray) -> None:
        """Replace ``share`` (``[N]``, in [0, 1]) of what is at each point by ``tissue``."""
        touched = np.flatnonzero(share)
        new = share[touched].astype(np.float32)
        self.values[:, touched] *= 1 - new
        self[tissue][touched] += new

    def convert(self, tissue: str, into: str, share: np.ndarray) -> None:
        """Turn ``share`` (``[N]``, in [0, 1]) of one tissue into another."""
        moved = self[tissue] * share
        self[tissue][:] -= moved
        self[into][:] += moved
