# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The space of the images that are written as DICOM."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def affine(oblique_affine: np.ndarray) -> np.ndarray:
    """Oblique and anisotropic, with a third axis along the normal of the images."""
    return oblique_affine
