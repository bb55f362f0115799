# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Runs an unzipped bundle as its user does, on a simulated subject, and checks that all modules are its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from mri_phantom.brain import SimulateBrain
from mri_phantom.breast import SimulateBreast
from seq2seq_mri.sequences import SEQUENCE_TABLES
from tools.bundle_files import PACKAGES

__all__ = ["check_predictions", "run_with", "simulate_for", "try_inference"]

_BREAST_SPACING = 7.0
# At least the voxels of the simulated cohorts across a slice.
_SLICE_SIZE = [48, 48]
_SHOWN_LINES = 15
# Runs a module as "python -m" does, and lists the files from which our packages were imported.
_PROGRAM = """
import runpy, sys
record, packages, sys.argv = sys.argv[1], sys.argv[2].split(","), sys.argv[3:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
files = [str(module.__file__) for name, module in list(sys.modules.items()) if name.split(".")[0] in packages]
with open(record, "w", encoding="utf-8") as file:
    file.write("\\n".join(files))
"""


def run_with(bundle: Path, module: str, arguments: Sequence[str], search_path: Sequence[Path] = ()) -> str:
    """Run ``python -m MODULE ARGUMENTS`` in an empty folder, and check that our packages come from ``bundle``.

    Args:
        bundle: folder of an unzipped bundle.
        module: what to run.
        arguments: of the module.
        search_path: folders in which Python looks for modules before its own; ``monai.bundle run`` adds the bundle.

    Returns:
        what it printed.

    Raises:
        ValueError: when it fails, with the end of what it printed; when a module of ours came from another place, say
            from an installed package, because the bundle lacks it; or when there was none.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | {
        "PYTHONPATH": os.pathsep.join(str(folder.resolve()) for folder in search_path),
        "PYTHONNOUSERSITE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",  # the bundle stays as it was unzipped
        "PYTHONHASHSEED": "0",  # torch.jit writes constants in the order of a set
        "MPLBACKEND": "Agg",
    }
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as elsewhere:
        record = Path(folder, "record")
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, str(record), ",".join(PACKAGES), module, *arguments],
            cwd=elsewhere,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode != 0:
            shown = "\n".join(done.stdout.rstrip().splitlines()[-_SHOWN_LINES:])
            raise ValueError(f"{module} failed with the unzipped {bundle.name} (exit code {done.returncode}):\n{shown}")
        imported = record.read_text(encoding="utf-8").splitlines() if record.is_file() else []
    foreign = [path for path in imported if not Path(path).resolve().is_relative_to(bundle.resolve())]
    if foreign or not imported:
        raise ValueError(f"{module} took {', '.join(foreign) or 'no module'} instead of the package in {bundle}.")
    return done.stdout


def simulate_for(bundle: Path, folder: Path) -> Path:
    """Write a small simulated cohort with the sequences of a bundle.

    Raises:
        ValueError: when there is no simulation of them.
    """
    sequences = _inference(bundle)["sequences"]
    if set(sequences) <= set(SEQUENCE_TABLES["brats"]):
        # With the labels that the training of a classifier asks for.
        SimulateBrain(folder, splits=(2, 2, 1), shape=(40, 48, 40), spacing=5.0, missing=0, healthy=0.0, texture=0.8)()
    elif set(sequences) <= set(SEQUENCE_TABLES["breast"]):
        SimulateBreast(folder, splits=(2, 1, 1), shape=(40, 34, 32), spacing=_BREAST_SPACING)()
    else:
        raise ValueError(f"{bundle.name}: no cohort can be simulated with the sequences {', '.join(sequences)}.")
    return folder


def try_inference(bundle: Path, cohort: Path) -> None:
    """Run ``python -m monai.bundle run inference`` with an unzipped bundle on the subject of ``testing``.

    Args:
        bundle: folder of the unzipped bundle.
        cohort: folder with images and ``datalist.json``.

    Raises:
        ValueError: when it fails, or its results are not what they should be.
    """
    content = _inference(bundle)
    with tempfile.TemporaryDirectory() as output:
        options = {"config_file": bundle / "configs" / "inference.json", "dataset_dir": cohort, "output_dir": output}
        options |= {"device": "cpu", "figures": False}
        target = None
        if "targets" in content:
            # What is done soonest: few timepoints and few voxels.
            target = min(content["sequences"], key=content["sequences"].__getitem__)
            options["targets"] = [target]
            options |= {"slice_size": _SLICE_SIZE} if "slice_size" in content else {}
            options |= {"spacing": [_BREAST_SPACING] * 3} if "spacing" in content else {}
        arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        run_with(bundle, "monai.bundle", ["run", "inference", *arguments])
        check_predictions(Path(output), bundle.name, target)


def check_predictions(output: Path, name: str, target: str | None) -> None:
    """Check what an inference has written: finite images, that of ``target`` not empty, or probabilities without one.

    Raises:
        ValueError: when it is something else.
    """
    if target is None:
        table = output / "predictions.csv"
        probabilities = pd.read_csv(table)["probability"] if table.is_file() else pd.Series(dtype=float)
        if probabilities.empty or not probabilities.between(0.0, 1.0).all():
            raise ValueError(f"Inference with {name} gave no probability between 0 and 1.")
        return
    if not list(output.rglob(f"*_{target}.nii.gz")):
        raise ValueError(f"Inference with {name} wrote no image of {target}.")
    for path in sorted(output.rglob("*.nii.gz")):
        values = np.asanyarray(nib.load(path).dataobj)  # type: ignore[attr-defined]
        # The standard deviation between sources is zero where there was one source.
        if not np.isfinite(values).all() or (not values.any() and path.name.endswith(f"_{target}.nii.gz")):
            raise ValueError(f"Inference with {name} wrote {path.name}, which is empty or not finite.")


def _inference(bundle: Path) -> dict:
    return json.loads((bundle / "configs" / "inference.json").read_text(encoding="utf-8"))
