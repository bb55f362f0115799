# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Shares of tissues at the points of a phantom, painted over one another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mri_phantom.shapes import coverage

__all__ = ["Fractions"]


@dataclass
class Fractions:
    """Shares of tissues at N points, which sum to 1 at every point.

    Attributes:
        names: of the tissues.
        values: their shares, float32 ``[tissues, N]`` in [0, 1].
        points: where, float32 ``[3, N]``, mm, in the coordinates of the anatomy.
        width: of a voxel there, mm.

    Example:
        >>> fractions = Fractions.of_one("fat", ["fat", "gland"], np.zeros((3, 3)), width=2.0)
        >>> fractions.paint("gland", np.array([0.0, 0.25, 1.0]))
        >>> fractions["fat"].tolist()
        [1.0, 0.75, 0.0]
    """

    names: tuple[str, ...]
    values: np.ndarray
    points: np.ndarray
    width: float

    @classmethod
    def of_one(cls, tissue: str, names: Iterable[str], points: np.ndarray, width: float) -> Fractions:
        """Return points that are all of one tissue."""
        names = tuple(names)
        fractions = cls(names, np.zeros((len(names), points.shape[1]), dtype=np.float32), points, width)
        fractions[tissue][:] = 1
        return fractions

    def __getitem__(self, tissue: str) -> np.ndarray:
        """Return the shares ``[N]`` of a tissue, which may be changed."""
        return self.values[self.names.index(tissue)]

    def within(self, distance: np.ndarray) -> np.ndarray:
        """Return the share ``[N]`` of each voxel that lies inside a surface at ``distance`` (mm, positive inside)."""
        return coverage(distance, self.width)

    def fill(self, tissue: str, distance: np.ndarray) -> None:
        """Replace what lies inside a surface at ``distance`` (``[N]``, mm, positive inside) by ``tissue``."""
        self.paint(tissue, self.within(distance))

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
