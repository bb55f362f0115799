# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""A brain's anatomy from a label map with FreeSurfer's numbers, in place of the drawn one."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel
import numpy as np
from scipy import ndimage

from mri_phantom.brain_anatomy import BrainAnatomy
from mri_phantom.fractions import Fractions
from mri_phantom.tissue import BRAIN_TISSUES

__all__ = ["LabelMap", "find_label_maps"]

#: FreeSurfer's labels of what is inside the skull. All others, the head around it too, are background.
_LABELS = {
    "white_matter": (2, 41, 7, 46, 25, 57, 77, 85, 251, 252, 253, 254, 255),
    "grey_matter": (3, 42, 8, 47, 17, 53, 18, 54, 26, 58),
    "csf": (4, 43, 5, 44, 14, 15, 24, 72),
    "thalamus": (10, 49),
    "caudate": (11, 50),
    "putamen": (12, 51),
    "pallidum": (13, 52),
    "brainstem": (16, 28, 60),
    "vein": (30, 62),
    "choroid_plexus": (31, 63, 136, 137, 163, 164),
}
_VENTRICLES = (4, 43, 5, 44)
_FLUID_AROUND = 24
_CEREBRUM = (2, 3, 41, 42)
# In the phantom's coordinates, mm: the middle of the upper face of the cerebrum's bounding box, and the lowest point.
_CEREBRUM_TOP = (0.0, -15.0, 70.0)
_LOWEST = -66.0
# Fluid that is further from the brain is in the orbits or in the spine, mm.
_FLUID_DEPTH = 5.0


def find_label_maps(folder: str | os.PathLike) -> list[Path]:
    """Return the NIfTI files of a folder in the order of their names.

    Raises:
        ValueError: when there is none.
    """
    files = sorted(path for path in Path(folder).glob("*.nii*") if path.name.endswith((".nii", ".nii.gz")))
    if not files:
        raise ValueError(f"label_maps is {str(folder)!r}; give a folder with label maps, NIfTI files.")
    return files


class LabelMap:
    """The tissues of one brain on a voxel grid, read at any points of the phantom's own coordinates.

    The top of the cerebrum lies where the drawn brain has its own; one mm is one mm. Between voxels,
    shares of tissues are interpolated linearly, which gives partial volumes.

    Args:
        path: NIfTI file with FreeSurfer's labels, in any orientation.

    Raises:
        ValueError: when it cannot be read, or has no label of a brain.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        try:
            image = nibabel.as_closest_canonical(nibabel.load(path))
            labels = np.asarray(image.dataobj).astype(int)
        except (OSError, nibabel.filebasedimages.ImageFileError) as error:
            raise ValueError(f"The label map {path} cannot be read as NIfTI ({error}).") from error
        if labels.ndim != 3 or not np.isin(labels, _CEREBRUM).any():
            raise ValueError(f"The label map {path} has no cerebrum in FreeSurfer's numbers (2, 3, 41, 42), in 3D.")
        self._spacing = np.array(image.header.get_zooms()[:3], dtype=np.float32)
        solid = np.isin(labels, [label for numbers in _LABELS.values() for label in numbers if label != _FLUID_AROUND])
        # room for the fluid around it, and for background beyond
        margin = int(np.ceil(_FLUID_DEPTH / self._spacing.min())) + 1
        solid, labels = np.pad(solid, margin), np.pad(labels, margin)
        corners = np.argwhere(solid)
        ends = zip(corners.min(axis=0) - margin, corners.max(axis=0) + margin + 1, strict=True)
        box = tuple(slice(low, high) for low, high in ends)
        solid, labels = solid[box], labels[box]
        near = ndimage.distance_transform_edt(~solid, sampling=self._spacing) < _FLUID_DEPTH
        brain = solid | (near & (labels == _FLUID_AROUND))
        enclosed = ndimage.binary_fill_holes(brain) & ~brain
        self._labels = np.where(brain, labels, 0) + _FLUID_AROUND * enclosed
        cerebrum = np.argwhere(np.isin(self._labels, _CEREBRUM))
        first, last = cerebrum.min(axis=0), cerebrum.max(axis=0)
        self._top = np.array([*(first + last)[:2] / 2, last[2]], dtype=np.float32)

    def surface(self, points: np.ndarray) -> np.ndarray:
        """Return the distance in mm, ``[N]``, into the brain with the fluid around it, without the spinal cord."""
        return np.minimum(self._distance(self._labels > 0, points), points[2] - _LOWEST)

    def anatomy(self, points: np.ndarray, width: float) -> BrainAnatomy:
        """Return the tissues at ``points`` (float32 ``[3, N]``, mm), as ``draw_anatomy`` does."""
        fractions = Fractions.of_one("csf", BRAIN_TISSUES, points, width)
        for name, numbers in _LABELS.items():
            fractions[name][:] = self._at(np.isin(self._labels, numbers).astype(np.float32), points)
        fractions["csf"][:] += 1 - fractions.values.sum(axis=0)  # at the border, in place of background
        depth = self._distance((self._labels > 0) & (self._labels != _FLUID_AROUND), points)
        return BrainAnatomy(fractions, depth, self._distance(np.isin(self._labels, _VENTRICLES), points))

    def _distance(self, mask: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Return the distance in mm, ``[N]``, into a mask, whose surface is half a voxel beyond its voxels' centres."""
        inwards = ndimage.distance_transform_edt(mask, sampling=self._spacing)
        outwards = ndimage.distance_transform_edt(~mask, sampling=self._spacing)
        half = 0.5 * float(self._spacing.mean())
        return self._at(np.where(mask, inwards - half, half - outwards).astype(np.float32), points)

    def _at(self, volume: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Return the values, ``[N]``, of a volume on the grid at ``points``."""
        offset = points - np.array(_CEREBRUM_TOP, dtype=np.float32)[:, None]
        indices = offset / self._spacing[:, None] + self._top[:, None]
        return ndimage.map_coordinates(volume, indices, order=1, mode="nearest", prefilter=False)
