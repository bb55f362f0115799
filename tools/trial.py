# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Trying an unzipped bundle on a simulated subject."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

from mri_phantom.brain import simulate_brain
from mri_phantom.breast import simulate_breast
from mri_phantom.breast_protocol import BREAST_SEQUENCES
from tools.isolation import run_isolated

__all__ = ["check_predictions", "simulate_for", "try_inference"]

_BRAIN_SEQUENCES = ("t1", "t1gd", "t2", "flair")
_BREAST_SPACING = 7.0
# At least the voxels of the simulated cohorts across a slice.
_SLICE_SIZE = [48, 48]
_PREDICTIONS = "predictions.csv"


def simulate_for(bundle: Path, folder: Path) -> Path:
    """Write a small simulated cohort with the sequences of a bundle.

    Raises:
        ValueError: when there is no simulation of them.
    """
    sequences = _inference(bundle)["sequences"]
    if set(sequences) <= set(_BRAIN_SEQUENCES):
        # With the labels that the training of a classifier asks for.
        simulate_brain(folder, splits=(2, 2, 1), shape=(40, 48, 40), spacing=5.0, missing=0, healthy=0.0, texture=0.8)
    elif set(sequences) <= set(BREAST_SEQUENCES):
        simulate_breast(folder, splits=(2, 1, 1), shape=(40, 34, 32), spacing=_BREAST_SPACING)
    else:
        raise ValueError(f"{bundle.name}: no cohort can be simulated with the sequences {', '.join(sequences)}.")
    return folder


def try_inference(bundle: Path, cohort: Path, python: str = sys.executable) -> None:
    """Run ``python -m monai.bundle run inference`` with an unzipped bundle on the subject of ``testing``.

    The command runs in another folder, and takes the package from the bundle.

    Args:
        bundle: folder of the unzipped bundle.
        cohort: folder with images and ``datalist.json``.
        python: the interpreter.

    Raises:
        ValueError: when it fails, or its results are not what they should be.
    """
    config = bundle / "configs" / "inference.json"
    content = _inference(bundle)
    with tempfile.TemporaryDirectory() as temporary:
        output = Path(temporary, "output")
        options = {"dataset_dir": cohort, "output_dir": output, "device": "cpu", "figures": False}
        if "targets" in content:
            sequences = content["sequences"]
            # What is done soonest: few timepoints and few voxels.
            options["targets"] = str([min(sequences, key=sequences.__getitem__)])
            options |= {"slice_size": str(_SLICE_SIZE)} if "slice_size" in content else {}
            options |= {"spacing": str([_BREAST_SPACING] * 3)} if "spacing" in content else {}
        arguments = ["-m", "monai.bundle", "run", "inference", "--config_file", str(config)]
        for name, value in options.items():
            arguments += [f"--{name}", str(value)]
        run_isolated(arguments, bundle, "Inference", python, importable=False)
        check_predictions(output, bundle.name, classifies="targets" not in content)


def check_predictions(output: Path, name: str, classifies: bool) -> None:
    """Check what an inference has written: images with finite values, or probabilities.

    Raises:
        ValueError: when it is something else.
    """
    if classifies:
        table = output / _PREDICTIONS
        probabilities = pd.read_csv(table)["probability"] if table.is_file() else pd.Series(dtype=float)
        if probabilities.empty or not probabilities.between(0.0, 1.0).all():
            raise ValueError(f"Inference with {name} gave no probability between 0 and 1.")
        return
    images = sorted(output.rglob("*.nii.gz"))
    if not images:
        raise ValueError(f"Inference with {name} wrote no image.")
    for path in images:
        values = np.asanyarray(nib.load(path).dataobj)  # type: ignore[attr-defined]
        if not np.isfinite(values).all() or (not values.any() and "disagreement" not in path.name):
            raise ValueError(f"Inference with {name} wrote {path.name}, which is empty or not finite.")


def _inference(bundle: Path) -> dict[str, Any]:
    return json.loads((bundle / "configs" / "inference.json").read_text(encoding="utf-8"))
