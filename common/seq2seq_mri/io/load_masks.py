# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Loading masks that lie on the grid of a subject's image: of what only one sequence shows, and of the lesion."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform

from seq2seq_mri.io.grids import match_grid
from seq2seq_mri.io.read_nifti import Volume, read_volume
from seq2seq_mri.sequences import check_sequences, sequence_index

__all__ = ["LoadLesionMaskd", "LoadUniqueMasksd"]


class LoadUniqueMasksd(MapTransform):
    """Read a subject's ``unique`` masks, which simulated cohorts have, into ``unique_masks``.

    It comes after ``LoadImageSequencesd`` and before the spatial transforms, which then act on both keys, with
    ``allow_missing_keys`` for subjects without masks.

    Args:
        sequences: the sequence table.
        image_key: key of the loaded image, on whose grid the masks must be. The same grid stored in another orientation
            will do.
        masks_key: key of the result.
        resample: whether a mask on another grid is resampled to the image's, or refused.
        tolerance: greatest distance in millimetres by which the corners of two equal grids may differ.
    """

    def __init__(
        self,
        sequences: Mapping[str, int],
        image_key: str = "image",
        masks_key: str = "unique_masks",
        resample: bool = False,
        tolerance: float = 0.01,
    ) -> None:
        super().__init__(keys=[image_key])
        self.sequences = check_sequences(sequences)
        self.image_key = image_key
        self.masks_key = masks_key
        self.resample = resample
        self.tolerance = tolerance

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the masks, float32 ``MetaTensor`` ``[S, X, Y, Z]`` of 0 and 1 in the table's order, if there are any.

        Raises:
            FileNotFoundError: when a mask does not exist.
            ValueError: when a mask is unusable, of an unknown sequence, or on another grid than the image.
        """
        result = dict(data)
        paths = result.pop("unique", None)
        if not paths:
            return result
        image = result[self.image_key]
        subject = str(result.get("subject", "unnamed"))
        masks = torch.zeros((len(self.sequences), *image.shape[1:]))
        for name, path in paths.items():
            index = sequence_index(self.sequences, name)
            masks[index] = _read_mask(path, subject, image, self.resample, self.tolerance)
        result[self.masks_key] = _like_image(masks, image)
        return result


class LoadLesionMaskd(MapTransform):
    """Read the mask that a subject's ``lesion`` path names, in its place.

    It comes after ``LoadImageSequencesd`` and before the spatial transforms, which then act on both keys, with
    ``allow_missing_keys`` for subjects without a mask.

    Args:
        image_key: key of the loaded image, on whose grid the mask must be. The same grid stored in another orientation
            will do.
        lesion_key: key of the path, and of the result.
        resample: whether a mask on another grid is resampled to the image's, or refused.
        tolerance: greatest distance in millimetres by which the corners of two equal grids may differ.
        required: whether a subject without a mask, or with an empty one, is refused.
    """

    def __init__(
        self,
        image_key: str = "image",
        lesion_key: str = "lesion",
        resample: bool = False,
        tolerance: float = 0.01,
        required: bool = False,
    ) -> None:
        super().__init__(keys=[image_key])
        self.image_key = image_key
        self.lesion_key = lesion_key
        self.resample = resample
        self.tolerance = tolerance
        self.required = required

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Put the mask, float32 ``MetaTensor`` ``[1, X, Y, Z]`` of 0 and 1, in the place of its path, if there is one.

        Raises:
            FileNotFoundError: when the mask does not exist.
            ValueError: when it is unusable, on another grid than the image, or absent and required.
        """
        result = dict(data)
        path = result.pop(self.lesion_key, None)
        if not path:
            if self.required:
                raise ValueError(
                    f"Subject '{result.get('subject', 'unnamed')}' has no mask of a lesion; name its file in the "
                    f"datalist, under '{self.lesion_key}', or leave the subject out."
                )
            return result
        image = result[self.image_key]
        mask = _read_mask(path, str(result.get("subject", "unnamed")), image, self.resample, self.tolerance)
        if self.required and not mask.any():
            raise ValueError(
                f"Subject '{result.get('subject', 'unnamed')}': {path} marks no voxel of the image; correct the mask "
                "of the lesion, or leave the subject out."
            )
        result[self.lesion_key] = _like_image(mask[None], image)
        return result


def _read_mask(
    path: str | os.PathLike, subject: str, image: MetaTensor, resample: bool, tolerance: float
) -> torch.Tensor:
    """Return a mask ``[X, Y, Z]`` of 0 and 1 on the grid of ``image``; values other than 0 in the file are 1."""
    volume = read_volume(path, subject, allow_constant=True)
    if len(volume.voxels) != 1:
        raise ValueError(f"Subject '{subject}': {path} has {len(volume.voxels)} timepoints; a mask is a 3D volume.")
    marked = Volume((volume.voxels != 0).astype(np.float32), volume.affine, volume.path)
    # Only the grid of the reference is used, so one voxel that takes no memory stands for all of them.
    shape = (1, *image.shape[1:])
    file_name = image.meta.get("filename_or_obj", "the image")
    affine = np.asarray(image.affine, dtype=np.float64)
    reference = Volume(np.broadcast_to(np.float32(0), shape), affine, file_name)
    # A resampled mask without a voxel is as one that lies elsewhere, which match_grid refuses.
    on_grid = match_grid(marked, reference, subject, tolerance, resample and bool(marked.voxels.any()))
    return torch.from_numpy((on_grid[0] > 0.5).astype(np.float32))


def _like_image(masks: torch.Tensor, image: MetaTensor) -> MetaTensor:
    return MetaTensor(masks, affine=image.affine.clone(), meta={"original_channel_dim": 0})
