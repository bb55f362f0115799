# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The cohort on disk: files, datalist, seeds, and refusals."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from mri_phantom.brain import simulate_brain
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
    simulate_brain(folder, splits=(5, 1, 2), seed=7, **GRID)
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
    simulate_brain(folder, splits=(5, 1, 2), seed=7, texture=0.8, **GRID)
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
    simulate_brain(tmp_path, splits=(5, 1, 2), seed=7, texture=0.0, **GRID)
    by_chance = checksums(tmp_path)
    assert {name for name in before if before[name] != by_chance[name]} == {"datalist.json"}
    assert by_chance["datalist.json"] == after["datalist.json"]


def test_missing_counts_are_as_asked(tmp_path: Path) -> None:
    path = simulate_brain(
        tmp_path / "a", splits=(2, 0, 2), missing=0, missing_in_evaluation=(2, 2), healthy=0.0, **GRID
    )
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    assert all("withheld" not in entry for entry in content["training"])
    assert [len(entry["withheld"]) for entry in content["testing"]] == [2, 2]
    assert content["validation"] == []


def test_equal_seeds_give_equal_bytes_and_others_do_not(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        simulate_brain(tmp_path / name, splits=(1, 0, 1), seed=seed, **GRID)
    first, second, other = (checksums(tmp_path / name) for name in "abc")
    assert first == second
    images = [name for name in first if name.endswith(("t1n.nii.gz", "t2f.nii.gz"))]
    assert images
    assert all(first[name] != other[name] for name in images)


def test_a_subject_does_not_depend_on_the_size_of_the_cohort(tmp_path: Path) -> None:
    simulate_brain(tmp_path / "small", splits=(1, 0, 0), healthy=0.0, **GRID)
    simulate_brain(tmp_path / "large", splits=(3, 0, 0), healthy=0.0, **GRID)
    small, large = checksums(tmp_path / "small"), checksums(tmp_path / "large")
    assert all(large[name] == value for name, value in small.items() if name != "datalist.json")


def test_subjects_are_divided_when_no_splits_are_given(tmp_path: Path) -> None:
    content = json.loads(Path(simulate_brain(tmp_path, subjects=6, **GRID)).read_text(encoding="utf-8"))
    assert [len(content[section]) for section in ("training", "validation", "testing")] == [4, 1, 1]


def test_an_existing_cohort_is_left_alone_unless_overwriting_is_allowed(tmp_path: Path) -> None:
    simulate_brain(tmp_path, splits=(1, 0, 0), **GRID)
    before = checksums(tmp_path)
    with pytest.raises(FileExistsError, match=r"datalist\.json exists"):
        simulate_brain(tmp_path, splits=(1, 0, 0), seed=1, **GRID)
    assert checksums(tmp_path) == before
    (tmp_path / "datalist.json").unlink()
    with pytest.raises(FileExistsError, match="SimBrain-00000 exists"):
        simulate_brain(tmp_path, splits=(1, 0, 0), seed=1, **GRID)
    simulate_brain(tmp_path, splits=(1, 0, 0), seed=1, overwrite=True, **GRID)
    assert checksums(tmp_path) != before
    assert not list(tmp_path.rglob(".*partial*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (96, 112)}, "shape is"),
        ({"shape": (96, 112, 31)}, "at least 32"),
        ({"shape": 64}, "shape is 64"),
        ({"shape": (96.0, 112, 72)}, "shape is"),
        ({"spacing": 0}, "spacing is 0"),
        ({"spacing": (1, 1)}, "spacing is"),
        ({"spacing": "2mm"}, "spacing is '2mm'"),
        ({"subjects": 0}, "subjects is 0"),
        ({"subjects": 5, "splits": (1, 1, 1)}, "add up to 3, not to subjects = 5"),
        ({"splits": (1, 1)}, "splits is"),
        ({"splits": (0, 0, 0)}, "splits is"),
        ({"splits": (3, -1, 1)}, "splits is"),
        ({"missing": 4}, "missing is 4"),
        ({"missing": (2, 1)}, "missing is"),
        ({"missing_in_evaluation": -1}, "missing_in_evaluation is -1"),
        ({"noise": -0.1}, "noise is -0.1"),
        ({"noise": float("nan")}, "noise is nan"),
        ({"noise": "low"}, "noise is 'low'"),
        ({"bias": 2}, "bias is 2"),
        ({"healthy": 1.5}, "healthy is 1.5"),
        ({"texture": -0.1}, "texture is -0.1; give a number from 0 to 5"),
        ({"texture": 5.5}, "texture is 5.5"),
        ({"texture": float("nan")}, "texture is nan"),
        ({"texture": "high"}, "texture is 'high'"),
        ({"texture": True}, "texture is True"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 1.5}, "seed is 1.5"),
    ],
)
def test_bad_arguments_are_named_and_nothing_is_written(tmp_path: Path, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        simulate_brain(tmp_path / "cohort", **arguments)
    assert not (tmp_path / "cohort").exists()


def test_an_unusable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match="cannot be written"):
        simulate_brain(tmp_path / "file")
