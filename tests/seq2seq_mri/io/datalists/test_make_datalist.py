# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""From a folder of images to a datalist: brains, visits of patients to a breast study, simulated and real data."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from dicom_writer import write_classic, write_enhanced

from mri_phantom.breast import SimulateBreast
from seq2seq_mri.io.datalists.datalist import SECTIONS, load_datalist
from seq2seq_mri.io.datalists.make_datalist import MakeDatalist
from seq2seq_mri.io.load import LoadImageSequencesd
from seq2seq_mri.sequences import SEQUENCE_TABLES

SEQUENCES = tuple(SEQUENCE_TABLES["brats"])
AFFINE = np.diag([1.0, 1.5, 2.0, 1.0])


def voxels(frames=1, seed=0):
    return np.random.default_rng(seed).integers(1, 1000, (frames, 6, 5, 4)).astype(np.int16)


def write(path, frames=1, seed=0, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.moveaxis(voxels(frames, seed), 0, -1)
    nibabel.save(nibabel.Nifti1Image(data[..., 0] if frames == 1 else data, affine), path)
    return path


@pytest.fixture
def make(tmp_path):
    """Makes a datalist; returns what is printed, the datalist, and its entries by subject."""

    def make_datalist(dataset, name="d.json", **options):
        text = MakeDatalist(str(dataset), str(tmp_path / name), **options)()
        content = json.loads((tmp_path / name).read_text())
        return text, content, {entry["subject"]: entry for section in SECTIONS for entry in content[section]}

    return make_datalist


@pytest.fixture
def dataset(tmp_path):
    """Five subjects in three naming styles; the last lacks two sequences."""
    root = tmp_path / "cohort"
    for name in ("BraTS-GLI-00001-000", "BraTS-GLI-00002-000"):
        for ending in ("t1n", "t1c", "t2w", "t2f", "seg"):
            write(root / name / f"{name}-{ending}.nii.gz")
    for ending, brats in (("T1", "t1"), ("T1POST", "t1ce"), ("T2", "t2"), ("FLAIR", "flair")):
        write(root / "patient07" / f"patient07_{ending}.nii")
        write(root / f"BraTS2021_00003_{brats}.nii.gz")
    for ending in ("t1", "flair"):
        write(root / "BraTS2021_00002" / f"BraTS2021_00002_{ending}.nii.gz")
    return root


@pytest.fixture
def study(tmp_path):
    """Three patients with two visits each; sequences as files, folders of frames and folders of DICOM files."""
    root = tmp_path / "study"
    for patient in ("P1", "P2", "P3"):
        for seed, visit in enumerate(("pre", "post")):
            folder = root / patient / visit
            write(folder / "FS_T1.nii.gz", seed=seed)
            for frame in range(6):
                write(folder / "DCE" / f"frame{2 * frame}.nii.gz", seed=10 * seed + frame)
            write_classic(folder / "DWI", voxels(4, seed), AFFINE, b_values=(0, 150, 800, 1500))
            write_enhanced(folder / "FatSatDCE" / "IM1", voxels(6, seed), AFFINE, times=range(0, 540, 90))
            write(folder / "lesion.nii.gz")
    return root


def test_a_mixed_folder(dataset, make, tmp_path):
    text, content, entries = make(dataset, "out/datalist.json")
    assert content["name"] == "cohort"
    assert content["sequences"] == dict.fromkeys(SEQUENCES, 1)
    assert [len(content[section]) for section in SECTIONS] == [3, 1, 1]
    assert entries["patient07"] == {
        "subject": "patient07",
        "t1": "patient07/patient07_T1.nii",
        "t1gd": "patient07/patient07_T1POST.nii",
        "t2": "patient07/patient07_T2.nii",
        "flair": "patient07/patient07_FLAIR.nii",
    }
    assert list(entries["BraTS2021_00002"]) == ["subject", "t1", "flair"]
    output = tmp_path / "out" / "datalist.json"
    assert text.startswith(f"{output}: 5 of 5 subjects in {dataset}")
    assert "2 files (BraTS-GLI-00001-000/BraTS-GLI-00001-000-seg.nii.gz" in text
    assert "BraTS2021_00002: no t1gd, t2" in text
    assert {entry["subject"] for entry in load_datalist(output, SECTIONS, dataset)} == set(entries)


def test_same_folder_same_bytes_and_no_silent_overwriting(dataset, make):
    first, again, other = (
        make(dataset, name, seed=seed, silence="all")[1] for name, seed in (("a", 0), ("b", 0), ("c", 5))
    )
    assert first == again != other
    with pytest.raises(FileExistsError, match=r"a exists; choose another output, or give --overwrite"):
        make(dataset, "a")
    assert make(dataset, "a", seed=5, silence="all", overwrite=True)[1] == other


def test_one_patient_left_out_counts_and_silencing(dataset, make, tmp_path):
    text, content, _ = make(dataset, testing=["patient07"], counts=(2, 1, 0), silence="training", seed=3)
    assert [len(content[section]) for section in SECTIONS] == [2, 1, 1]
    assert "1 usable subjects are in no section." in text
    assert [entry["subject"] for entry in content["testing"]] == ["patient07"]
    assert not any("withheld" in entry for section in ("validation", "testing") for entry in content[section])
    for entry in content["training"]:
        assert set(entry["withheld"]) <= set(SEQUENCES)
        assert not set(entry["withheld"]) & set(entry)
        assert set(entry) & set(SEQUENCES)
    with pytest.raises(ValueError, match=r"asks for 830 for training, .* only 5 usable"):
        make(dataset, "e.json", counts="paper")
    assert not (tmp_path / "e.json").exists()


def test_published_lists(dataset, make, tmp_path):
    for kind, text in (("train", "BraTS2021_00003,8\n"), ("valid", "BraTS2021_00002,5\n"), ("test", "absent,3\n")):
        (tmp_path / f"{kind}.csv").write_text(text)
    text, content, entries = make(dataset, published_lists=str(tmp_path))
    assert [len(content[section]) for section in SECTIONS] == [1, 1, 0]
    assert list(entries["BraTS2021_00003"]["withheld"]) == ["t1gd", "t2", "flair"]
    # Mask 5 leaves T1Gd, which is missing anyway, and FLAIR.
    names = {name: f"BraTS2021_00002/BraTS2021_00002_{name}.nii.gz" for name in ("t1", "flair")}
    assert entries["BraTS2021_00002"] == {
        "subject": "BraTS2021_00002",
        "flair": names["flair"],
        "withheld": {"t1": names["t1"]},
    }
    assert "3 usable subjects are not in the published lists: BraTS-GLI-00001-000" in text


def test_unusable_subjects_are_left_out_and_listed(dataset, make):
    write(dataset / "patient07" / "patient07_T2.nii", affine=2 * AFFINE)
    write(dataset / "again" / "BraTS2021_00003_t1.nii.gz")
    broken = dataset / "BraTS-GLI-00001-000" / "BraTS-GLI-00001-000-t2f.nii.gz"
    broken.write_bytes(broken.read_bytes()[:-20])
    text, _, entries = make(dataset)
    assert sorted(entries) == ["BraTS-GLI-00002-000", "BraTS2021_00002"]
    for expected in (
        "Problems: 3 subjects are left out",
        "patient07: t1 and t2: patient07/patient07_T1.nii and patient07/patient07_T2.nii lie on different grids",
        "BraTS2021_00003: t1 found 2 times, keep one of BraTS2021_00003_t1.nii.gz, again/",
        "BraTS-GLI-00001-000: flair: ",
    ):
        assert expected in text
    with pytest.raises(ValueError, match="'patient07', named for testing, is not a usable subject"):
        make(dataset, "e.json", testing="patient07")


def test_check_images_finds_what_headers_do_not_tell(dataset, make):
    path = dataset / "patient07" / "patient07_T2.nii"
    nibabel.save(nibabel.Nifti1Image(np.zeros((6, 5, 4), np.int16), AFFINE), path)
    assert "Problems: none" in make(dataset)[0]
    assert "patient07: t2: patient07/patient07_T2.nii is all zero" in make(dataset, "e.json", check_images=True)[0]


def test_visits_of_patients(study, make, tmp_path):
    text, content, entries = make(study, sequences="breast", layout="breast", testing="P3", check_images=True)
    assert content["sequences"] == SEQUENCE_TABLES["breast"]
    assert [entry["subject"] for entry in content["testing"]] == ["P3_post", "P3_pre"]
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
    image = LoadImageSequencesd(SEQUENCE_TABLES["breast"])(subject)["image"]
    np.testing.assert_array_equal(image[1], voxels(1, 1)[0])
    np.testing.assert_array_equal(image[3:9], np.concatenate([voxels(1, 10 + frame) for frame in range(6)]))
    np.testing.assert_array_equal(image[9:15], voxels(6, 1))
    np.testing.assert_array_equal(image[17:], voxels(4, 1))


def test_other_numbers_of_timepoints(study, make):
    write(study / "P1" / "pre" / "DCE" / "frame99.nii.gz")
    write(study / "P2" / "pre" / "T2.nii.gz", frames=2)
    next((study / "P3" / "pre" / "DWI").iterdir()).unlink()
    options = {"sequences": "breast", "layout": "breast"}
    text, _, entries = make(study, **options)
    assert (
        "P1_pre: dce: 7 timepoints (P1/pre/DCE/frame0.nii.gz to frame99.nii.gz), the sequence table says 6; "
        "--allow_other_timepoints keeps such subjects in the datalist" in text
    )
    assert "P2_pre: t2: 2 timepoints (P2/pre/T2.nii.gz), the sequence table says 1\n" in text
    assert "P3_pre: dwi: P3/pre/DWI: b = " in text
    assert set(entries) == {"P1_post", "P2_post", "P3_post"}

    text, _, entries = make(study, "e.json", allow_other_timepoints=True, **options)
    assert "P1_pre: dce: 7 timepoints" in text[text.index("Notes") :]
    assert set(entries) == {"P1_post", "P1_pre", "P2_post", "P3_post"}
    assert len(entries["P1_pre"]["dce"]) == 7


def test_a_simulated_cohort_is_recognised(make, tmp_path):
    folder = tmp_path / "cohort"
    SimulateBreast(folder, splits=(1, 0, 1), shape=(32, 32, 32), spacing=6.0)()
    text, _, entries = make(folder, sequences="breast")
    assert "Problems: none" in text
    assert "not recognised" not in text
    for section in ("training", "testing"):
        (expected,) = json.loads((folder / "datalist.json").read_text())[section]
        expected.pop("label", None)
        assert entries[expected["subject"]] == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fractions": (1, 0, 0), "counts": (1, 1, 1)}, "Both fractions and counts"),
        ({"counts": "all"}, "counts is 'all'; give three numbers, or paper"),
        ({"silence": "test"}, "Unknown section 'test' in silence"),
        ({"published_lists": "x", "silence": "all"}, "leave out all other options of a split"),
        ({"published_lists": "x", "sequences": {"t1": 1}}, "lists are about t1gd too"),
        ({"sequences": "knee"}, r'give a table such as "{t1: 1, dce: 6}", or one of brats, breast'),
    ],
)
def test_options_that_contradict(dataset, make, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        make(dataset, **options)
    assert not (tmp_path / "d.json").exists()


def test_a_folder_of_which_nothing_can_be_used(make, tmp_path):
    write(tmp_path / "x" / "scan.nii.gz")
    with pytest.raises(ValueError, match=r"1 file \(scan.nii.gz\) not recognised\); describe .* --pattern"):
        make(tmp_path / "x")
    for number, name in enumerate(("t1", "t2")):
        write(tmp_path / "x" / f"p_{name}.nii.gz", affine=(1 + number) * AFFINE)
    with pytest.raises(
        ValueError, match=r"no datalist was written:\n  p: t1 and t2: p_t1.nii.gz and p_t2.nii.gz lie on"
    ):
        make(tmp_path / "x")
    assert "p: no t1gd, flair" in make(tmp_path / "x", allow_different_grids=True)[0]


@pytest.mark.real_data
def test_real_patients(shared_data, make, tmp_path):
    text, content, entries = make(shared_data / "data" / "brain", testing="patient19")
    assert {"BraTS-MET-00110-000", "TCGA-DU-7294", "patient07", "patient19"} <= set(entries)
    assert all(list(entry) == ["subject", *SEQUENCES] for entry in entries.values())
    assert [entry["subject"] for entry in content["testing"]] == ["patient19"]
    assert entries["patient07"]["t1gd"] == "patient07/patient07_T1POST.nii.gz"
    assert entries["TCGA-DU-7294"]["t1gd"] == "TCGA-DU-7294/TCGA-DU-7294-t1c.nii.gz"
    for expected in ("240 x 240 x 155, 1 x 1 x 1 mm", "182 x 218 x 182", "Problems: none", "RAS", "LPS", "LAS"):
        assert expected in text
    training = load_datalist(tmp_path / "d.json", "training", shared_data / "data" / "brain")
    assert len(training) == len(content["training"]) >= 2
