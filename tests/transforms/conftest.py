# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Small NIfTI files for the tests of the transforms; makes ``dicom_writer`` importable."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

# In importlib mode pytest adds no folder itself.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def oblique_affine() -> np.ndarray:
    """An anisotropic, oblique affine whose axes run to the left, posterior and superior."""
    angle = np.deg2rad(12.0)
    rotation = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag([-0.9, -1.1, 3.0])
    affine[:3, 3] = [41.5, 60.25, -17.0]
    return affine


@pytest.fixture
def write_volume(tmp_path: Path) -> Callable[..., str]:
    """Write a NIfTI file of seeded positive noise in a zero frame, or of the given voxels, and return its path."""

    def write(name, voxels=None, affine=None, shape=(9, 8, 7), seed=0, dtype=np.float32):
        if voxels is None:
            voxels = np.zeros(shape, dtype=dtype)
            inner = voxels[1:-1, 2:-1, 1:-2]
            inner[...] = np.random.default_rng(seed).integers(1, 1000, inner.shape)
        affine = np.eye(4) if affine is None else affine
        path = tmp_path / name
        nibabel.save(nibabel.Nifti1Image(np.asarray(voxels).astype(dtype), affine), path)
        return str(path)

    return write


@pytest.fixture
def real_subject(shared_data: Path) -> Callable[[str], dict[str, str]]:
    """Give the subject dictionary of a real patient, by its name."""

    def subject(name: str) -> dict[str, str]:
        brats = {"t1": "-t1n", "t1gd": "-t1c", "t2": "-t2w", "flair": "-t2f"}
        open_ms = {"t1": "_T1", "t1gd": "_T1POST", "t2": "_T2", "flair": "_FLAIR"}
        folder = shared_data / "data" / "brain" / name
        endings = open_ms if name.startswith("patient") else brats
        return {"subject": name} | {key: str(folder / f"{name}{ending}.nii.gz") for key, ending in endings.items()}

    return subject
