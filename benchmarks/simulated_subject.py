# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The subject that whole-subject benchmarks analyse: simulated brain MRI without an empty slice."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from mri_phantom.grid import grid_affine
from mri_phantom.scanner import Scan
from mri_phantom.subject import draw_brain

__all__ = ["write_subject"]

FIELD_OF_VIEW = 192.0  # mm, in which the simulated brain fits
SIMULATED_SLICES = 48


def write_subject(folder: Path, image_size: int, slices: int) -> dict[Hashable, Any]:
    """Write T1, T1Gd, T2 and FLAIR of a simulated patient as NIfTI, always the same ones.

    Slices without brain are left out and the others repeated to the number wanted, so that skipping empty slices, which
    this project's inferer does and the naive loop does not, is no part of what is compared.

    Args:
        folder: where the files are written.
        image_size: width and height of a slice, at least 32.
        slices: number of slices.

    Returns:
        a subject's dictionary: its name, and sequence → path.
    """
    shape = (max(image_size, 32), max(image_size, 32), SIMULATED_SLICES)
    spacing = (FIELD_OF_VIEW / shape[0], FIELD_OF_VIEW / shape[1], FIELD_OF_VIEW / SIMULATED_SLICES)
    images = draw_brain(np.random.default_rng(0), Scan(shape, spacing)).images
    filled = np.flatnonzero(np.all([volume.any(axis=(0, 1)) for volume in images.values()], axis=0))
    chosen = filled[np.linspace(0, len(filled) - 1, slices).round().astype(int)]
    affine = grid_affine((image_size, image_size, slices), (spacing[0], spacing[1], 1.0))
    subject: dict[Hashable, Any] = {"subject": "simulated"}
    for name, volume in images.items():
        start = (shape[0] - image_size) // 2
        part = volume[start : start + image_size, start : start + image_size, chosen]
        path = folder / f"{name}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(part, affine), path)
        subject[name] = str(path)
    return subject
