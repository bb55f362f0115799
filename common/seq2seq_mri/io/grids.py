# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Brings the sequences of a subject onto one voxel grid, and results back onto the grid of the subject's file."""

from __future__ import annotations

import itertools

import nibabel
import numpy as np
import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from monai.transforms import ResampleToMatch
from monai.utils import convert_to_numpy

from seq2seq_mri.io.nifti import Volume

__all__ = ["match_grid", "on_source_grid", "source_margins"]


def match_grid(volume: Volume, reference: Volume, subject: str, tolerance: float, resample: bool = False) -> np.ndarray:
    """Return the voxels of ``volume`` on the grid of ``reference``.

    The same physical grid stored in another orientation is reoriented by flips and swaps of axes, without loss.

    Corners of equal grids lie within ``tolerance`` mm. A volume on another grid is interpolated linearly (zero outside
    of it) with ``resample``, and refused without it. Returns float32 ``[T, X, Y, Z]``.

    Raises:
        ValueError: when the grids differ and ``resample`` is false, or when the two do not overlap.
    """
    voxels, affine = _reorient(volume, reference)
    shape, reference_shape = voxels.shape[1:], reference.voxels.shape[1:]
    differences = []
    if shape != reference_shape:
        differences.append(f"shapes {reference_shape} and {shape}")
    corners = np.array(np.meshgrid(*[(0, size - 1) for size in reference_shape], [1], indexing="ij")).reshape(4, -1)
    distance = float(np.linalg.norm(((affine - reference.affine) @ corners)[:3], axis=0).max())
    if distance > tolerance:
        differences.append(f"affines that put a corner {distance:.3g} mm apart (tolerance {tolerance:g} mm)")
    if not differences:
        return voxels
    both = f"Subject '{subject}': {reference.path} and {volume.path}"
    if not resample:
        raise ValueError(
            f"{both} lie on different grids: {' and '.join(differences)}. Co-register the sequences, or load with "
            "`resample: true`, which resamples each to the first."
        )
    resampled = ResampleToMatch(mode="bilinear", padding_mode="zeros", dtype=np.float64)(
        MetaTensor(torch.from_numpy(np.ascontiguousarray(voxels)), affine=torch.from_numpy(affine)),
        # Only the grid of the reference is used, so one channel that takes no memory stands for its voxels.
        MetaTensor(torch.zeros(1).expand(1, *reference_shape), affine=torch.from_numpy(reference.affine)),
    )
    result = convert_to_numpy(resampled, dtype=np.float32)
    if not result.any():
        raise ValueError(f"{both} do not overlap in space; correct their headers.")
    return result


def _reorient(volume: Volume, reference: Volume) -> tuple[np.ndarray, np.ndarray]:
    transform = nibabel.orientations.ornt_transform(
        nibabel.orientations.io_orientation(volume.affine), nibabel.orientations.io_orientation(reference.affine)
    )
    shape = volume.voxels.shape[1:]
    # nibabel orients the leading axes and carries trailing ones along, so the timepoints go last for a moment.
    voxels = nibabel.orientations.apply_orientation(np.moveaxis(volume.voxels, 0, -1), transform)
    affine = volume.affine @ nibabel.orientations.inv_ornt_aff(transform, shape)
    return np.moveaxis(voxels, -1, 0), affine


def source_margins(image: torch.Tensor) -> list[int]:
    """Return by how many voxels the field of view of a subject's file exceeds an image ``[C, X, Y, Z]`` of it.

    After crops, pads, flips and swaps of axes these are the voxels that lead back to the file's own grid. After a
    resampling they lead to the resampled grid's voxels whose centres lie in the file's field of view. An image
    without the metadata that ``LoadImageSequencesd`` gives has no margins.

    Returns what ``torch.nn.functional.pad`` takes; negative where the image was padded beyond the file.
    """
    metadata = getattr(image, "meta", {})
    if "original_affine" not in metadata or "spatial_shape" not in metadata:
        return [0] * 6
    affine, original = (
        np.asarray(convert_to_numpy(metadata[key]), dtype=float) for key in ("affine", "original_affine")
    )
    size = [int(side) for side in metadata["spatial_shape"]]
    # A voxel reaches half its size to either side of its centre.
    corners = np.array([[*corner, 1.0] for corner in itertools.product(*((-0.5, side - 0.5) for side in size))])
    corners = (corners @ (np.linalg.inv(affine) @ original).T)[:, :3]
    tolerance = 1e-3  # voxels, for the rounding of affines
    first = np.ceil(corners.min(axis=0) - tolerance).astype(int)
    last = np.floor(corners.max(axis=0) + tolerance).astype(int)
    margins: list[int] = []
    for axis in (2, 1, 0):
        margins += [-int(first[axis]), int(last[axis]) + 1 - image.shape[axis + 1]]
    return margins


def on_source_grid(volume: torch.Tensor, margins: list[int]) -> torch.Tensor:
    """Return a volume ``[..., X, Y, Z]`` with these margins, 0 where there was nothing; see :func:`source_margins`."""
    return F.pad(volume, margins) if any(margins) else volume
