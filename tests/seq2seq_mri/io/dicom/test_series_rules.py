# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Recognising the sequences of a study: what headers tell, what rules make of it, every way in which it fails."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dicom_writer import dataset_of, write_classic
from pydicom.uid import EnhancedMRImageStorage, generate_uid

from seq2seq_mri.io.dicom.dicom_study import read_study
from seq2seq_mri.io.dicom.series_rules import choose_series, parse_chosen, read_series_rules
from seq2seq_mri.sequences import SEQUENCE_TABLES

BRATS = SEQUENCE_TABLES["brats"]
STUDY = generate_uid()


def write_series(folder: Path, slices: int = 12, *, turn: bool = False, **attributes) -> str:
    """Write a series of zeros whose headers have these attributes, beside others; return its UID."""
    uid = generate_uid()

    def change(dataset, frame, place):
        if turn and place % 2:
            dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, 1]
        for keyword, value in {"StudyInstanceUID": STUDY, "SeriesInstanceUID": uid, **attributes}.items():
            setattr(dataset, keyword, value)

    for path in write_classic(folder / uid, np.zeros((1, 2, 2, slices)), np.diag([-1, -1, 3, 1]), change=change):
        path.rename(folder / f"{uid}_{path.name}")
    return uid


@pytest.fixture
def brain_rules(repository: Path):
    """The rules that come with the app for brain MRI."""
    return read_series_rules(repository / "apps" / "monai_deploy" / "rules" / "seq2seq_brats.yaml", BRATS)


@pytest.fixture
def write_rules(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file of rules."""

    def write(*rules) -> Path:
        path = tmp_path / "rules.json"
        path.write_text(json.dumps({"rules": rules}))
        return path

    return write


def recognised(folder: Path, rules, table=BRATS, chosen: str = "") -> dict[str, list[str]]:
    choice = choose_series(read_study(folder), rules, table, parse_chosen(chosen, table))
    return {name: [part.uid for part in parts] for name, parts in choice.sequences.items()}


@pytest.mark.parametrize(
    ("sequence", "attributes"),
    [
        ("t1", {"SeriesDescription": "AX T1 SE"}),
        ("t1", {"SeriesDescription": "t1_mprage_sag_p2_iso"}),
        ("t1", {"SeriesDescription": "SAG T1 FLAIR", "InversionTime": 860}),
        ("t1", {"SeriesDescription": "T1_PRE_GD", "ContrastBolusAgent": "Gadovist"}),
        ("t1", {"SeriesDescription": "3D T1 without contrast"}),
        ("t1", {"SeriesDescription": "Ax BRAVO FA 15"}),
        ("t1", {"ProtocolName": "MP-RAGE"}),
        ("t1", {"SeriesDescription": "AX", "EchoTime": 12, "RepetitionTime": 550, "InversionTime": 0}),
        ("t1", {"SeriesDescription": "SAG", "EchoTime": 3, "RepetitionTime": 2300, "InversionTime": 900}),
        ("t1gd", {"SeriesDescription": "AX T1 +C"}),
        ("t1gd", {"SeriesDescription": "T1_POST"}),
        ("t1gd", {"SeriesDescription": "t1c"}),
        ("t1gd", {"SeriesDescription": "t1_mprage_sag_KM"}),
        ("t1gd", {"SeriesDescription": "POST AX T1 FSE"}),
        ("t1gd", {"SeriesDescription": "Ax BRAVO", "ContrastBolusAgent": "Dotarem"}),
        ("t1gd", {"EchoTime": 12, "RepetitionTime": 550, "ContrastBolusAgent": "Dotarem"}),
        ("t2", {"SeriesDescription": "t2_tse_tra"}),
        ("t2", {"SeriesDescription": "T2 post", "ContrastBolusAgent": "Dotarem"}),
        ("t2", {"EchoTime": 100, "RepetitionTime": 4500}),
        ("flair", {"SeriesDescription": "AX T2 FLAIR"}),
        ("flair", {"SeriesDescription": "t2_spc_da-fl_dark-fluid_sag"}),
        ("flair", {"EchoTime": 120, "RepetitionTime": 9000, "InversionTime": 2500}),
    ],
)
def test_brain_series(tmp_path, brain_rules, sequence, attributes) -> None:
    uid = write_series(tmp_path, **attributes)
    assert recognised(tmp_path, brain_rules) == {sequence: [uid]}


@pytest.mark.parametrize(
    ("reason", "attributes"),
    [
        ("localiser", {"SeriesDescription": "3-plane loc T1"}),
        ("localiser", {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "SeriesDescription": "T1"}),
        ("several directions", {"SeriesDescription": "T1", "turn": True}),
        ("derived map", {"SeriesDescription": "T2", "ImageType": ["DERIVED", "PRIMARY", "ADC"]}),
        ("derived map", {"SeriesDescription": "T2_MAP"}),
        ("synthesised", {"SeriesDescription": "t1gd (synthetic, research only)"}),
        ("diffusion", {"EchoTime": 100, "RepetitionTime": 4500, "DiffusionBValue": 1000.0}),
        ("not one of", {"SeriesDescription": "t2*_gre"}),
        ("no rule fits", {"SeriesDescription": "AX", "EchoTime": 15, "RepetitionTime": 3000}),
        ("3 slices are less than 10", {"SeriesDescription": "T1", "slices": 3}),
    ],
)
def test_series_that_are_not_taken(tmp_path, brain_rules, reason, attributes) -> None:
    kept = write_series(tmp_path, SeriesDescription="FLAIR")
    write_series(tmp_path, **attributes)
    choice = choose_series(read_study(tmp_path), brain_rules, BRATS)
    assert [part.uid for part in choice.sequences.pop("flair")] == [kept]
    assert not choice.sequences
    assert [reason in why for _, why in choice.left] == [True]


def test_table_order_and_mixed_files(tmp_path, brain_rules) -> None:
    names = {name: write_series(tmp_path, SeriesDescription=name, SeriesNumber=9) for name in ("flair", "t1", "t2")}
    (tmp_path / "notes.txt").write_text("no DICOM")
    found = recognised(tmp_path, brain_rules)
    assert list(found) == ["t1", "t2", "flair"]
    assert found == {name: [uid] for name, uid in names.items()}


def test_enhanced_file(tmp_path, brain_rules) -> None:
    def group(place):
        return dataset_of(
            PlanePositionSequence=[dataset_of(ImagePositionPatient=[0, 0, 3.0 * place])],
            PlaneOrientationSequence=[dataset_of(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
            MREchoSequence=[dataset_of(EffectiveEchoTime=110.0)],
            MRTimingAndRelatedParametersSequence=[dataset_of(RepetitionTime=5000.0)],
        )

    groups = [group(place) for place in range(11)]
    attributes = {"SOPClassUID": EnhancedMRImageStorage, "PerFrameFunctionalGroupsSequence": groups}
    uid = write_series(tmp_path, 1, **attributes, NumberOfFrames=11)
    (series,) = read_study(tmp_path)
    assert series.numbers["echo_time"] == (110.0,)
    assert series.numbers["slices"] == (11.0,)
    assert recognised(tmp_path, brain_rules) == {"t2": [uid]}


def test_two_candidates_and_choosing(tmp_path, brain_rules) -> None:
    first = write_series(tmp_path, SeriesDescription="AX T1", SeriesNumber=3)
    second = write_series(tmp_path, SeriesDescription="SAG T1", SeriesNumber=4)
    message = r"2 series look like t1: series 3 'AX T1' .*series 4 .*--sequences t1="
    with pytest.raises(ValueError, match=message) as caught:
        recognised(tmp_path, brain_rules)
    assert first in str(caught.value)
    assert second in str(caught.value)
    assert recognised(tmp_path, brain_rules, chosen=f"t1={second}") == {"t1": [second]}
    assert recognised(tmp_path, brain_rules, chosen=f"t1=3,t1gd={second}") == {"t1": [first], "t1gd": [second]}
    with pytest.raises(ValueError, match="for both t1 and t2"):
        recognised(tmp_path, brain_rules, chosen="t1=3,t2=3")
    with pytest.raises(ValueError, match=r"no MR series of the study has this UID or number; choose from series 3"):
        recognised(tmp_path, brain_rules, chosen="t1=1.2.3")


def test_a_sequence_that_counts_as_missing_and_no_sequence_at_all(tmp_path, brain_rules) -> None:
    write_series(tmp_path, SeriesDescription="scout")
    with pytest.raises(ValueError, match=r"No series .* 'scout' .*: localiser.*--sequences t1=SERIES_UID"):
        recognised(tmp_path, brain_rules)
    write_series(tmp_path, SeriesDescription="T1")
    kept = write_series(tmp_path, SeriesDescription="T2")
    assert recognised(tmp_path, brain_rules, chosen="t1=none") == {"t2": [kept]}


def test_series_for_each_timepoint(tmp_path, repository) -> None:
    table = SEQUENCE_TABLES["breast"]
    rules = read_series_rules(repository / "apps" / "monai_deploy" / "rules" / "seq2seq_breast.yaml", table)
    frames = [write_series(tmp_path, SeriesDescription=f"dyn_{n}", SeriesNumber=n) for n in range(1, 4)]
    saturated = write_series(tmp_path, SeriesDescription="t1_fl3d_tra_dyn_spair")
    diffusion = write_series(tmp_path, SeriesDescription="ep2d", DiffusionBValue=800.0)
    fat = write_series(tmp_path, SeriesDescription="T1_FS")
    assert recognised(tmp_path, rules, table) == {
        "fatsat_t1": [fat],
        "dce": frames,
        "fatsat_dce": [saturated],
        "dwi": [diffusion],
    }


def test_rules_are_tried_in_order(tmp_path, write_rules) -> None:
    uid = write_series(tmp_path, SeriesDescription="special", EchoTime=30)
    first = {"sequence": "t2", "description": ["^SPEC", "never"], "echo_time": {"min": 30, "max": 30}}
    path = write_rules(first, {"sequence": "t1", "not_description": "other"})
    assert recognised(tmp_path, read_series_rules(path, BRATS)) == {"t2": [uid]}
    path = write_rules({**first, "echo_time": "absent"}, {"sequence": "t1", "not_description": "other"})
    assert recognised(tmp_path, read_series_rules(path, BRATS)) == {"t1": [uid]}


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"sequence": "t1c", "description": "t1"}, "Rule 1 .* Unknown sequence 't1c'"),
        ({"sequence": "t1"}, "no condition"),
        ({"sequence": "t1", "descripton": "t1"}, "unknown condition 'descripton'"),
        ({"sequence": "t1", "description": "t1("}, "no regular expression"),
        ({"sequence": "t1", "description": 1}, "no regular expression"),
        ({"sequence": "t1", "echo_time": 20}, "give {min"),
        ({"sequence": "t1", "echo_time": {"minimum": 20}}, "give {min"),
        ({"sequence": "t1", "contrast_agent": "yes"}, "give true or false"),
        ({"sequence": "t1", "description": "t1", "combine": "yes"}, "true or false"),
        ("t1", "no mapping"),
    ],
)
def test_wrong_rules(write_rules, rule, message) -> None:
    with pytest.raises(ValueError, match=message):
        read_series_rules(write_rules(rule), BRATS)


def test_wrong_files_of_rules(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="no file of rules"):
        read_series_rules(tmp_path / "absent.yaml", BRATS)
    for text, message in (
        ("rules: [", "neither YAML nor JSON"),
        ("", "no list 'rules'"),
        ("{rules: [], minimum: 3}", "'minimum'"),
        ("{rules: [], minimum_slices: 0}", "minimum_slices 0"),
    ):
        (tmp_path / "rules.yaml").write_text(text)
        with pytest.raises(ValueError, match=message):
            read_series_rules(tmp_path / "rules.yaml", BRATS)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [("t1", "not of the form"), ("t1=", "not of the form"), ("t3=1.2", "Unknown sequence"), ("t1=1,t1=2", "twice")],
)
def test_wrong_choices(chosen, message) -> None:
    with pytest.raises(ValueError, match=message):
        parse_chosen(chosen, BRATS)


def test_no_study(tmp_path) -> None:
    write_series(tmp_path / "study", 1, Modality="CT")
    with pytest.raises(ValueError, match="no MR series, only 1 of modality CT"):
        read_study(tmp_path / "study")
    write_series(tmp_path / "study", 1, StudyInstanceUID="1.2.3")
    with pytest.raises(ValueError, match="holds 2 studies"):
        read_study(tmp_path / "study")
    shutil.rmtree(tmp_path / "study")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_study(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="no DICOM image"):
        read_study(tmp_path)
    (tmp_path / "broken.dcm").write_bytes(b"\0" * 200)
    with pytest.raises(ValueError, match=r"broken\.dcm is no DICOM file"):
        read_study(tmp_path)
