# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Labels of a datalist and of CSV files, and sections that a classifier can learn from."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from seq2seq_mri.io.datalists.labelled_datalist import LabelledDatalist, labelled_entries, read_labels

LABELS = {"training": (0, 1, 1), "validation": (1, 0), "testing": (0, 0)}


@pytest.fixture
def cohort(tmp_path: Path):
    """Writes a cohort of seven patients; ``change`` may alter its datalist."""

    def write(change=lambda content: None) -> Path:
        (tmp_path / "image.nii.gz").touch()
        content: dict = {"name": "made up", "sequences": {"t1": 1, "t2": 1}}
        for section, labels in LABELS.items():
            content[section] = [
                {"subject": f"{section}{number}", "t1": "image.nii.gz", "label": {"mgmt": label}}
                for number, label in enumerate(labels)
            ]
        change(content)
        path = tmp_path / "datalist.json"
        path.write_text(json.dumps(content))
        return path

    return write


def test_labels_become_numbers(cohort, tmp_path) -> None:
    entries = LabelledDatalist(cohort(), "mgmt")(["training", "testing"])
    names = ["training0", "training1", "training2", "testing0", "testing1"]
    assert [entry["label"] for entry in entries] == [0, 1, 1, 0, 0]
    assert [entry["subject"] for entry in entries] == [entry["patient"] for entry in entries] == names
    assert all(entry["t1"] == str(tmp_path / "image.nii.gz") for entry in entries)
    # Both labels need not be there to be tested on.
    assert len(LabelledDatalist(cohort(), "mgmt")("testing", both_labels=False)) == 2


def test_subjects_without_a_label(cohort, tmp_path, caplog) -> None:
    def change(content) -> None:
        content["training"] = [{"subject": f"training{number}", "t1": "image.nii.gz"} for number in range(4)]
        content["training"][0]["label"] = {"grade": 2}
        content["training"][1]["patient"] = "p1"

    path = cohort(change)
    with pytest.raises(ValueError, match="training0 has no label 'mgmt'; it has grade"):
        LabelledDatalist(path, "mgmt")("training")
    with pytest.raises(ValueError, match=r"4 of 4 subjects have no mgmt in .*datalist\.json: training0, training1"):
        LabelledDatalist(path, "mgmt", missing_labels="drop")("training")
    # By subject and by patient; lines for others are passed over, and labels of the datalist stay.
    labels = write(tmp_path, "who,mgmt,idh\np1,1,\ntraining2,0,1\ntraining3,,1\nnobody,1,\n")
    with pytest.raises(ValueError, match=r"2 of 4 subjects have no mgmt in .*labels.csv: training0, training3\. Write"):
        LabelledDatalist(path, "mgmt", labels)("training")
    with caplog.at_level(logging.WARNING):
        found = LabelledDatalist(path, "mgmt", labels, missing_labels="drop")("training")
    assert {entry["subject"]: entry["label"] for entry in found} == {"training1": 1, "training2": 0}
    assert "2 of 4 subjects have no mgmt" in caplog.text
    with pytest.raises(ValueError, match="Subject training2 has the labels mgmt, idh; say which one"):
        LabelledDatalist(path, None, labels)("training")
    with pytest.raises(ValueError, match=r"no label of these subjects; it names x, y …, the datalist training0"):
        LabelledDatalist(path, "mgmt", write(tmp_path, "who,mgmt\nx,1\ny,0\n"))("training")


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda content: content["training"][0].update(label={"mgmt": 2}), {}, "training0: mgmt is 2; a binary task"),
        (lambda content: None, {"required": ["t1", "t2"]}, "training0 lacks t2, which the classifier takes"),
        (lambda content: None, {"section": "testing"}, "All 2 subjects of testing have mgmt 0; it needs both labels"),
        (
            lambda content: [content[name][0].update(patient="p1") for name in LABELS],
            {},
            "patient p1 stands in training and, as subject validation0, in validation",
        ),
        (
            # Only the names tell that these are of one patient.
            lambda content: [content[name][0].update(subject=f"p1_study{len(name)}") for name in LABELS],
            {},
            "Patient p1 stands in training, as subject p1_study8, and in validation, as subject p1_study10; move all",
        ),
    ],
)
def test_mistakes(cohort, change, options, message) -> None:
    section = options.pop("section", "training")
    with pytest.raises(ValueError, match=message):
        LabelledDatalist(cohort(change), "mgmt", **options)(section)


@pytest.mark.parametrize(
    ("label", "name", "expected"),
    [
        (1, None, 1),
        (np.int64(3), None, 3),
        (2.0, None, 2),
        (True, None, 1),
        ({"pcr": 0}, None, 0),
        ({"pcr": 0, "grade": 2}, "grade", 2),
        (1, "pcr", 1),  # a number without a name is whatever is asked for
    ],
)
def test_labelled_entries_are_copies_with_patient_and_number(label, name, expected):
    entry = {"subject": "BraTS-GLI-00005-101", "label": label, "t1": "a.nii"}
    assert labelled_entries([entry], name) == [{**entry, "patient": "BraTS-GLI-00005", "label": expected}]
    assert entry["label"] is label


@pytest.mark.parametrize(
    ("entries", "name", "message"),
    [
        ([], None, "There is no subject"),
        ([{"label": 1}] * 2, None, "Subject p stands twice"),
        (
            [{"patient": "q", "label": 1}, {"subject": "b", "patient": "q", "label": 0}],
            None,
            "Patient q has two labels: 1 as subject p and 0 as subject b",
        ),
        ([{}], None, "Subject p has no label; put one into the datalist"),
        ([{"label": {}}], None, "has no label"),
        ([{"label": {"pcr": 1}}], "mgmt", "no label 'mgmt'; it has pcr"),
        ([{"label": {"pcr": 1, "grade": 2}}], None, "has the labels pcr, grade; say which"),
        ([{"label": 0.5}], None, r"the label 0\.5 is not the number of a class"),
        ([{"label": -1}], None, "the label -1 is not"),
        ([{"label": "yes"}], None, "the label 'yes' is not"),
    ],
)
def test_contradictions(entries, name, message):
    with pytest.raises(ValueError, match=message):
        labelled_entries([{"subject": "p", **entry} for entry in entries], name)


def write(folder, text, encoding="utf-8"):
    path = folder / "labels.csv"
    path.write_text(text, encoding=encoding)
    return path


def test_read_labels(tmp_path):
    path = write(tmp_path, "BraTS21ID, MGMT_value,grade\n00000,1,\n\n00002,0.0,4\n")
    assert read_labels(path) == {"00000": {"MGMT_value": 1}, "00002": {"MGMT_value": 0, "grade": 4}}
    assert read_labels(write(tmp_path, "patient,pcr\np,1\n", encoding="utf-8-sig")) == {"p": {"pcr": 1}}
    with pytest.raises(FileNotFoundError, match="There is no file of labels"):
        read_labels(tmp_path / "absent.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must name the columns"),
        ("p1,1\np2,0\n", r"the first line is 'p1,1'; it must name the columns, for example patient,pcr"),
        ("patient\np1\n", "must name the columns"),
        ("patient,pcr,pcr\n", "must name the columns"),
        ("patient,pcr\np1,1,2\n", "line 2: 'p1,1,2' is not of the form patient,pcr"),
        ("patient,pcr\n,1\n", "line 2"),
        ("patient,pcr\np1,1\np1,1\n", "line 3: p1 stands twice"),
        ("patient,pcr\np1,yes\n", "line 2: pcr is 'yes'; give a class"),
        ("patient,pcr\np1,0.5\n", r"pcr is '0\.5'"),
        ("patient,ÿ\n", "not a CSV file in UTF-8"),
    ],
)
def test_bad_files_of_labels(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_labels(write(tmp_path, text, "latin-1"))


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ({"mgmt": 0}, {}, "Subject training0: mgmt is 0 in the datalist, 1 in"),
        (0, {}, "has the label 0 without a name"),
        ({"grade": 2}, {"label": "idh"}, "has no label 'idh'; it has mgmt"),
        ({"grade": 2}, {"missing_labels": "skip"}, "missing_labels is 'skip'"),
    ],
)
def test_contradictions_between_datalist_and_file(cohort, tmp_path, given, options, message):
    labels = write(tmp_path, "patient,mgmt\ntraining0,1\n")
    path = cohort(lambda content: content["training"][0].update(label=given))
    with pytest.raises(ValueError, match=message):
        LabelledDatalist(path, **{"label": "mgmt", "labels": labels, **options})("training")
