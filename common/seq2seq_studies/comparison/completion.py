# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Three ways to complete a volume: a trained network, a copy of the sources, and the mean of each tissue.

What does not beat the two without a network has learnt nothing about anatomy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.tree import DecisionTreeRegressor

from seq2seq_mri.sequences import channel_slices, marked_sequences, sequence_index
from seq2seq_mri.transforms.slice_stack import slice_stacks
from seq2seq_studies.networks.many_to_many import ManyToMany

__all__ = ["Complete", "TissueMean", "complete_volume", "copy_sources"]

#: Called with a volume ``[ΣT, X, Y, Z]`` and the names of its sources; returns one of the same shape.
Complete = Callable[[torch.Tensor, Sequence[str]], torch.Tensor]

VOXELS = 20000


@torch.inference_mode()
def complete_volume(
    network: ManyToMany, image: torch.Tensor, sources: Sequence[str], slice_batch_size: int = 4
) -> torch.Tensor:
    """Synthesise the sequences that are not among the sources; slices along the last axis, with their neighbours.

    Args:
        network: of two spatial dimensions, on any device, in evaluation mode.
        image: ``[ΣT, X, Y, Z]``; only the sources are read.
        sources: names of the sequences that the network is given.
        slice_batch_size: slices that are completed together.

    Returns:
        ``[ΣT, X, Y, Z]`` float32 on the CPU: sources as they came, the others synthesised and clipped to [0, 1]; slices
        in which all sources are 0 are 0.
    """
    indices = [sequence_index(network.sequences, name) for name in sources]
    available = torch.zeros(len(network.sequences), dtype=torch.bool)
    available[indices] = True
    device = next(network.parameters()).device
    volume = torch.as_tensor(image, dtype=torch.float32).cpu()
    given = available.repeat_interleave(torch.tensor(network.timepoints))
    result = torch.zeros_like(volume)
    result[given] = volume[given]
    filled = torch.nonzero((volume[given] != 0).flatten(0, 2).any(0))[:, 0]
    for batch in filled.split(slice_batch_size):
        stacks = slice_stacks(volume, batch, network.in_channels).to(device)
        made = network(stacks, available.to(device).expand(len(batch), -1))
        middle = made[:, :, network.in_channels // 2].clamp(0.0, 1.0).movedim(0, -1).cpu()
        result[:, :, :, batch] = torch.where(given[:, None, None, None], volume[..., batch], middle)
    return result


def copy_sources(sequences: Mapping[str, int], image: torch.Tensor, sources: Sequence[str]) -> torch.Tensor:
    """Return a volume ``[ΣT, X, Y, Z]`` in which every sequence but the sources is their mean."""
    channels = channel_slices(sequences)
    mean = torch.stack([image[channels[name]].mean(0) for name in sources]).mean(0)
    result = mean.expand(image.shape).clone()
    for name in sources:
        result[channels[name]] = image[channels[name]]
    return result


class TissueMean:
    """A voxel is the mean of the target over its tissue, which is told from its intensities in the sources.

    The tissues are the leaves, at most 64, of a regression tree of the target's intensity, fitted on 20,000 foreground
    voxels of each training subject that has all sources and the target. Where no training subject has, as in an
    incomplete cohort, the result is the mean of the trees of each source alone; where none of the sources was ever
    measured together with the target, all foreground is one tissue. A voxel in which all sources are 0 stays 0.

    Args:
        sequences: the sequence table.
    """

    def __init__(self, sequences: Mapping[str, int]) -> None:
        self.channels = channel_slices(sequences)
        self.sequences = sequences
        self._subjects: list[tuple[np.ndarray, set[str]]] = []
        self._trees: dict[tuple[tuple[str, ...], str], DecisionTreeRegressor | None] = {}

    def fit(self, subjects: Iterable[Mapping[str, Any]]) -> TissueMean:
        """Take voxels of subjects ``{"image": [ΣT, X, Y, Z], "available": [S]}``; withheld sequences are not used."""
        random = np.random.default_rng(0)
        for subject in subjects:
            available = set(marked_sequences(self.sequences, subject["available"]))
            # A plain array of the foreground, ``[voxels, ΣT]``.
            image = torch.as_tensor(subject["image"]).numpy()
            foreground = (self._columns(image, tuple(available)) > 0).any(axis=0)
            values = image[:, foreground].T
            chosen = random.choice(len(values), min(VOXELS, len(values)), replace=False)
            self._subjects.append((values[chosen], available))
        return self

    def __call__(self, image: torch.Tensor, sources: Sequence[str]) -> torch.Tensor:
        """Complete a volume ``[ΣT, X, Y, Z]``; returns one of the same shape."""
        voxels = torch.as_tensor(image).numpy()
        result = torch.zeros(image.shape)
        given = tuple(name for name in self.sequences if name in sources)
        for name in self.sequences:
            if name in given:
                result[self.channels[name]] = torch.as_tensor(image[self.channels[name]])
                continue
            result[self.channels[name]] = torch.from_numpy(self._made(voxels, given, name)).float()
        return result

    def _made(self, image: np.ndarray, given: tuple[str, ...], target: str) -> np.ndarray:
        for groups in ([given], [(one,) for one in given]):
            made = [
                self._predict(image, group, tree) for group in groups if (tree := self._tree(group, target)) is not None
            ]
            if made:
                return np.mean(made, axis=0)
        voxels = [values[:, self.channels[target]] for values, available in self._subjects if target in available]
        if not voxels:
            raise ValueError(f"No training subject has {target}; its mean is unknown, and no method can learn it.")
        foreground = (self._columns(image, given) > 0).any(axis=0)
        return np.concatenate(voxels).mean(axis=0)[:, None, None, None] * foreground

    def _predict(self, image: np.ndarray, sources: tuple[str, ...], tree: DecisionTreeRegressor) -> np.ndarray:
        features = self._columns(image, sources)
        foreground = (features > 0).any(axis=0)
        made = np.zeros((tree.n_outputs_, *image.shape[1:]))
        if foreground.any():
            made[:, foreground] = tree.predict(features[:, foreground].T).reshape(-1, len(made)).T
        return made

    def _tree(self, sources: tuple[str, ...], target: str) -> DecisionTreeRegressor | None:
        key = sources, target
        if key not in self._trees:
            voxels = [values for values, available in self._subjects if {*sources, target} <= available]
            self._trees[key] = None
            if voxels:
                rows = np.concatenate(voxels)
                tree = DecisionTreeRegressor(max_leaf_nodes=64, min_samples_leaf=20, random_state=0)
                self._trees[key] = tree.fit(self._columns(rows.T, sources).T, rows[:, self.channels[target]])
        return self._trees[key]

    def _columns(self, rows: np.ndarray, sources: tuple[str, ...]) -> np.ndarray:
        return np.concatenate([rows[self.channels[name]] for name in sources])
