# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The brain cohort on disk: files, datalist, missing sequences and labels."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from folder_contents import folder_contents

from mri_phantom.brain import SimulateBrain
from seq2seq_mri.io.datalists.datalist import load_datalist
from seq2seq_mri.io.datalists.labelled_datalist import labelled_entries

ENDINGS = {"t1": "t1n", "t1gd": "t1c", "t2": "t2w", "flair": "t2f"}
MASKS = ("seg", "unique-t1gd", "unique-flair")
SECTIONS = {"training": 5, "validation": 1, "testing": 2}


def simulate(folder: Path, **options) -> Path:
    grid = {"splits": tuple(SECTIONS.values()), "shape": (36, 40, 32), "spacing": 5.0, "seed": 7}
    assert SimulateBrain(folder, **grid | options)() == str(folder / "datalist.json")
    return folder


def read_datalist(folder: Path) -> dict:
    return json.loads((folder / "datalist.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate(tmp_path_factory.mktemp("simulated") / "cohort")


@pytest.fixture(scope="module")
def textured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same cohort with labels."""
    return simulate(tmp_path_factory.mktemp("simulated") / "textured", texture=0.8)


def test_files_are_those_of_brats_with_the_origin_at_the_centre(cohort: Path) -> None:
    names = [f"SimBrain-{number:05d}" for number in range(8)]
    endings = [*ENDINGS.values(), *MASKS]
    expected = {f"{name}/{name}-{ending}.nii.gz" for name in names for ending in endings}
    assert folder_contents(cohort).keys() == {*expected, "datalist.json"}
    for ending in endings:
        image = nibabel.load(cohort / names[0] / f"{names[0]}-{ending}.nii.gz")
        assert image.shape == (36, 40, 32)
        assert image.get_data_dtype() == (np.uint8 if ending in MASKS else np.int16)
        assert np.isnan(image.header["scl_slope"])
        assert nibabel.aff2axcodes(image.affine) == ("R", "A", "S")
        assert image.header.get_zooms() == (5.0, 5.0, 5.0)
        assert image.header.get_xyzt_units()[0] == "mm"
        np.testing.assert_allclose(image.affine @ [17.5, 19.5, 15.5, 1], [0, 0, 0, 1], atol=1e-5)
        np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-5)


def test_datalist_withholds_sequences_and_names_masks_with_voxels(cohort: Path) -> None:
    assert read_datalist(cohort)["sequences"] == {"t1": 1, "t1gd": 1, "t2": 1, "flair": 1}
    found = set()
    for section, count in SECTIONS.items():
        entries = load_datalist(cohort / "datalist.json", section)
        assert len(entries) == count
        assert sum("unique" not in entry for entry in entries) == count // 5, "a fifth, rounded down, is healthy"
        for entry in entries:
            withheld = entry.get("withheld", {})
            assert len(withheld) in ((1, 2, 3) if section == "training" else (0,))
            assert not withheld.keys() & entry.keys()
            images = {name: entry.get(name) or withheld[name] for name in ENDINGS}
            assert all(path.endswith(f"-{ENDINGS[name]}.nii.gz") for name, path in images.items())
            for sequence, path in entry.get("unique", {}).items():
                found.add(sequence)
                assert set(np.unique(nibabel.load(path).dataobj)) == {0, 1}
    assert found == {"t1gd", "flair"}


def test_with_texture_patients_with_a_glioma_have_a_label_and_healthy_ones_have_none(textured: Path) -> None:
    for section in SECTIONS:
        entries = load_datalist(textured / "datalist.json", section)
        assert all(("label" in entry) == ("unique" in entry) for entry in entries)
        labels = [entry["label"] for entry in labelled_entries([e for e in entries if "label" in e], "mgmt")]
        assert abs(2 * sum(labels) - len(labels)) <= 1


def test_texture_changes_t1gd_of_patients_alone(cohort: Path, textured: Path, tmp_path: Path) -> None:
    labelled = read_datalist(textured)
    patients = {entry["subject"] for section in SECTIONS for entry in labelled[section] if entry.pop("label", None)}
    assert len(patients) == 7
    assert labelled == read_datalist(cohort)
    before, after, by_chance = map(folder_contents, (cohort, textured, simulate(tmp_path / "chance", texture=0.0)))
    changed = {f"{name}/{name}-t1c.nii.gz" for name in patients}
    assert {name for name in before if before[name] != after[name]} == {*changed, "datalist.json"}
    assert {name for name in before if before[name] != by_chance[name]} == {"datalist.json"}
    assert by_chance["datalist.json"] == after["datalist.json"]


def test_missing_counts_are_as_asked(tmp_path: Path) -> None:
    content = read_datalist(simulate(tmp_path, splits=(2, 0, 2), missing=0, missing_in_evaluation=(2, 2), healthy=0.0))
    assert all("withheld" not in entry for entry in content["training"])
    assert [len(entry["withheld"]) for entry in content["testing"]] == [2, 2]
    assert content["validation"] == []
