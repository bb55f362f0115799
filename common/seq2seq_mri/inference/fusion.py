# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Fusion of a target's translations from several sources: their weighted mean and weighted standard deviation."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

from seq2seq_mri.evaluation.contribution.contribution import read_adjacency

__all__ = ["AdjacencyFusion", "Fusion", "MeanFusion", "fusion_by_name"]


class Fusion(ABC):
    """Weighted mean of a target's translations from several sources, and their weighted standard deviation.

    The result is what the others say of a target: its reconstruction from itself gets weight 0, unless it is the only
    source.
    """

    @abstractmethod
    def source_weights(self, sources: Sequence[str], target: str) -> torch.Tensor:
        """Return weights ≥ 0 of the sources that count, float64 with a sum of 1."""

    def weights(self, sources: Sequence[str], target: str) -> torch.Tensor:
        """Return each source's weight ``(len(sources),)``, float64, at least 0, with a sum of 1."""
        counting = [source for source in sources if source != target] or list(sources)
        weights = torch.zeros(len(sources), dtype=torch.float64)
        weights[[source in counting for source in sources]] = self.source_weights(counting, target)
        return weights

    def __call__(
        self, predictions: torch.Tensor, sources: Sequence[str], target: str
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Fuse.

        Args:
            predictions: translations into ``target``, ``(len(sources), ...)``.
            sources: names of the sources, in the order of ``predictions``.
            target: name of the target.

        Returns:
            the fused image Σ w x and the inter-source standard deviation √(Σ w (x − Σ w x)²), both ``(...)`` in the
            unit of ``predictions``. That of a single source is 0 everywhere, which does not say that it is right.
        """
        weights = self.weights(sources, target).to(predictions, non_blocking=True)
        weights = weights.view(-1, *[1] * (predictions.ndim - 1))
        fused = (weights * predictions).sum(0)
        deviation = (weights * (predictions - fused).square()).sum(0).sqrt()
        return fused, deviation


class MeanFusion(Fusion):
    """All sources weigh the same.

    Example:
        >>> fused, deviation = MeanFusion()(torch.tensor([[0.2], [0.4]]), ["t1", "t2"], "flair")
        >>> round(fused.item(), 4), round(deviation.item(), 4)
        (0.3, 0.1)
    """

    def source_weights(self, sources: Sequence[str], target: str) -> torch.Tensor:
        """Return equal weights."""
        return torch.full((len(sources),), 1 / len(sources), dtype=torch.float64)


class AdjacencyFusion(Fusion):
    """Sources from which a target is easy to make weigh more.

    The adjacency A_{source,target} (Han et al., Medical Image Analysis 2024, Eq. 4) is the sum of a translation's PSNR,
    SSIM and LPIPS, each in standard deviations from the average pair (of PSNR and SSIM alone where LPIPS was not
    measured). A source's weight is the softmax of A over the available sources: one whose A is higher by 1 weighs
    e ≈ 2.7 times as much, and one that is better by one standard deviation in all three measures e³ ≈ 20 times, so
    that the best source decides nearly alone where the sources differ much. A pair that was not measured (NaN) counts
    as an average one, A = 0, as in C_t and C_d.

    Args:
        adjacency: a table with sources as index and targets as columns, or the ``adjacency.csv`` of an evaluation.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the file is no adjacency table.
    """

    def __init__(self, adjacency: str | os.PathLike | pd.DataFrame) -> None:
        if isinstance(adjacency, pd.DataFrame):
            self._table, self._origin = adjacency, "The adjacency table"
        else:
            self._table, self._origin = read_adjacency(adjacency), f"The adjacency file {adjacency}"

    def source_weights(self, sources: Sequence[str], target: str) -> torch.Tensor:
        """Return the softmax over ``sources`` of their adjacency to ``target``.

        Raises:
            ValueError: when a source or the target is not in the table.
        """
        absent = [source for source in sources if source not in self._table.index]
        absent += [target] if target not in self._table.columns else []
        if absent:
            raise ValueError(f"{self._origin} does not have {', '.join(absent)}; make it with the same sequence table.")
        values = self._table.loc[list(sources), target].fillna(0).to_numpy(dtype=float, copy=True)
        return torch.from_numpy(values).softmax(0)


def fusion_by_name(name: str | os.PathLike) -> Fusion:
    """Return the fusion that a config names: ``"mean"``, or the path of an ``adjacency.csv``.

    Raises:
        FileNotFoundError: when it is neither ``"mean"`` nor a file.
        ValueError: when the file is no adjacency table.
    """
    if str(name) == "mean":
        return MeanFusion()
    if not Path(name).is_file():
        raise FileNotFoundError(f"The fusion '{name}' is neither 'mean' nor an adjacency file that exists.")
    return AdjacencyFusion(name)
