# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Loads masks onto the grid of a subject's image: the lesion, and content that only one sequence shows."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform

from seq2seq_mri.io.grids import match_grid
from seq2seq_mri.io.nifti import Volume, read_volume
from seq2seq_mri.sequences import check_sequences, sequence_index

__all__ = ["LoadLesionMaskd", "LoadUniqueMasksd"]

# In mm; the default of LoadImageSequencesd.
_TOLERANCE = 0.01


class _LoadMasksd(MapTransform):
    """Reads masks onto the grid of ``image``: a mask is the same grid, if need be in another orientation.

    It comes after ``LoadImageSequencesd`` and before the spatial transforms, which then act on both keys, with
    ``allow_missing_keys`` for subjects without masks. A mask on another grid is refused, or with ``resample``
    resampled.
    """

    def __init__(self, resample: bool) -> None:
        super().__init__(keys=["image"])
        self.resample = resample

    def _read(self, path: str | os.PathLike, data: Mapping[Hashable, Any]) -> torch.Tensor:
        """Return a mask ``[X, Y, Z]`` of 0 and 1 on the grid of the image; values other than 0 in the file are 1."""
        image, subject = data["image"], _subject(data)
        volume = read_volume(path, subject, allow_constant=True)
        if len(volume.voxels) != 1:
            raise ValueError(f"Subject '{subject}': {path} has {len(volume.voxels)} timepoints; a mask is a 3D volume.")
        marked = Volume((volume.voxels != 0).astype(np.float32), volume.affine, volume.path)
        # Only the grid of the reference is used, so one voxel that takes no memory stands for all of them.
        grid = np.broadcast_to(np.float32(0), (1, *image.shape[1:]))
        affine = np.asarray(image.affine, dtype=np.float64)
        reference = Volume(grid, affine, image.meta.get("filename_or_obj", "the image"))
        # A resampled mask without a voxel is as one that lies elsewhere, which match_grid refuses.
        resample = self.resample and bool(marked.voxels.any())
        on_grid = match_grid(marked, reference, subject, _TOLERANCE, resample)
        return torch.from_numpy((on_grid[0] > 0.5).astype(np.float32))


class LoadUniqueMasksd(_LoadMasksd):
    """Read a subject's ``unique`` masks, which simulated cohorts have, into ``unique_masks``.

    The result, for subjects that have such masks, is a float32 ``MetaTensor`` ``[S, X, Y, Z]`` of 0 and 1 in the
    order of the table ``sequences``. See :class:`_LoadMasksd` for ``resample``.

    Raises:
        ValueError: when the table is not of its form.
    """

    def __init__(self, sequences: Mapping[str, int], resample: bool = False) -> None:
        super().__init__(resample)
        self.sequences = check_sequences(sequences)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the masks, if there are any."""
        result = dict(data)
        paths = result.pop("unique", None)
        if paths:
            masks = torch.zeros((len(self.sequences), *result["image"].shape[1:]))
            for name, path in paths.items():
                masks[sequence_index(self.sequences, name)] = self._read(path, result)
            result["unique_masks"] = _like_image(masks, result["image"])
        return result


class LoadLesionMaskd(_LoadMasksd):
    """Read the mask that a subject's ``lesion`` names into its place.

    The result is a float32 ``MetaTensor`` ``[1, X, Y, Z]`` of 0 and 1. A subject without a mask has no such key, and
    is refused, like one with an empty mask, where it is ``required``. See :class:`_LoadMasksd` for ``resample``.
    """

    def __init__(self, resample: bool = False, required: bool = False) -> None:
        super().__init__(resample)
        self.required = required

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Put the mask in the place of its path, if there is one."""
        result = dict(data)
        path = result.pop("lesion", None)
        if not path:
            if self.required:
                raise ValueError(
                    f"Subject '{_subject(data)}' has no mask of a lesion; name its file in the datalist, under "
                    "'lesion', or leave the subject out."
                )
            return result
        mask = self._read(path, result)
        if self.required and not mask.any():
            raise ValueError(
                f"Subject '{_subject(data)}': {path} marks no voxel of the image; correct the mask of the lesion, or "
                "leave the subject out."
            )
        result["lesion"] = _like_image(mask[None], result["image"])
        return result


def _subject(data: Mapping[Hashable, Any]) -> str:
    return str(data.get("subject", "unnamed"))


def _like_image(masks: torch.Tensor, image: MetaTensor) -> MetaTensor:
    return MetaTensor(masks, affine=image.affine.clone(), meta={"original_channel_dim": 0})
