# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Training and evaluation of seq2seq_brats on a tiny simulated cohort."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

SEQUENCES = ["t1", "t1gd", "t2", "flair"]


def test_differentiation_is_measured_where_it_is_known(trained, runs) -> None:
    table = pd.read_csv(trained / "evaluation" / "differentiation.csv")
    expected = [(entry["subject"], name) for entry in runs.datalist["testing"] for name in entry.get("unique", {})]
    assert sorted(zip(table.subject, table.sequence, strict=True)) == sorted(expected)
    assert table.auc.between(0, 1).all()


def test_an_evaluation_is_not_replaced_unasked(trained, runs, copied) -> None:
    folder = copied(trained)
    before = (folder / "evaluation" / "metrics.csv").read_bytes()
    error = runs.error(runs.evaluate, folder)
    assert "metrics.csv exists; give another --output_dir, or --overwrite true" in str(error)
    runs.evaluate(folder, overwrite=True)
    # The same weights and subjects give the same bytes.
    assert (folder / "evaluation" / "metrics.csv").read_bytes() == before


def test_resumed_training_goes_on(trained, runs, copied) -> None:
    folder = copied(trained)
    runs.train(folder, max_epochs=3, resume=True)
    assert pd.read_csv(folder / "history.csv").epoch.tolist() == [1, 2, 3]
    assert list((folder / "tensorboard").iterdir())
    assert not list(folder.rglob("*.partial*"))  # of an atomic writing that was not finished


def test_released_protocol_measures_withheld_targets_from_available_sources(trained, runs, copied) -> None:
    folder = copied(trained)
    entry = runs.datalist["training"][0]
    datalist = runs.datalist | {"testing": [entry], "training": [], "validation": []}
    path = folder / "datalist.json"
    path.write_text(json.dumps(datalist))
    runs.evaluate(folder, datalist=str(path), protocol="released_code", evaluation_dir=str(folder / "released"))
    table = pd.read_csv(folder / "released" / "metrics.csv")
    (withheld,) = entry["withheld"]
    assert table.target.unique().tolist() == [withheld]
    assert table.source.tolist() == [name for name in SEQUENCES if name != withheld]


def test_unpaired_training_learns_by_discriminators_and_cycles(runs, tmp_path) -> None:
    runs.train(tmp_path, ("unpaired.json",))
    history = pd.read_csv(tmp_path / "history.csv")
    assert np.isfinite(history[["adversarial", "cycle", "discriminator"]]).all(axis=None)


@pytest.mark.slow
def test_the_command_line_does_the_good_subjects_and_ends_with_the_failures(runs, tmp_path, write_datalist) -> None:
    """From a foreign folder, as in the documentation: worker processes, logging.conf, the bundle's folder found."""
    good, bad = runs.subject(0, without=("t2",)), runs.subject(1) | {"t1": str(tmp_path / "none.nii.gz")}
    options = {
        "config_file": runs.configs(["inference.json"])[0],
        "dataset_dir": runs.dataset_dir,
        "datalist": write_datalist(bad, good),
        "output_dir": tmp_path / "output",
        "checkpoint": runs.weights,
        "slice_size": [40, 44],
        "network_def#channels": [4, 8, 8],
        "network_def#num_res_blocks": 1,
        "network_def#code_channels": 8,
        "network_def#weight_code_channels": 2,
    }
    command = [sys.executable, "-m", "monai.bundle", "run", "inference"]
    command += [part for name, value in options.items() for part in (f"--{name}", str(value).replace(" ", ""))]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    *_, summary, failure = done.stderr.splitlines()
    assert summary == "Error: 1 subject(s) failed, the others are done:"
    assert failure.startswith(f"  {bad['subject']}: ")
    assert f"{tmp_path / 'none.nii.gz'} does not exist" in failure
    assert "1 synthesised images of 1 subjects" in done.stdout
    names = {path.name for path in (tmp_path / "output" / good["subject"]).iterdir()}
    assert names == {f"{good['subject']}_t2{ending}" for ending in (".nii.gz", "_sd.nii.gz", ".png")}
