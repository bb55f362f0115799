# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Datalists of studies of the breast: visits of patients, folders of DICOM files and of frames, simulated cohorts."""

from __future__ import annotations

import json
import sys

import nibabel
import numpy as np
import pytest
from dicom_writer import write_classic, write_enhanced

from mri_phantom.breast import simulate_breast
from seq2seq_mri.__main__ import main
from seq2seq_mri.io.datalists.datalist import load_datalist
from seq2seq_mri.io.datalists.image_checks import inspect_series
from seq2seq_mri.io.datalists.make_datalist import make_datalist
from seq2seq_mri.io.load import LoadImageSequencesd
from seq2seq_mri.sequences import SEQUENCE_TABLES

AFFINE = np.diag([1.0, 1.5, 2.0, 1.0])
SECTIONS = ["training", "validation", "testing"]


def voxels(frames, seed=0):
    return np.random.default_rng(seed).integers(1, 1000, (frames, 6, 5, 4)).astype(np.int16)


def write_nifti(path, frames=1, affine=AFFINE, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.moveaxis(voxels(frames, seed), 0, -1)
    nibabel.save(nibabel.Nifti1Image(data[..., 0] if frames == 1 else data, affine), path)
    return path


@pytest.fixture
def study(tmp_path):
    """Three patients with two visits each; sequences as files, folders of frames and folders of DICOM files."""
    root = tmp_path / "study"
    for patient in ("P1", "P2", "P3"):
        for seed, visit in enumerate(("pre", "post")):
            folder = root / patient / visit
            write_nifti(folder / "FS_T1.nii.gz", seed=seed)
            for frame in range(6):
                write_nifti(folder / "DCE" / f"frame{2 * frame}.nii.gz", seed=10 * seed + frame)
            write_classic(folder / "DWI", voxels(4, seed), AFFINE, b_values=(0, 150, 800, 1500))
            write_enhanced(folder / "FatSatDCE" / "IM1", voxels(6, seed), AFFINE, times=range(0, 540, 90))
            write_nifti(folder / "lesion.nii.gz")
    return root


def read(path):
    content = json.loads(path.read_text())
    return content, {entry["subject"]: entry for section in SECTIONS for entry in content[section]}


@pytest.mark.parametrize("options", [{"layout": "breast"}, {"pattern": "{patient}/{visit}/{sequence}"}])
def test_visits_of_patients(study, tmp_path, options):
    text = make_datalist(str(study), str(tmp_path / "d.json"), sequences="breast", check_images=True, **options)
    content, entries = read(tmp_path / "d.json")
    assert content["sequences"] == SEQUENCE_TABLES["breast"]
    assert entries["P1_pre"] == {
        "subject": "P1_pre",
        "patient": "P1",
        "fatsat_t1": "P1/pre/FS_T1.nii.gz",
        "dce": [f"P1/pre/DCE/frame{2 * frame}.nii.gz" for frame in range(6)],
        "fatsat_dce": "P1/pre/FatSatDCE",
        "dwi": "P1/pre/DWI",
        "lesion": "P1/pre/lesion.nii.gz",
    }
    assert all(len({entry["patient"] for entry in content[section]}) == 1 for section in SECTIONS)
    assert "Problems: none" in text
    assert "P1_post: no t1, t2, wash_in, wash_out" in text

    loaded = load_datalist(tmp_path / "d.json", SECTIONS, study, SEQUENCE_TABLES["breast"])
    subject = next(entry for entry in loaded if entry["subject"] == "P2_post")
    sample = LoadImageSequencesd(SEQUENCE_TABLES["breast"])(subject)
    np.testing.assert_array_equal(sample["image"][1], voxels(1, 1)[0])
    np.testing.assert_array_equal(sample["image"][3:9], np.concatenate([voxels(1, 10 + frame) for frame in range(6)]))
    np.testing.assert_array_equal(sample["image"][9:15], voxels(6, 1))
    np.testing.assert_array_equal(sample["image"][17:], voxels(4, 1))


def test_naming_a_patient_and_silencing(study, tmp_path):
    make_datalist(
        str(study), str(tmp_path / "d.json"), sequences="breast", layout="breast", testing="P2", silence="testing"
    )
    content, _ = read(tmp_path / "d.json")
    assert [entry["subject"] for entry in content["testing"]] == ["P2_post", "P2_pre"]
    for entry in content["testing"]:
        assert entry["withheld"]
        assert len({*entry, *entry["withheld"]} & {"fatsat_t1", "dce", "fatsat_dce", "dwi"}) == 4
    assert load_datalist(tmp_path / "d.json", "testing", study)


def test_other_numbers_of_timepoints(study, tmp_path):
    write_nifti(study / "P1" / "pre" / "DCE" / "frame99.nii.gz")
    write_nifti(study / "P2" / "pre" / "T2.nii.gz", frames=2)
    next((study / "P3" / "pre" / "DWI").iterdir()).unlink()
    options = {"sequences": "breast", "layout": "breast"}
    text = make_datalist(str(study), str(tmp_path / "d.json"), **options)
    assert (
        "P1_pre: dce: 7 timepoints (P1/pre/DCE/frame0.nii.gz to frame99.nii.gz), the sequence table says 6; "
        "--allow_other_timepoints keeps such subjects in the datalist" in text
    )
    assert "P2_pre: t2: 2 timepoints (6 x 5 x 4 x 2), the sequence table says 1, " in text
    assert "P3_pre: dwi: P3/pre/DWI: b = " in text
    _, entries = read(tmp_path / "d.json")
    assert set(entries) == {"P1_post", "P2_post", "P3_post"}

    text = make_datalist(str(study), str(tmp_path / "e.json"), allow_other_timepoints=True, **options)
    assert "P1_pre: dce: 7 timepoints" in text[text.index("Notes") :]
    _, entries = read(tmp_path / "e.json")
    assert set(entries) == {"P1_post", "P1_pre", "P2_post", "P3_post"}
    assert len(entries["P1_pre"]["dce"]) == 7


def test_series_of_several_files(tmp_path):
    frames = tuple(write_nifti(tmp_path / f"{number}.nii.gz", seed=number) for number in range(3))
    grid, problems, notes = inspect_series(frames, "p", 3, check_voxels=True)
    assert (grid.shape, grid.spacing, problems, notes) == ((6, 5, 4), (1.0, 1.5, 2.0), [], [])
    moved = (*frames[:2], write_nifti(tmp_path / "moved.nii.gz", affine=2 * AFFINE))
    assert "0.nii.gz and " in inspect_series(moved, "p", 3)[1][0]
    assert "lie on different grids" in inspect_series(moved, "p", 3)[1][0]
    several = (*frames[:2], write_nifti(tmp_path / "4d.nii.gz", frames=2))
    assert inspect_series(several, "p", 3)[1] == [
        f"2 timepoints (6 x 5 x 4 x 2), the sequence table says 1, {tmp_path / '4d.nii.gz'}"
    ]
    frames[1].write_bytes(b"")
    assert "1.nii.gz" in inspect_series(frames, "p", 3)[1][0]


@pytest.mark.parametrize("check_voxels", [False, True])
def test_series_of_dicom_files(tmp_path, check_voxels):
    path = write_classic(tmp_path / "dce", voxels(3), AFFINE, times=(0, 60, 90))[0]
    grid, problems, notes = inspect_series(tmp_path / "dce", "p", 3, check_voxels=check_voxels)
    assert (grid.shape, grid.orientation, problems, notes) == ((6, 5, 4), "RAS", [], [])
    assert inspect_series(tmp_path / "dce", "p", 1)[1] == [
        f"3 timepoints ({tmp_path / 'dce'}), the sequence table says 1"
    ]
    path.write_bytes(path.read_bytes()[:-60])
    _, problems, _ = inspect_series(tmp_path / "dce", "p", 3, check_voxels=check_voxels)
    assert bool(problems) == check_voxels
    assert not problems or problems[0].startswith(f"{tmp_path / 'dce'}: {path.name} is corrupt or truncated")


def test_a_simulated_cohort_is_recognised(tmp_path):
    folder = tmp_path / "cohort"
    written = simulate_breast(folder, splits=(1, 0, 1), shape=(32, 32, 32), spacing=6.0)
    text = make_datalist(str(folder), str(tmp_path / "d.json"), sequences="breast")
    assert "Problems: none" in text
    assert "not recognised" not in text
    _, entries = read(tmp_path / "d.json")
    for section in ("training", "testing"):
        (expected,) = json.loads((folder / "datalist.json").read_text())[section]
        expected.pop("label", None)
        assert entries[expected["subject"]] == expected
    assert written == str(folder / "datalist.json")


class TestCommandLine:
    def run(self, monkeypatch, *arguments):
        monkeypatch.setattr(sys, "argv", ["seq2seq_mri", "datalist", *map(str, arguments)])
        main()

    def test_a_table_by_its_name(self, study, tmp_path, monkeypatch):
        self.run(monkeypatch, study, tmp_path / "d.json", "--sequences", "breast", "--layout", "breast")
        content, entries = read(tmp_path / "d.json")
        assert content["sequences"] == SEQUENCE_TABLES["breast"]
        assert len(entries) == 6

    @pytest.mark.parametrize("table", ["{fatsat_t1: 1, dce: 6}", '{"fatsat_t1": 1, "dce": 6}'])
    def test_a_table(self, study, tmp_path, monkeypatch, table):
        pattern = "{patient}/{visit}/{sequence}"
        self.run(monkeypatch, study, tmp_path / "d.json", "--sequences", table, "--pattern", pattern)
        content, entries = read(tmp_path / "d.json")
        assert content["sequences"] == {"fatsat_t1": 1, "dce": 6}
        assert set(entries["P1_pre"]) == {"subject", "patient", "fatsat_t1", "dce", "lesion"}

    @pytest.mark.parametrize("table", ["knee", "t1", "[t1, t2]", "3"])
    def test_no_table(self, study, tmp_path, monkeypatch, table):
        with pytest.raises(SystemExit, match=r'give a table such as "{t1: 1, dce: 6}", or one of brats, breast'):
            self.run(monkeypatch, study, tmp_path / "d.json", "--sequences", table)
