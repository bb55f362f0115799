# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The breast cohort on disk: files, datalist, truth against images, seeds, and refusals."""

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


def read(path: Path) -> np.ndarray:
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


def entries(datalist: dict) -> list[dict]:
    return datalist["training"] + datalist["validation"] + datalist["testing"]


def test_absent_sequences_are_really_absent(cohort: Path, datalist: dict) -> None:
    for entry in entries(datalist):
        name = entry["subject"]
        present = set(TABLE) & set(entry)
        endings = present | TRUTH | {f"unique-{seq}" for seq in present & {"dce", "fatsat_dce", "dwi"}}
        expected = {f"{name}-{ending}.nii.gz" for ending in endings} | {f"{name}-dwi.bval" for _ in present & {"dwi"}}
        assert {path.name for path in (cohort / name).iterdir()} == expected
        assert "withheld" not in entry
        assert all(entry[seq] == f"{name}/{name}-{seq}.nii.gz" for seq in present)


def test_most_training_subjects_lack_several_sequences_and_the_others_none(datalist: dict) -> None:
    lacking = [len(set(TABLE) - set(entry)) for entry in datalist["training"]]
    assert sum(number >= 2 for number in lacking) > 0.5 * len(lacking)
    assert all(number <= 6 for number in lacking)
    for entry in datalist["validation"] + datalist["testing"]:
        assert set(TABLE) <= set(entry)


def test_every_pair_of_sequences_meets_in_a_training_subject(datalist: dict) -> None:
    pairs = {pair for entry in datalist["training"] for pair in permutations(set(TABLE) & set(entry), 2)}
    assert len(pairs) == 56


def test_datalist_has_the_form_that_the_loader_reads(cohort: Path, datalist: dict) -> None:
    assert datalist["sequences"] == TABLE
    assert list(datalist["sequences"]) == list(TABLE) == list(BREAST_SEQUENCES)
    assert [len(datalist[section]) for section in ("training", "validation", "testing")] == [10, 1, 3]
    for entry in load_datalist(cohort / "datalist.json", ["training", "validation", "testing"]):
        if "lesion" in entry:
            assert Path(entry["lesion"]).is_file()


def test_series_carry_their_times_and_b_values(cohort: Path, datalist: dict) -> None:
    entry = datalist["testing"][0]
    for name, timepoints in TABLE.items():
        image = nibabel.load(cohort / entry[name])
        assert image.shape == (*GRID["shape"], timepoints)[: 3 if timepoints == 1 else 4]
        assert nibabel.aff2axcodes(image.affine) == ("R", "A", "S")
        assert image.header.get_zooms()[:3] == (5.0, 5.0, 5.0)
        assert image.get_data_dtype() == (np.float32 if name.startswith("wash") else np.int16)
        np.testing.assert_allclose(image.affine @ [*(np.array(image.shape[:3]) - 1) / 2, 1], [0, 0, 0, 1], atol=1e-5)
    for name in ("dce", "fatsat_dce"):
        header = nibabel.load(cohort / entry[name]).header
        assert header.get_zooms()[3] == 90.0
        assert header.get_xyzt_units() == ("mm", "sec")
    b_values = (cohort / entry["dwi"].replace(".nii.gz", ".bval")).read_text(encoding="utf-8")
    assert [float(value) for value in b_values.split()] == [0, 150, 800, 1500]


def test_all_tissues_are_found(cohort: Path, datalist: dict) -> None:
    found = set()
    for entry in entries(datalist):
        labels = read(cohort / entry["subject"] / f"{entry['subject']}-tissue.nii.gz")
        assert labels.dtype == np.uint8
        found |= set(np.unique(labels).tolist())
    assert found == {0, *BREAST_LABELS.values()}


def test_a_malignant_lesion_washes_out_and_a_benign_one_does_not(cohort: Path, datalist: dict) -> None:
    rim_labels = [BREAST_LABELS["malignant"], BREAST_LABELS["malignant_cellular"]]
    measured = {"malignant": 0, "benign": 0}
    for entry in entries(datalist):
        folder, name = cohort / entry["subject"], entry["subject"]
        lesion = read(folder / f"{name}-lesion.nii.gz")
        rim = np.isin(read(folder / f"{name}-tissue.nii.gz"), rim_labels)
        # beside a malignant lesion, the point spread would mix the curves
        benign = (lesion == 1) & ~(lesion == 2).any()
        for sequence in {"dce", "fatsat_dce"} & set(entry):
            series = read(cohort / entry[sequence]).astype(float)
            if rim.any():
                measured["malignant"] += 1
                curve = series[:, rim].mean(axis=1)
                assert curve[1] > 1.5 * curve[0]
                assert curve[-1] < 0.93 * curve[1]
            if benign.any():
                measured["benign"] += 1
                curve = series[:, benign].mean(axis=1)
                assert curve[1] > 1.15 * curve[0]
                assert curve[-1] > 1.05 * curve[1]
    assert min(measured.values()) >= 4, measured


def test_wash_maps_are_those_of_the_measured_series(cohort: Path, datalist: dict) -> None:
    sources = set()
    for entry in entries(datalist):
        source = "dce" if "dce" in entry else "fatsat_dce" if "fatsat_dce" in entry else None
        if source is None:
            continue
        sources.add(source)
        for name, expected in zip(("wash_in", "wash_out"), wash_maps(read(cohort / entry[source])), strict=True):
            if name in entry:
                np.testing.assert_array_equal(read(cohort / entry[name]), expected)
    assert sources == {"dce", "fatsat_dce"}


def test_masks_have_voxels_where_they_are_listed(cohort: Path, datalist: dict) -> None:
    listed = set()
    for entry in entries(datalist):
        for sequence, path in entry.get("unique", {}).items():
            mask = read(cohort / path)
            assert sequence in entry
            assert mask.dtype == np.uint8
            assert set(np.unique(mask)) == {0, 1}
            assert (read(cohort / entry["lesion"])[mask > 0] > 0).all()
            listed.add(sequence)
    assert listed == {"dce", "fatsat_dce", "dwi"}


def test_lesions_and_labels_are_dealt_as_asked(cohort: Path, datalist: dict) -> None:
    lesions = {entry["subject"]: read(cohort / entry["lesion"]) for entry in entries(datalist) if "lesion" in entry}
    training = [entry["subject"] for entry in datalist["training"]]
    assert sum(subject in lesions for subject in training) == 9, "a tenth is healthy"
    assert sum(2 in lesions[subject] for subject in training if subject in lesions) == 5, "6 of 10 of nine"
    for entry in entries(datalist):
        assert ("label" in entry) == (entry["subject"] in lesions and 2 in lesions[entry["subject"]])
        if "label" in entry:
            assert entry["label"] in ({"pcr": 0}, {"pcr": 1})


def test_evaluation_can_be_as_incomplete_as_training(tmp_path: Path) -> None:
    path = SimulateBreast(tmp_path, splits=(0, 1, 2), complete_evaluation=False, mixed=0.0, missing=1, **GRID)()
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    for entry in content["validation"] + content["testing"]:
        assert len(set(TABLE) - set(entry)) >= 3
        assert not {"dce", "fatsat_dce"} <= set(entry)


def test_other_times_and_b_values(tmp_path: Path) -> None:
    path = SimulateBreast(tmp_path, splits=(0, 0, 1), timepoints=4, time_step=60, b_values=(50, 700), **GRID)()
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    assert content["sequences"] == TABLE | {"dce": 4, "fatsat_dce": 4, "dwi": 2}
    entry = content["testing"][0]
    assert nibabel.load(tmp_path / entry["dce"]).header.get_zooms()[3] == 60
    assert nibabel.load(tmp_path / entry["dwi"]).shape[3] == 2
    assert (tmp_path / entry["dwi"].replace(".nii.gz", ".bval")).read_text(encoding="utf-8") == "50 700\n"


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"missing": 4}, "missing is 4; give a number from 0 to 3"),
        ({"mixed": 1.5}, "mixed is 1.5"),
        ({"diffusion": -0.1}, "diffusion is -0.1"),
        ({"healthy": "few"}, "healthy is 'few'"),
        ({"bias": 2}, "bias is 2"),
        ({"motion": 11}, "motion is 11"),
        ({"timepoints": 2}, "timepoints is 2; give a whole number from 3"),
        ({"timepoints": 6.0}, "timepoints is 6.0"),
        ({"time_step": 30}, "time_step is 30; give a number from 60"),
        ({"b_values": 800}, "b_values is 800"),
        ({"b_values": (800,)}, "at least two"),
        ({"b_values": (0, 800, 800)}, "that rise"),
        ({"b_values": (-5, 800)}, "b_values is"),
        ({"b_values": (0, "800")}, "b_values is"),
    ],
)
def test_bad_arguments_are_named_and_nothing_is_written(tmp_path: Path, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SimulateBreast(tmp_path / "cohort", **arguments)()
    assert not (tmp_path / "cohort").exists()
