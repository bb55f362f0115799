# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Two ways to make a sequence without a network: what does not beat them has learnt nothing about anatomy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.tree import DecisionTreeRegressor

from seq2seq_mri.sequences import channel_slices

__all__ = ["CopySource", "TissueMean"]


class CopySource:
    """Every sequence is the mean of the sources.

    Args:
        sequences: the sequence table.
    """

    def __init__(self, sequences: Mapping[str, int]) -> None:
        self.channels = channel_slices(sequences)

    def __call__(self, image: torch.Tensor, sources: Sequence[str]) -> torch.Tensor:
        """Complete a volume ``[ΣT, X, Y, Z]``; returns one of the same shape."""
        frames = [image[self.channels[name]].mean(0) for name in sources]
        result = torch.stack(frames).mean(0).expand(image.shape).clone()
        for name in sources:
            result[self.channels[name]] = image[self.channels[name]]
        return result


class TissueMean:
    """A voxel is the mean of the target over its tissue, which is told from its intensities in the sources.

    The tissues are the leaves of a regression tree of the target's intensity, fitted on voxels of the training subjects
    that have all sources and the target. Where no training subject has, as in an incomplete cohort, the result is the
    mean of the trees of each source alone; where none of the sources was ever measured together with the target, all
    foreground is one tissue. A voxel in which all sources are 0 stays 0.

    Args:
        sequences: the sequence table.
        tissues: most leaves of a tree.
        voxels: number of foreground voxels taken of each subject.
        seed: of the choice of voxels.

    Raises:
        ValueError: in a call, when no training subject has a target at all.
    """

    def __init__(self, sequences: Mapping[str, int], tissues: int = 64, voxels: int = 20000, seed: int = 0) -> None:
        self.channels = channel_slices(sequences)
        self.names = list(sequences)
        self.tissues = tissues
        self.voxels = voxels
        self.seed = seed
        self._subjects: list[tuple[np.ndarray, set[str]]] = []
        self._trees: dict[tuple[tuple[str, ...], str], DecisionTreeRegressor | None] = {}

    def fit(self, subjects: Iterable[Mapping[str, Any]]) -> TissueMean:
        """Take voxels of subjects ``{"image": [ΣT, X, Y, Z], "available": [S]}``; withheld sequences are not used."""
        random = np.random.default_rng(self.seed)
        self._trees = {}
        for subject in subjects:
            available = {name for name, there in zip(self.names, subject["available"].tolist(), strict=True) if there}
            # A plain array of the foreground, ``[voxels, ΣT]``.
            image = torch.as_tensor(subject["image"]).numpy()
            foreground = (self._columns(image, tuple(available)) > 0).any(axis=0)
            values = image[:, foreground].T
            chosen = random.choice(len(values), min(self.voxels, len(values)), replace=False)
            self._subjects.append((values[chosen], available))
        return self

    def __call__(self, image: torch.Tensor, sources: Sequence[str]) -> torch.Tensor:
        """Complete a volume ``[ΣT, X, Y, Z]``; returns one of the same shape."""
        voxels = torch.as_tensor(image).numpy()
        result = torch.zeros(image.shape)
        given = tuple(name for name in self.names if name in sources)
        for name in self.names:
            if name in given:
                result[self.channels[name]] = torch.as_tensor(image[self.channels[name]])
                continue
            groups = [given] if self._tree(given, name) is not None else [(one,) for one in given]
            made = [self._predict(voxels, group, name) for group in groups if self._tree(group, name) is not None]
            if not made:
                made = [self._one_tissue(voxels, given, name)]
            result[self.channels[name]] = torch.from_numpy(np.mean(made, axis=0)).float()
        return result

    def _tree(self, sources: tuple[str, ...], target: str) -> DecisionTreeRegressor | None:
        key = sources, target
        if key not in self._trees:
            voxels = [values for values, available in self._subjects if {*sources, target} <= available]
            self._trees[key] = self._fitted(np.concatenate(voxels), sources, target) if voxels else None
        return self._trees[key]

    def _fitted(self, voxels: np.ndarray, sources: tuple[str, ...], target: str) -> DecisionTreeRegressor:
        tree = DecisionTreeRegressor(max_leaf_nodes=self.tissues, min_samples_leaf=20, random_state=self.seed)
        return tree.fit(self._columns(voxels.T, sources).T, voxels[:, self.channels[target]])

    def _columns(self, rows: np.ndarray, sources: tuple[str, ...]) -> np.ndarray:
        return np.concatenate([rows[self.channels[name]] for name in sources])

    def _one_tissue(self, image: np.ndarray, sources: tuple[str, ...], target: str) -> np.ndarray:
        voxels = [values[:, self.channels[target]] for values, available in self._subjects if target in available]
        if not voxels:
            raise ValueError(f"No training subject has {target}; its mean is unknown, and no method can learn it.")
        foreground = (self._columns(image, sources) > 0).any(axis=0)
        return np.concatenate(voxels).mean(axis=0)[:, None, None, None] * foreground

    def _predict(self, image: np.ndarray, sources: tuple[str, ...], target: str) -> np.ndarray:
        features = self._columns(image, sources)
        foreground = (features > 0).any(axis=0)
        channels = self.channels[target]
        made = np.zeros((channels.stop - channels.start, *image.shape[1:]))
        tree = self._tree(sources, target)
        if tree is not None and foreground.any():
            made[:, foreground] = tree.predict(features[:, foreground].T).reshape(-1, len(made)).T
        return made
