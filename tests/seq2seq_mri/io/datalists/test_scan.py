# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Telling patient, subject and sequence from the names of files and folders, in every naming style."""

from __future__ import annotations

import os

import pytest

from seq2seq_mri.io.datalists.scan import scan_dataset
from seq2seq_mri.sequences import SEQUENCE_TABLES

BRATS = SEQUENCE_TABLES["brats"]
BREAST = SEQUENCE_TABLES["breast"]


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(root, sequences=BRATS, **options):
    return {
        name: {sequence: [relative(image, root) for image in images] for sequence, images in entry.files.items()}
        for name, entry in scan_dataset(root, sequences, **options).subjects.items()
    }


def relative(image, root):
    if isinstance(image, tuple):
        return [relative(path, root) for path in image]
    return image.relative_to(root).as_posix()


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
def test_each_style(tmp_path, layout, subject, endings):
    touch(tmp_path, *(f"a/{subject}/{subject}{ending}" for ending in endings), f"a/{subject}/{subject}_seg.nii.gz")
    expected = {name: [f"a/{subject}/{subject}{e}"] for name, e in zip(BRATS, endings, strict=True)}
    assert found(tmp_path, layout=layout) == found(tmp_path) == {subject: expected}


@pytest.mark.parametrize(
    ("name", "sequence"),
    [
        *((name, name) for name in BREAST),
        ("T1W", "t1"),
        ("FatSatT1", "fatsat_t1"),
        ("FS_T1", "fatsat_t1"),
        ("T1-FS", "fatsat_t1"),
        ("fat sat t1", "fatsat_t1"),
        ("FatSatDCE", "fatsat_dce"),
        ("DCE_FS", "fatsat_dce"),
        ("washin", "wash_in"),
        ("Wash-Out", "wash_out"),
        ("ADC", None),
        ("T1_map", None),
    ],
)
@pytest.mark.parametrize("style", ["P7/pre/{}.nii.gz", "P7/pre/P7_pre_{}.nii.gz", "P7_pre-{}.nii"])
def test_names_of_sequences_of_the_breast(tmp_path, name, sequence, style):
    file = style.format(name)
    touch(tmp_path, file)
    for layout in ("breast", "auto"):
        subject = "pre" if layout == "auto" and style.startswith("P7/pre/{}") else "P7_pre"
        assert found(tmp_path, sequences=BREAST, layout=layout) == ({subject: {sequence: [file]}} if sequence else {})


VISITS = {"sequences": BREAST, "pattern": "{patient}/{visit}/{sequence}"}
LAYOUT = {"sequences": BREAST, "layout": "breast"}


@pytest.mark.parametrize(
    ("options", "expected", "others"),
    [
        # A sequence found twice is kept twice; a text beside the images is nothing.
        (
            {},
            {"p": {"t1": ["a/p_t1.nii", "a/p_t1.nii.gz", "b/p_T1W.nii.gz"], "t2": ["a/p_t2.nii"]}},
            ["p_t2.txt", "._p_t2.nii.gz", ".hidden/q_t1.nii.gz"],
        ),
        # Elsewhere than in the breast's layout, a folder may hold one sequence of all subjects.
        ({}, {"p1": {"t1": ["t1/p1_t1.nii.gz"]}, "p2": {"t1": ["t1/p2_t1.nii.gz"]}}, []),
        # Names of sequences that the table lacks do not end in those that it has.
        (
            {"sequences": {"t1": 1, "dce": 6}},
            {"P7": {"t1": ["P7/P7-t1.nii.gz"], "dce": ["P7/P7_DCE.nii.gz"]}},
            ["P7/P7_FS_T1.nii.gz", "P7/P7-fatsat_dce.nii.gz", "P7/P7_flair.nii.gz"],
        ),
        # The user's names extend a layout, and replace what a pattern knows.
        ({"names": "t1gd=T1_KM"}, {"p": {"t1": ["p_T1.nii.gz"], "t1gd": ["p_T1_KM.nii.gz"]}}, []),
        (
            VISITS | {"names": "t1=VIBE"},
            {"P7_pre": {"t1": ["P7/pre/VIBE.nii.gz"], "t2": ["P7/pre/T2.nii.gz"]}},
            ["P7/pre/T1.nii.gz"],
        ),
        # A folder, a file in a folder, and a file may all be the same sequence.
        (LAYOUT, {"P7_pre": {"dce": ["P7/pre/DCE/a.nii.gz", "P7/pre/DCE", "P7/pre/DCE.nii.gz"]}}, ["P7/pre/DCE/b.dcm"]),
        *(
            ({"pattern": pattern, "names": names}, {"s_1": {"t1gd": [file]}}, ["elsewhere.nii.gz"])
            for pattern, names, file in (
                ("{subject}/{sequence}.nii.gz", "t1gd=MPRAGE_GD,t1=MPRAGE", "s_1/MPRAGE_GD.nii.gz"),
                ("./{subject}_{sequence}.nii", {"t1gd": ["POST_T1", "T1+"], "t1": "T1"}, "s_1_POST_T1.nii"),
                ("*/{subject}/{subject}_*_{sequence}.nii.gz", None, "site a/s_1/s_1_20240101_t1gd.nii.gz"),
                ("{sequence}/img-{subject}.nii.gz", {"t1gd": 7}, "7/img-s_1.nii.gz"),
            )
        ),
    ],
)
def test_what_is_found(tmp_path, options, expected, others):
    paths = [path for files in expected.values() for several in files.values() for path in several]
    touch(tmp_path, *(path for path in paths if "." in path), *others)
    assert found(tmp_path, **options) == expected


def test_styles_mixed_in_one_folder(tmp_path):
    styles = {
        "BraTS-MET-1-000": "x/BraTS-MET-1-000-t1c.nii.gz",
        "BraTS2021_00000": "BraTS2021_00000_t1ce.nii.gz",
        "named_by_folder": "named_by_folder/t1gd.nii.gz",
        "p": "p-t1gd.nii.gz",
        "patient02_study1": "patient02/study1_T1WKS.nii",
        "patient07": "y/patient07_T1POST.nii.gz",
    }
    touch(tmp_path, *styles.values())
    assert list(found(tmp_path).items()) == [(name, {"t1gd": [path]}) for name, path in styles.items()]


def test_masks_and_unrecognised_files_are_told_apart(tmp_path):
    masks = ["p_seg.nii.gz", "p-seg.nii.gz", "p_GOLD_STANDARD.nii.gz", "p_gt.nii.gz", "brainmask.nii.gz", "p_mask.nii"]
    masks += ["p-tissue.nii.gz", "p-ktrans.nii.gz", "p_ADC.nii.gz", "q_lesion.nii.gz"]  # of q there is no image
    touch(tmp_path, "p_t1.nii.gz", "p_swi.nii.gz", "p-unique-swi.nii.gz", "p-t1n-voided.nii.gz", "t2.nii.gz", *masks)
    scan = scan_dataset(tmp_path, BRATS)
    assert {path.name for path in scan.masks} == set(masks)
    # "t2.nii.gz" beside everybody's files has no folder to be named after.
    others = ["p-t1n-voided.nii.gz", "p-unique-swi.nii.gz", "p_swi.nii.gz", "t2.nii.gz"]
    assert [path.name for path in scan.unrecognised] == others
    assert list(scan.subjects) == ["p"]


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
    ("options", "files", "patients"),
    [
        (
            {"layout": "breast"},
            ["P7/pre/T1.nii.gz", "P7/post/T1.nii.gz", "P8/T1.nii.gz", "site/P9/pre/P9_pre_T1.nii.gz"],
            {"P7_post": "P7", "P7_pre": "P7", "P8": "P8", "P9_pre": "P9"},
        ),
        ({"pattern": "{patient}/{sequence}"}, ["P7/fs_dce.nii"], {"P7": "P7"}),
        ({"pattern": "{patient}/*/{subject}-{sequence}.nii.gz"}, ["P7/x/S1-DCE_FS.nii.gz"], {"S1": "P7"}),
        ({"pattern": "{sequence}/{patient}_{visit}.nii.gz"}, ["FatSatDCE/P7_v1.nii.gz"], {"P7_v1": "P7"}),
    ],
)
def test_visits_of_patients(tmp_path, options, files, patients):
    touch(tmp_path, *files)
    scan = scan_dataset(tmp_path, BREAST, **options)
    assert {name: subject.patient for name, subject in scan.subjects.items()} == patients
    assert {sequence for subject in scan.subjects.values() for sequence in subject.files} <= {"t1", "fatsat_dce"}


def test_two_patients_of_one_name(tmp_path):
    touch(tmp_path, "a_b/c/T1.nii.gz", "a/b_c/T2.nii.gz")
    with pytest.raises(ValueError, match="both patient a and patient a_b would be called 'a_b_c'; rename"):
        scan_dataset(tmp_path, BREAST, layout="breast")


@pytest.mark.parametrize("options", [LAYOUT, VISITS])
def test_folders_that_are_sequences(tmp_path, options):
    touch(tmp_path, "P7/pre/DWI/a/IM1", "P7/pre/T2/any name.nii.gz", "P7/pre/T1.nii.gz", "P7/pre/ADC/adc.nii.gz")
    touch(tmp_path, *(f"P7/pre/DCE/frame{number}.nii.gz" for number in (10, 9, 1)), "P7/pre/DCE/mask.nii.gz")
    touch(tmp_path, "P7/pre/FS_T1/IM1.dcm", "P7/pre/FS_T1/notes.txt", "P7/pre/lesion.nii.gz", "P7/pre/wash_in/x.txt")
    (tmp_path / "P7/pre/DWI/a/IM1").write_bytes(bytes(128) + b"DICM")
    assert found(tmp_path, **options) == {
        "P7_pre": {
            "t1": ["P7/pre/T1.nii.gz"],
            "fatsat_t1": ["P7/pre/FS_T1"],
            "t2": ["P7/pre/T2/any name.nii.gz"],
            "dce": [[f"P7/pre/DCE/frame{number}.nii.gz" for number in (1, 9, 10)]],
            "dwi": ["P7/pre/DWI"],
        }
    }
    scan = scan_dataset(tmp_path, **options)
    assert scan.subjects["P7_pre"].patient == "P7"
    assert scan.subjects["P7_pre"].lesion == [tmp_path / "P7/pre/lesion.nii.gz"]
    assert {path.name for path in scan.masks} == {"mask.nii.gz", "adc.nii.gz"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "bids"}, "Unknown layout 'bids'"),
        ({"layout": "brats", "pattern": "{subject}/{sequence}.nii"}, "give one of them"),
        ({"pattern": "{subject}.nii.gz"}, "pattern '{subject}.nii.gz' is not usable"),
        ({"pattern": "{subject}/{modality}/{sequence}.nii.gz"}, "is not usable"),
        ({"pattern": "{visit}/{sequence}.nii.gz"}, "is not usable"),
        ({"pattern": "/abs/{subject}/{sequence}.nii.gz"}, "is not usable"),
        ({"names": "t1"}, "'t1' in names is not of the form"),
        ({"names": {"adc": "ADC"}}, "Unknown sequence 'adc' in names"),
        ({"names": "t1=A,t2=A"}, "gives 'A' to both t1 and t2"),
    ],
)
def test_wrong_options(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        scan_dataset(tmp_path, BRATS, **options)
    with pytest.raises(FileNotFoundError, match="no_such_folder does not exist"):
        scan_dataset(tmp_path / "no_such_folder", BRATS, **options)
