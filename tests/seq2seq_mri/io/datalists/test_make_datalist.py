# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""From a folder of images to a datalist, on made-up and on real data."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from seq2seq_mri.io.datalists.datalist import load_datalist
from seq2seq_mri.io.datalists.make_datalist import make_datalist

SEQUENCES = ("t1", "t1gd", "t2", "flair")


def write(path, shape=(6, 5, 4), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.random.default_rng(seed).uniform(1, 100, shape).astype(np.float32)
    nib.save(nib.Nifti1Image(data, np.eye(4)), path)
    return path


@pytest.fixture
def dataset(tmp_path):
    """Five subjects in three naming styles; the last lacks two sequences."""
    root = tmp_path / "cohort"
    for name in ("BraTS-GLI-00001-000", "BraTS-GLI-00002-000"):
        for ending in ("t1n", "t1c", "t2w", "t2f", "seg"):
            write(root / name / f"{name}-{ending}.nii.gz")
    for ending in ("T1", "T1POST", "T2", "FLAIR"):
        write(root / "patient07" / f"patient07_{ending}.nii")
        write(root / f"BraTS2021_00003_{ {'T1': 't1', 'T1POST': 't1ce', 'T2': 't2', 'FLAIR': 'flair'}[ending] }.nii.gz")
    for ending in ("t1", "flair"):
        write(root / "BraTS2021_00002" / f"BraTS2021_00002_{ending}.nii.gz")
    return root


def read(path):
    content = json.loads(path.read_text())
    return content, {entry["subject"]: entry for s in ("training", "validation", "testing") for entry in content[s]}


def test_a_mixed_folder(dataset, tmp_path):
    output = tmp_path / "out" / "datalist.json"
    text = make_datalist(str(dataset), str(output))
    content, entries = read(output)
    assert content["name"] == "cohort"
    assert content["sequences"] == dict.fromkeys(SEQUENCES, 1)
    assert [len(content[s]) for s in ("training", "validation", "testing")] == [3, 1, 1]
    assert entries["patient07"] == {
        "subject": "patient07",
        "t1": "patient07/patient07_T1.nii",
        "t1gd": "patient07/patient07_T1POST.nii",
        "t2": "patient07/patient07_T2.nii",
        "flair": "patient07/patient07_FLAIR.nii",
    }
    assert list(entries["BraTS2021_00002"]) == ["subject", "t1", "flair"]
    assert text.startswith(f"{output}: 5 of 5 subjects in {dataset}")
    assert "2 files (BraTS-GLI-00001-000/BraTS-GLI-00001-000-seg.nii.gz" in text
    assert "BraTS2021_00002: no t1gd, t2" in text
    loaded = load_datalist(output, ["training", "validation", "testing"], dataset)
    assert {entry["subject"] for entry in loaded} == set(entries)


def test_same_folder_same_bytes_and_no_silent_overwriting(dataset, tmp_path):
    outputs = [tmp_path / name for name in ("a.json", "b.json", "c.json")]
    for output, seed in zip(outputs, (0, 0, 5), strict=True):
        make_datalist(str(dataset), str(output), seed=seed, silence="all")
    texts = [output.read_text() for output in outputs]
    assert texts[0] == texts[1] != texts[2]
    with pytest.raises(FileExistsError, match=r"a\.json exists; choose another output, or give --overwrite"):
        make_datalist(str(dataset), str(outputs[0]))
    make_datalist(str(dataset), str(outputs[0]), seed=5, silence="all", overwrite=True)
    assert outputs[0].read_text() == texts[2]


def test_silencing_chosen_sections(dataset, tmp_path):
    output = tmp_path / "d.json"
    make_datalist(str(dataset), str(output), silence="training", testing="patient07", seed=3)
    content, _ = read(output)
    assert all("withheld" in entry for entry in content["training"] if entry["subject"] != "patient07")
    assert not any("withheld" in entry for s in ("validation", "testing") for entry in content[s])
    for entry in content["training"]:
        assert set(entry["withheld"]) <= set(SEQUENCES)
        assert not set(entry["withheld"]) & set(entry)
        assert set(entry) & set(SEQUENCES)
    assert [entry["subject"] for entry in content["testing"]] == ["patient07"]


def test_one_patient_left_out_and_counts(dataset, tmp_path):
    make_datalist(str(dataset), str(tmp_path / "d.json"), testing=["patient07"], counts=(2, 1, 0))
    content, _ = read(tmp_path / "d.json")
    assert [len(content[s]) for s in ("training", "validation", "testing")] == [2, 1, 1]
    assert "1 usable subjects are in no section." in make_datalist(
        str(dataset), str(tmp_path / "d.json"), testing=["patient07"], counts=(2, 1, 0), overwrite=True
    )
    with pytest.raises(ValueError, match=r"asks for 830 for training, .* only 5 usable"):
        make_datalist(str(dataset), str(tmp_path / "e.json"), counts="paper")
    assert not (tmp_path / "e.json").exists()


def test_published_lists(dataset, tmp_path):
    lists = tmp_path / "lists"
    lists.mkdir()
    for kind, text in (("train", "BraTS2021_00003,8\n"), ("valid", "BraTS2021_00002,5\n"), ("test", "absent,3\n")):
        (lists / f"{kind}.csv").write_text(text)
    text = make_datalist(str(dataset), str(tmp_path / "d.json"), published_lists=str(lists))
    _, entries = read(tmp_path / "d.json")
    assert list(entries) == ["BraTS2021_00003", "BraTS2021_00002"]
    assert list(entries["BraTS2021_00003"]) == ["subject", "t1", "withheld"]
    assert list(entries["BraTS2021_00003"]["withheld"]) == ["t1gd", "t2", "flair"]
    # Mask 5 leaves T1Gd, which is missing anyway, and FLAIR.
    assert entries["BraTS2021_00002"] == {
        "subject": "BraTS2021_00002",
        "flair": "BraTS2021_00002/BraTS2021_00002_flair.nii.gz",
        "withheld": {"t1": "BraTS2021_00002/BraTS2021_00002_t1.nii.gz"},
    }
    assert "3 usable subjects are not in the published lists: BraTS-GLI-00001-000" in text


def test_unusable_subjects_are_left_out_and_listed(dataset, tmp_path):
    write(dataset / "patient07" / "patient07_T2.nii", (6, 5, 9))
    write(dataset / "again" / "BraTS2021_00003_t1.nii.gz")
    broken = dataset / "BraTS-GLI-00001-000" / "BraTS-GLI-00001-000-t2f.nii.gz"
    broken.write_bytes(broken.read_bytes()[:-20])
    text = make_datalist(str(dataset), str(tmp_path / "d.json"))
    _, entries = read(tmp_path / "d.json")
    assert sorted(entries) == ["BraTS-GLI-00002-000", "BraTS2021_00002"]
    assert "Problems: 3 subjects are left out" in text
    assert (
        "patient07: t1 and t2: patient07/patient07_T1.nii and patient07/patient07_T2.nii lie on different grids" in text
    )
    assert "BraTS2021_00003: t1 found 2 times, keep one of BraTS2021_00003_t1.nii.gz, again/" in text
    assert "BraTS-GLI-00001-000: flair: " in text
    with pytest.raises(ValueError, match="'patient07', named for testing, is not a usable subject"):
        make_datalist(str(dataset), str(tmp_path / "e.json"), testing="patient07")


def test_check_images_finds_what_headers_do_not_tell(dataset, tmp_path):
    path = dataset / "patient07" / "patient07_T2.nii"
    nib.save(nib.Nifti1Image(np.zeros((6, 5, 4), np.float32), np.eye(4)), path)
    assert "Problems: none" in make_datalist(str(dataset), str(tmp_path / "d.json"))
    text = make_datalist(str(dataset), str(tmp_path / "e.json"), check_images=True)
    assert "patient07: t2: patient07/patient07_T2.nii is all zero" in text


def test_own_pattern_and_other_sequences(tmp_path):
    write(tmp_path / "data" / "p1" / "DCE MRI.nii.gz", (4, 4, 4, 6))
    write(tmp_path / "data" / "p1" / "T1.nii.gz", (4, 4, 4))
    make_datalist(
        str(tmp_path / "data"),
        str(tmp_path / "d.json"),
        sequences={"t1": 1, "dce": 6},
        pattern="{subject}/{sequence}.nii.gz",
        names={"dce": "DCE MRI", "t1": "T1"},
    )
    _, entries = read(tmp_path / "d.json")
    assert entries == {"p1": {"subject": "p1", "t1": "p1/T1.nii.gz", "dce": "p1/DCE MRI.nii.gz"}}


def test_masks_of_a_simulated_cohort(tmp_path):
    for ending in ("t1n", "t1c", "unique-t1gd"):
        write(tmp_path / "s" / "sim-001" / f"sim-001-{ending}.nii.gz")
    make_datalist(str(tmp_path / "s"), str(tmp_path / "d.json"))
    _, entries = read(tmp_path / "d.json")
    assert entries["sim-001"]["unique"] == {"t1gd": "sim-001/sim-001-unique-t1gd.nii.gz"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fractions": (1, 0, 0), "counts": (1, 1, 1)}, "Both fractions and counts"),
        ({"counts": "all"}, "counts is 'all'; give three numbers, or paper"),
        ({"silence": "test"}, "Unknown section 'test' in silence"),
        ({"published_lists": "x", "silence": "all"}, "leave out all other options of a split"),
        ({"published_lists": "x", "sequences": {"t1": 1}}, "lists are about t1gd too"),
        ({"layout": "bids"}, "Unknown layout"),
        ({"sequences": {"t1": 0}}, "Sequence 't1' has 0 timepoints"),
    ],
)
def test_options_that_contradict(dataset, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        make_datalist(str(dataset), str(tmp_path / "d.json"), **options)
    assert not (tmp_path / "d.json").exists()


def test_a_folder_without_known_images(tmp_path):
    write(tmp_path / "x" / "scan.nii.gz")
    with pytest.raises(ValueError, match=r"1 file \(scan.nii.gz\) not recognised\); describe .* --pattern"):
        make_datalist(str(tmp_path / "x"), str(tmp_path / "d.json"))


@pytest.mark.real_data
def test_real_patients(shared_data, tmp_path):
    text = make_datalist(str(shared_data / "data" / "brain"), str(tmp_path / "d.json"), testing="patient19")
    content, entries = read(tmp_path / "d.json")
    assert {"BraTS-MET-00110-000", "TCGA-DU-7294", "patient07", "patient19"} <= set(entries)
    assert all(list(entry) == ["subject", *SEQUENCES] for entry in entries.values())
    assert [entry["subject"] for entry in content["testing"]] == ["patient19"]
    assert entries["patient07"]["t1gd"] == "patient07/patient07_T1POST.nii.gz"
    assert entries["TCGA-DU-7294"]["t1gd"] == "TCGA-DU-7294/TCGA-DU-7294-t1c.nii.gz"
    for expected in ("240 x 240 x 155, 1 x 1 x 1 mm", "182 x 218 x 182", "Problems: none", "RAS", "LPS", "LAS"):
        assert expected in text
    training = load_datalist(tmp_path / "d.json", "training", shared_data / "data" / "brain")
    assert len(training) == len(content["training"]) >= 2


@pytest.mark.real_data
def test_real_raw_scans_do_not_share_a_grid(shared_data, tmp_path):
    raw = shared_data / "data" / "brain_raw" / "patient01"
    with pytest.raises(ValueError, match=r"patient01_study1: t1 and t2: .*T1W.nii.gz and .*T2W.nii.gz lie on"):
        make_datalist(str(raw), str(tmp_path / "d.json"))
    text = make_datalist(str(raw), str(tmp_path / "d.json"), allow_different_grids=True)
    assert "patient01_study1: no t1gd" in text
