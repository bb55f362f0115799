# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The cohort on disk: files, datalist, seeds, and refusals."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from mri_phantom.brain import SimulateBrain
from seq2seq_mri.io.datalists.datalist import load_datalist
from seq2seq_mri.io.datalists.labelled_datalist import labelled_entries

GRID = {"shape": (36, 40, 32), "spacing": 5.0}
ENDINGS = {"t1": "t1n", "t1gd": "t1c", "t2": "t2w", "flair": "t2f"}


def checksums(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "cohort"
    SimulateBrain(folder, splits=(5, 1, 2), seed=7, **GRID)()
    return folder


@pytest.fixture(scope="module")
def datalist(cohort: Path) -> dict:
    return json.loads((cohort / "datalist.json").read_text(encoding="utf-8"))


def test_files_are_those_of_brats(cohort: Path) -> None:
    endings = {*ENDINGS.values(), "seg", "unique-t1gd", "unique-flair"}
    folders = sorted(path for path in cohort.iterdir() if path.is_dir())
    assert len(folders) == 8
    for folder in folders:
        assert {path.name for path in folder.iterdir()} == {f"{folder.name}-{ending}.nii.gz" for ending in endings}


def test_geometry_is_ras_with_the_origin_at_the_centre(cohort: Path) -> None:
    for path in sorted((cohort / "SimBrain-00000").iterdir()):
        image = nibabel.load(path)
        assert image.shape == GRID["shape"]
        assert nibabel.aff2axcodes(image.affine) == ("R", "A", "S")
        assert image.header.get_zooms() == (5.0, 5.0, 5.0)
        assert image.header.get_xyzt_units()[0] == "mm"
        np.testing.assert_allclose(image.affine @ [*(np.array(image.shape) - 1) / 2, 1], [0, 0, 0, 1], atol=1e-5)
        np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-5)


def test_images_hold_what_was_drawn(cohort: Path) -> None:
    image = nibabel.load(cohort / "SimBrain-00001" / "SimBrain-00001-t1c.nii.gz")
    assert image.get_data_dtype() == np.int16
    assert image.header["scl_slope"] in (1, np.float32("nan")) or np.isnan(image.header["scl_slope"])
    mask = nibabel.load(cohort / "SimBrain-00001" / "SimBrain-00001-unique-t1gd.nii.gz")
    assert set(np.unique(np.asarray(mask.dataobj))) <= {0, 1}


def test_datalist_has_the_form_that_the_loader_reads(cohort: Path, datalist: dict) -> None:
    assert datalist["sequences"] == {"t1": 1, "t1gd": 1, "t2": 1, "flair": 1}
    assert [len(datalist[section]) for section in ("training", "validation", "testing")] == [5, 1, 2]
    for section in ("training", "validation", "testing"):
        for entry in load_datalist(cohort / "datalist.json", section):
            for sequence in ENDINGS:
                path = entry.get(sequence) or entry["withheld"][sequence]
                assert Path(path).is_file()


def test_training_lacks_one_to_three_sequences_and_testing_none(datalist: dict) -> None:
    for entry in datalist["training"]:
        assert 1 <= len(entry["withheld"]) <= 3
        assert set(entry["withheld"]) | (set(entry) & set(ENDINGS)) == set(ENDINGS)
        assert not set(entry["withheld"]) & set(entry)
    for entry in datalist["validation"] + datalist["testing"]:
        assert "withheld" not in entry
        assert set(ENDINGS) < set(entry)


def test_listed_masks_have_voxels(cohort: Path, datalist: dict) -> None:
    healthy = 0
    for section in ("training", "validation", "testing"):
        for entry in datalist[section]:
            for path in entry.get("unique", {}).values():
                assert np.asarray(nibabel.load(cohort / path).dataobj).any()
            healthy += "unique" not in entry
    assert healthy == 1, "a fifth of five training subjects"


@pytest.fixture(scope="module")
def textured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same cohort with labels."""
    folder = tmp_path_factory.mktemp("simulated") / "textured"
    SimulateBrain(folder, splits=(5, 1, 2), seed=7, texture=0.8, **GRID)()
    return folder


def test_with_texture_patients_with_a_glioma_have_a_label_and_healthy_ones_have_none(textured: Path) -> None:
    for section in ("training", "validation", "testing"):
        entries = load_datalist(textured / "datalist.json", section)
        patients = [entry for entry in entries if "unique" in entry]
        assert all("label" not in entry for entry in entries if "unique" not in entry)
        labels = [entry["label"] for entry in labelled_entries(patients, "mgmt")]
        assert abs(2 * sum(labels) - len(labels)) <= 1
        assert [entry["label"] for entry in patients] == [{"mgmt": label} for label in labels]
        assert len(labels) == {"training": 4, "validation": 1, "testing": 2}[section]


def test_texture_changes_t1gd_of_patients_alone(cohort: Path, textured: Path, datalist: dict, tmp_path: Path) -> None:
    labelled = json.loads((textured / "datalist.json").read_text(encoding="utf-8"))
    sections = ("training", "validation", "testing")
    patients = {entry["subject"] for section in sections for entry in labelled[section] if entry.pop("label", None)}
    assert len(patients) == 7
    assert labelled == datalist
    before, after = checksums(cohort), checksums(textured)
    changed = {f"{name}/{name}-t1c.nii.gz" for name in patients}
    assert {name for name in before if before[name] != after[name]} == {*changed, "datalist.json"}
    SimulateBrain(tmp_path, splits=(5, 1, 2), seed=7, texture=0.0, **GRID)()
    by_chance = checksums(tmp_path)
    assert {name for name in before if before[name] != by_chance[name]} == {"datalist.json"}
    assert by_chance["datalist.json"] == after["datalist.json"]


def test_missing_counts_are_as_asked(tmp_path: Path) -> None:
    path = SimulateBrain(
        tmp_path / "a", splits=(2, 0, 2), missing=0, missing_in_evaluation=(2, 2), healthy=0.0, **GRID
    )()
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    assert all("withheld" not in entry for entry in content["training"])
    assert [len(entry["withheld"]) for entry in content["testing"]] == [2, 2]
    assert content["validation"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"missing": 4}, "missing is 4"),
        ({"missing": (2, 1)}, "missing is"),
        ({"missing_in_evaluation": -1}, "missing_in_evaluation is -1"),
        ({"noise": -0.1}, "noise is -0.1"),
        ({"noise": "low"}, "noise is 'low'"),
        ({"bias": 2}, "bias is 2"),
        ({"healthy": 1.5}, "healthy is 1.5"),
        ({"texture": -0.1}, "texture is -0.1; give a number from 0 to 5"),
        ({"texture": "high"}, "texture is 'high'"),
    ],
)
def test_bad_arguments_are_named_and_nothing_is_written(tmp_path: Path, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SimulateBrain(tmp_path / "cohort", **arguments)()
    assert not (tmp_path / "cohort").exists()
