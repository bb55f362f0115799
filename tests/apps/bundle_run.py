# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What ``python -m monai.bundle run`` makes, with which the hosts are compared."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np

#: Largest difference, as a fraction of the largest value.
RELATIVE = 1e-5


def run_bundle(bundle: Path, dataset_dir: Path, output: Path, **options: object) -> Path:
    """Run a bundle's inference as the README says, in this environment, and return its output folder."""
    command = [sys.executable, "-m", "monai.bundle", "run", "inference", "--bundle_root", str(bundle)]
    command += ["--config_file", str(bundle / "configs" / "inference.json"), "--dataset_dir", str(dataset_dir)]
    command += ["--output_dir", str(output), "--figures", "False"]
    command += [part for name, value in options.items() for part in (f"--{name}", str(value))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, cwd=output.parent, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return output


def assert_equal(
    image: nibabel.Nifti1Image, expected: nibabel.Nifti1Image, affine_tolerance: float = 0.0
) -> np.ndarray:
    """Check that an image is the expected one, voxels in float32 and grid, and return its voxels."""
    assert image.get_data_dtype() == np.float32
    assert image.shape == expected.shape
    np.testing.assert_allclose(image.affine, expected.affine, rtol=0, atol=affine_tolerance)
    voxels, truth = np.asanyarray(image.dataobj), np.asanyarray(expected.dataobj)
    assert truth.max() > 0.1
    np.testing.assert_allclose(voxels, truth, rtol=0, atol=RELATIVE * np.abs(truth).max())
    return voxels
