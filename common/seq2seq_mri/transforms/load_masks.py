# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Loading the masks of what only one sequence shows."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform

from seq2seq_mri.sequences import check_sequences, sequence_index
from seq2seq_mri.transforms.read import read_volume

__all__ = ["LoadUniqueMasksd"]


class LoadUniqueMasksd(MapTransform):
    """Read a subject's ``unique`` masks, which simulated cohorts have, into ``unique_masks``.

    It comes right after ``LoadImageSequencesd``; the spatial transforms that follow act on both keys, with
    ``allow_missing_keys`` for subjects without masks.

    Args:
        sequences: the sequence table.
        image_key: key of the loaded image, on whose grid the masks must be.
        masks_key: key of the result.
    """

    def __init__(self, sequences: Mapping[str, int], image_key: str = "image", masks_key: str = "unique_masks") -> None:
        super().__init__(keys=[image_key])
        self.sequences = check_sequences(sequences)
        self.image_key = image_key
        self.masks_key = masks_key

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
            volume = read_volume(path, subject, allow_constant=True)
            same_affine = torch.allclose(torch.as_tensor(volume.affine), image.affine.double(), atol=1e-3)
            if volume.voxels.shape[1:] != tuple(image.shape[1:]) or not same_affine:
                raise ValueError(f"Subject '{subject}': {path} is on another grid than the images.")
            masks[sequence_index(self.sequences, name)] = torch.from_numpy(volume.voxels[0] != 0).float()
        result[self.masks_key] = MetaTensor(masks, affine=image.affine.clone(), meta={"original_channel_dim": 0})
        return result
