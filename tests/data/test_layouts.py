# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Telling subject and sequence from a file's name, for every naming style."""

from __future__ import annotations

import os

import pytest

from seq2seq_mri.data.layouts import parse_names, patient_of, scan_dataset

BRATS = {"t1": 1, "t1gd": 1, "t2": 1, "flair": 1}


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(root, **options):
    scan = scan_dataset(root, options.pop("sequences", BRATS), **options)
    return {
        name: {
            sequence: [path.relative_to(root).as_posix() for path in paths] for sequence, paths in entry.files.items()
        }
        for name, entry in scan.subjects.items()
    }


@pytest.mark.parametrize(
    ("layout", "subject", "endings"),
    [
        ("brats", "Brats18_CBICA_AAM_1", ["_t1.nii.gz", "_t1ce.nii.gz", "_t2.nii.gz", "_flair.nii.gz"]),
        ("brats", "BraTS20_Training_001", ["_t1.nii", "_t1ce.nii", "_t2.nii", "_flair.nii"]),
        ("brats", "TCGA-02-0003_2003.06.08", ["_t1.nii.gz", "_t1Gd.nii.gz", "_t2.nii.gz", "_flair.nii.gz"]),
        ("brats", "BraTS-GLI-00002-000", ["-t1n.nii.gz", "-t1c.nii.gz", "-t2w.nii.gz", "-t2f.nii.gz"]),
        ("open_ms", "patient07", ["_T1.nii.gz", "_T1POST.nii.gz", "_T2.nii.gz", "_FLAIR.nii.gz"]),
        ("open_ms", "patient01_study1", ["_T1W.nii.gz", "_T1WKS.nii.gz", "_T2W.nii.gz", "_FLAIR.nii.gz"]),
    ],
)
@pytest.mark.parametrize("automatic", [False, True])
def test_each_style(tmp_path, layout, subject, endings, automatic):
    touch(tmp_path, *(f"a/{subject}/{subject}{ending}" for ending in endings), f"a/{subject}/{subject}_seg.nii.gz")
    expected = {name: [f"a/{subject}/{subject}{e}"] for name, e in zip(BRATS, endings, strict=True)}
    assert found(tmp_path, layout="auto" if automatic else layout) == {subject: expected}


def test_styles_mixed_in_one_folder(tmp_path):
    touch(tmp_path, "x/BraTS-MET-1-000-t1c.nii.gz", "y/patient07_T1POST.nii.gz", "BraTS2021_00000_t1ce.nii.gz")
    touch(tmp_path, "named_by_folder/t1gd.nii.gz", "patient02/study1_T1WKS.nii", "p-t1gd.nii.gz")
    scan = found(tmp_path)
    assert list(scan) == [
        "BraTS-MET-1-000",
        "BraTS2021_00000",
        "named_by_folder",
        "p",
        "patient02_study1",
        "patient07",
    ]
    assert all(list(files) == ["t1gd"] for files in scan.values())


def test_masks_and_unrecognised_files_are_told_apart(tmp_path):
    masks = ["p_seg.nii.gz", "p-seg.nii.gz", "p_GOLD_STANDARD.nii.gz", "p_gt.nii.gz", "brainmask.nii.gz", "p_mask.nii"]
    touch(tmp_path, "p_t1.nii.gz", "p_adc.nii.gz", "p-t1n-voided.nii.gz", "t2.nii.gz", *masks)
    touch(tmp_path, "p_t2.txt", "._p_t2.nii.gz", ".hidden/q_t1.nii.gz")
    scan = scan_dataset(tmp_path, BRATS)
    assert {path.name for path in scan.masks} == set(masks)
    # "t2.nii.gz" beside everybody's files has no folder to be named after.
    assert [path.name for path in scan.unrecognised] == ["p-t1n-voided.nii.gz", "p_adc.nii.gz", "t2.nii.gz"]
    assert list(scan.subjects) == ["p"]


def test_a_sequence_found_twice_is_kept_twice(tmp_path):
    touch(tmp_path, "a/p_t1.nii.gz", "a/p_t1.nii", "b/p_T1W.nii.gz", "a/p_t2.nii")
    assert found(tmp_path) == {"p": {"t1": ["a/p_t1.nii", "a/p_t1.nii.gz", "b/p_T1W.nii.gz"], "t2": ["a/p_t2.nii"]}}


def test_masks_of_what_is_unique_to_a_sequence(tmp_path):
    touch(tmp_path, "s/s-t1n.nii.gz", "s/s-unique-t1gd.nii.gz", "s/s-unique-flair.nii.gz", "s/s-unique-x.nii.gz")
    scan = scan_dataset(tmp_path, BRATS)
    assert {name: paths[0].name for name, paths in scan.subjects["s"].unique.items()} == {
        "flair": "s-unique-flair.nii.gz",
        "t1gd": "s-unique-t1gd.nii.gz",
    }
    assert list(scan.subjects["s"].files) == ["t1"]
    assert [path.name for path in scan.unrecognised] == ["s-unique-x.nii.gz"]


def test_sequences_outside_the_table_are_not_recognised(tmp_path):
    touch(tmp_path, "p_t1.nii.gz", "p_flair.nii.gz", "p_DCE.nii.gz")
    scan = scan_dataset(tmp_path, {"t1": 1, "dce": 6})
    assert sorted(scan.subjects["p"].files) == ["dce", "t1"]
    assert [path.name for path in scan.unrecognised] == ["p_flair.nii.gz"]


@pytest.mark.parametrize(
    ("pattern", "names", "file"),
    [
        ("{subject}/{sequence}.nii.gz", "t1gd=MPRAGE_GD,t1=MPRAGE", "s_1/MPRAGE_GD.nii.gz"),
        ("./{subject}_{sequence}.nii", {"t1gd": ["POST_T1", "T1+"], "t1": "T1"}, "s_1_POST_T1.nii"),
        ("*/{subject}/{subject}_*_{sequence}.nii.gz", None, "site a/s_1/s_1_20240101_t1gd.nii.gz"),
        ("{sequence}/img-{subject}.nii.gz", {"t1gd": 7}, "7/img-s_1.nii.gz"),
    ],
)
def test_pattern(tmp_path, pattern, names, file):
    touch(tmp_path, file, "elsewhere.nii.gz")
    assert found(tmp_path, pattern=pattern, names=names) == {"s_1": {"t1gd": [file]}}


def test_names_extend_the_known_styles(tmp_path):
    touch(tmp_path, "p_T1_KM.nii.gz", "p_T1.nii.gz")
    assert found(tmp_path, names="t1gd=T1_KM") == {"p": {"t1": ["p_T1.nii.gz"], "t1gd": ["p_T1_KM.nii.gz"]}}


def test_linked_folders_are_entered_once(tmp_path):
    touch(tmp_path / "store", "p/p_t1.nii.gz")
    dataset = tmp_path / "dataset"
    dataset.mkdir()
    try:
        os.symlink(tmp_path / "store" / "p", dataset / "p")
        os.symlink(dataset, dataset / "loop")
    except OSError:
        pytest.skip("this file system has no links")
    assert found(dataset) == {"p": {"t1": ["p/p_t1.nii.gz"]}}


@pytest.mark.parametrize(
    ("subject", "patient"),
    [
        ("BraTS-GLI-00002-000", "BraTS-GLI-00002"),
        ("BraTS-GLI-00002-101", "BraTS-GLI-00002"),
        ("patient01_study2", "patient01"),
        ("BraTS2021_00002", "BraTS2021_00002"),
        ("TCGA-DU-7294", "TCGA-DU-7294"),
    ],
)
def test_examinations_of_one_patient(subject, patient):
    assert patient_of(subject) == patient


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "bids"}, "Unknown layout 'bids'"),
        ({"layout": "brats", "pattern": "{subject}/{sequence}.nii"}, "give one of them"),
        ({"pattern": "{subject}.nii.gz"}, "pattern '{subject}.nii.gz' is not usable"),
        ({"pattern": "{subject}/{modality}/{sequence}.nii.gz"}, "is not usable"),
        ({"pattern": "/abs/{subject}/{sequence}.nii.gz"}, "is not usable"),
        ({"names": "t1"}, "'t1' in names is not of the form"),
        ({"names": {"adc": "ADC"}}, "Unknown sequence 'adc' in names"),
        ({"names": "t1=A,t2=A"}, "gives 'A' to both t1 and t2"),
    ],
)
def test_wrong_options(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        scan_dataset(tmp_path, BRATS, **options)


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="no_such_folder does not exist"):
        scan_dataset(tmp_path / "no_such_folder", BRATS)


def test_parse_names_without_names():
    assert parse_names(None, BRATS) == {}
