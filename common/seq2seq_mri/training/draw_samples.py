# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Random training samples of prepared subjects, drawn where there is tissue: whole slices, or parts of volumes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import MapTransform, RandomizableTransform

from seq2seq_mri.sequences import channel_slices, check_sequences
from seq2seq_mri.training.prepared_files import StoredSlices

__all__ = ["RandTissueCropd", "RandTissueSliced"]


class _RandTissued(RandomizableTransform, MapTransform):
    """Chooses a slice in which there is something to learn.

    Slices count in which two of the available sequences or more have tissue, or, where no slice is like that, one; a
    sequence has tissue in a slice where at least ``min_tissue`` of it lies above the background. Where no slice has as
    much, all that are not empty count. Among those that count the choice is uniform.
    """

    def __init__(self, sequences: Mapping[str, int], size: Sequence[int], axes: int, min_tissue: float) -> None:
        RandomizableTransform.__init__(self)
        MapTransform.__init__(self, keys="image")
        if len(size) != axes or min(size) < 1:
            option = "slice_size" if axes == 2 else "crop_size"
            raise ValueError(f"{option} is {list(size)}; give {axes} positive whole numbers.")
        if not 0 <= min_tissue <= 1:
            raise ValueError(f"min_tissue is {min_tissue}; give a fraction of a slice, 0 to 1.")
        self.sequences = check_sequences(sequences)
        self.size = tuple(size)
        self.min_tissue = min_tissue

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Draw a sample of a subject, as ``PreparedSubjects.stored`` gives it.

        Returns:
            ``data`` without ``tissue``, its image replaced by float16 ``[ΣT, H, W, D]``, a plain tensor.
        """
        slices = data["image"]
        middle = int(self.R.choice(self._slices_with_tissue(data, slices.shape[2] * slices.shape[3])))
        rest = {key: value for key, value in data.items() if key != "tissue"}
        return {**rest, "image": self.draw(slices, middle)}

    @abstractmethod
    def draw(self, slices: StoredSlices, middle: int) -> torch.Tensor:
        """Return a sample ``[ΣT, H, W, D]`` around slice ``middle`` of ``[Z, ΣT, X, Y]``."""

    def _slices_with_tissue(self, data: Mapping[Hashable, Any], area: int) -> np.ndarray:
        tissue = np.asarray(data["tissue"])
        available = torch.as_tensor(data["available"]).tolist()
        parts = [part for part, there in zip(channel_slices(self.sequences).values(), available, strict=True) if there]
        fractions = np.stack([tissue[:, part].max(axis=1) for part in parts]) / area
        number = (fractions >= max(self.min_tissue, 1 / area)).sum(axis=0)
        if not number.any():
            number = (fractions > 0).sum(axis=0)
        chosen = np.flatnonzero(number >= min(2, number.max()))
        if number.max() == 0:
            raise ValueError(f"Subject '{data.get('subject')}' has no tissue in any slice; leave it out.")
        return chosen


class RandTissueSliced(_RandTissued):
    """Draw a whole slice with its neighbours, as a 2.5D network takes it in inference.

    The slice is padded with zeros at both sides, or where it is larger cut around its middle, to ``slice_size``, as
    MONAI's ``ResizeWithPadOrCrop`` does; beyond the first and the last slice these are repeated.

    Args:
        sequences: the sequence table.
        slice_size: width and height of the samples.
        in_channels: number of adjacent slices, odd.
        min_tissue: fraction of the slice, before it is padded, that tissue must cover.

    Raises:
        ValueError: when an argument is out of its range.
    """

    def __init__(
        self, sequences: Mapping[str, int], slice_size: Sequence[int], in_channels: int, min_tissue: float = 0.02
    ) -> None:
        super().__init__(sequences, slice_size, 2, min_tissue)
        if in_channels < 1 or in_channels % 2 == 0:
            raise ValueError(f"in_channels is {in_channels}; a slice with its neighbours needs an odd number.")
        self.in_channels = in_channels

    def draw(self, slices: StoredSlices, middle: int) -> torch.Tensor:
        """Return the slice and its neighbours."""
        wanted = np.arange(self.in_channels) + middle - self.in_channels // 2
        order = wanted.clip(0, len(slices) - 1)  # beyond its ends a volume has no slices
        stack = torch.from_numpy(slices.read(int(order[0]), int(order[-1]) + 1))
        if len(stack) < self.in_channels:
            stack = stack[order - order[0]]
        sample = stack.new_zeros(self.in_channels, slices.shape[1], *self.size)
        (width, x), (height, y) = map(_overlap, slices.shape[2:], self.size)
        sample[:, :, x, y] = stack[:, :, width, height]
        return sample.permute(1, 2, 3, 0)


class RandTissueCropd(_RandTissued):
    """Draw a part of a volume, for a 3D network, somewhere around a voxel with tissue.

    Where the volume is smaller it is padded with zeros at both sides, as MONAI's ``SpatialPad`` does.

    Args:
        sequences: the sequence table.
        crop_size: size of the samples along X, Y, Z.
        min_tissue: fraction of the slice of that voxel that tissue must cover.
    """

    def __init__(self, sequences: Mapping[str, int], crop_size: Sequence[int], min_tissue: float = 0.02) -> None:
        super().__init__(sequences, crop_size, 3, min_tissue)

    def draw(self, slices: StoredSlices, middle: int) -> torch.Tensor:
        """Return the part."""
        mapped = slices.map()
        plane = mapped[middle]
        # Slices are chosen by what lies above the lowest value of the volume, which an empty corner of the plane has.
        voxels = np.argwhere((plane > plane.min()).any(axis=0))
        x, y = voxels[self.R.randint(len(voxels))] if len(voxels) else np.array(plane.shape[1:]) // 2
        sizes = (*slices.shape[2:], slices.shape[0])
        sample = torch.zeros(slices.shape[1], *self.size, dtype=torch.float16)
        source, place = [], []
        for size, wanted, voxel in zip(sizes, self.size, (x, y, middle), strict=True):
            if size <= wanted:
                inside, outside = _overlap(size, wanted)
            else:
                start = int(np.clip(voxel - self.R.randint(wanted), 0, size - wanted))
                inside, outside = slice(start, start + wanted), slice(0, wanted)
            source.append(inside)
            place.append(outside)
        part = torch.from_numpy(mapped[source[2], :, source[0], source[1]]).movedim(0, -1)
        sample[:, place[0], place[1], place[2]] = part
        return sample


def _overlap(size: int, wanted: int) -> tuple[slice, slice]:
    """Return which part of an axis is taken, and where it comes to lie, when it is padded or cut at both ends."""
    if size <= wanted:
        before = (wanted - size) // 2
        return slice(0, size), slice(before, before + size)
    start = size // 2 - wanted // 2
    return slice(start, start + wanted), slice(0, wanted)
