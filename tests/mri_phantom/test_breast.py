# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The breast cohort on disk: files, datalist, protocols, and the truth against the images."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import nibabel
import numpy as np
import pytest

from mri_phantom.breast import BREAST_SEQUENCES, SimulateBreast, draw_examinations
from mri_phantom.tissue import BREAST_LABELS
from seq2seq_mri.io.datalists.datalist import load_datalist
from seq2seq_mri.transforms.wash_maps import wash_maps

GRID = {"shape": (36, 34, 32), "spacing": 5.0}
TABLE = {"t1": 1, "fatsat_t1": 1, "t2": 1, "dce": 6, "fatsat_dce": 6, "wash_in": 1, "wash_out": 1, "dwi": 4}
TRUTH = {"tissue", "ktrans", "adc", "lesion"}


def read(path: Path | str) -> np.ndarray:
    """Return ``[X, Y, Z]`` or ``[T, X, Y, Z]``."""
    voxels = np.asarray(nibabel.load(path).dataobj)
    return voxels if voxels.ndim == 3 else np.moveaxis(voxels, -1, 0)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "cohort"
    SimulateBreast(folder, splits=(10, 1, 3), seed=1, **GRID)()
    return folder


@pytest.fixture(scope="module")
def datalist(cohort: Path) -> dict:
    return json.loads((cohort / "datalist.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def entries(cohort: Path) -> list[dict]:
    """All entries, with whole paths, and with those of the truth that every subject has."""
    loaded = load_datalist(cohort / "datalist.json", ["training", "validation", "testing"])
    return [
        entry | {name: str(cohort / entry["subject"] / f"{entry['subject']}-{name}.nii.gz") for name in TRUTH}
        for entry in loaded
    ]


def test_absent_sequences_are_really_absent(cohort: Path, datalist: dict) -> None:
    assert datalist["sequences"] == TABLE
    assert list(TABLE) == list(BREAST_SEQUENCES)
    assert [len(datalist[section]) for section in ("training", "validation", "testing")] == [10, 1, 3]
    for entry in datalist["training"] + datalist["validation"] + datalist["testing"]:
        name = entry["subject"]
        present = TABLE.keys() & entry.keys()
        endings = present | TRUTH | {f"unique-{seq}" for seq in present & {"dce", "fatsat_dce", "dwi"}}
        expected = {f"{name}-{ending}.nii.gz" for ending in endings} | {f"{name}-dwi.bval" for _ in present & {"dwi"}}
        assert {path.name for path in (cohort / name).iterdir()} == expected
        assert "withheld" not in entry
        assert all(entry[seq] == f"{name}/{name}-{seq}.nii.gz" for seq in present)


def test_training_subjects_lack_sequences_but_every_pair_meets_and_the_others_lack_none(datalist: dict) -> None:
    present = [TABLE.keys() & entry.keys() for entry in datalist["training"]]
    assert sum(len(names) <= 6 for names in present) > 0.5 * len(present)
    assert all(len(names) >= 2 for names in present)
    assert len({pair for names in present for pair in permutations(names, 2)}) == 56
    assert all(TABLE.keys() <= entry.keys() for entry in datalist["validation"] + datalist["testing"])


def test_series_carry_their_times_and_b_values(cohort: Path, datalist: dict) -> None:
    entry = datalist["testing"][0]
    for name, timepoints in TABLE.items():
        image = nibabel.load(cohort / entry[name])
        assert image.shape == (*GRID["shape"], timepoints)[: 3 if timepoints == 1 else 4]
        assert image.get_data_dtype() == (np.float32 if name.startswith("wash") else np.int16)
    for name in ("dce", "fatsat_dce"):
        header = nibabel.load(cohort / entry[name]).header
        assert header.get_zooms() == (5.0, 5.0, 5.0, 90.0)
        assert header.get_xyzt_units() == ("mm", "sec")
    b_values = (cohort / entry["dwi"].replace(".nii.gz", ".bval")).read_text(encoding="utf-8")
    assert [float(value) for value in b_values.split()] == [0, 150, 800, 1500]


def test_all_tissues_are_found(entries: list[dict]) -> None:
    labels = [read(entry["tissue"]) for entry in entries]
    assert labels[0].dtype == np.uint8
    assert set(np.unique(labels)) == {0, *BREAST_LABELS.values()}


def test_wash_maps_are_those_of_the_measured_series(entries: list[dict]) -> None:
    sources = set()
    for entry in entries:
        if source := next((name for name in ("dce", "fatsat_dce") if name in entry), None):
            sources.add(source)
            for name, expected in zip(("wash_in", "wash_out"), wash_maps(read(entry[source])), strict=True):
                if name in entry:
                    np.testing.assert_array_equal(read(entry[name]), expected)
    assert sources == {"dce", "fatsat_dce"}


def test_lesions_and_labels_are_dealt_as_asked(entries: list[dict], datalist: dict) -> None:
    worst = [read(entry["lesion"]).max() for entry in entries]
    assert sum(kind > 0 for kind in worst[:10]) == 9, "a tenth is healthy"
    assert sum(kind == 2 for kind in worst[:10]) == 5, "6 of 10 of nine"
    listed = datalist["training"] + datalist["validation"] + datalist["testing"]
    assert [kind > 0 for kind in worst] == ["lesion" in entry for entry in listed]
    for kind, entry in zip(worst, listed, strict=True):
        assert entry.get("label") in ([{"pcr": 0}, {"pcr": 1}] if kind == 2 else [None])
    unique = [(name, path, entry) for entry in entries for name, path in entry.get("unique", {}).items()]
    assert {name for name, _, _ in unique} == {"dce", "fatsat_dce", "dwi"}
    for name, path, entry in unique:
        assert name in entry
        assert set(np.unique(read(path))) == {0, 1}


def test_other_times_and_b_values_and_an_evaluation_as_incomplete_as_training(tmp_path: Path) -> None:
    protocols = {"complete_evaluation": False, "mixed": 0.0, "missing": 0, "diffusion": 1.0}
    SimulateBreast(tmp_path, splits=(0, 0, 2), timepoints=4, time_step=60, b_values=(50, 700), **protocols, **GRID)()
    content = json.loads((tmp_path / "datalist.json").read_text(encoding="utf-8"))
    assert content["sequences"] == TABLE | {"dce": 4, "fatsat_dce": 4, "dwi": 2}
    older, newer = sorted(content["testing"], key=lambda entry: "fatsat_dce" in entry)
    assert TABLE.keys() - older.keys() == {"fatsat_t1", "fatsat_dce", "dwi"}
    assert TABLE.keys() - newer.keys() == {"t1", "dce"}
    assert nibabel.load(tmp_path / older["dce"]).header.get_zooms()[3] == 60
    assert nibabel.load(tmp_path / newer["dwi"]).shape[3] == 2
    assert (tmp_path / newer["dwi"].replace(".nii.gz", ".bval")).read_text(encoding="utf-8") == "50 700\n"


def test_protocols_are_dealt_in_their_shares() -> None:
    dealt = draw_examinations(np.random.default_rng(0), 20, mixed=0.2, diffusion=0.5, missing=(0, 2))
    older = [examination for examination in dealt if examination.coronal]
    mixed = [examination for examination in dealt if {"dce", "fatsat_dce"} <= set(examination.acquired)]
    assert (len(older), len(mixed)) == (8, 4)
    assert sum("dwi" in examination.sequences for examination in dealt) >= 2
    for examination in dealt:
        assert set(examination.sequences) <= set(examination.acquired)
        assert len(examination.sequences) >= 3
        assert list(examination.sequences) == [name for name in BREAST_SEQUENCES if name in examination.sequences]
    assert not any({"fatsat_t1", "fatsat_dce", "dwi"} & set(examination.acquired) for examination in older)
