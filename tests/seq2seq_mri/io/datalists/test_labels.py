# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import logging

import numpy as np
import pytest

from seq2seq_mri.io.datalists.labels import add_labels, label_of, labelled_entries, patient_of_entry, read_labels


def write(folder, text, encoding="utf-8"):
    path = folder / "labels.csv"
    path.write_text(text, encoding=encoding)
    return path


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
def test_label_of(label, name, expected):
    assert label_of({"subject": "p", "label": label}, name) == expected


@pytest.mark.parametrize(
    ("entry", "name", "message"),
    [
        ({}, None, "Subject p has no label; put one into the datalist"),
        ({"label": {}}, None, "has no label"),
        ({"label": {"pcr": 1}}, "mgmt", "no label 'mgmt'; it has pcr"),
        ({"label": {"pcr": 1, "grade": 2}}, None, "has the labels pcr, grade; say which"),
        ({"label": 0.5}, None, r"the label 0\.5 is not the number of a class"),
        ({"label": -1}, None, "the label -1 is not"),
        ({"label": "yes"}, None, "the label 'yes' is not"),
    ],
)
def test_bad_label(entry, name, message):
    with pytest.raises(ValueError, match=message):
        label_of({"subject": "p", **entry}, name)


def test_patients():
    assert patient_of_entry({"subject": "a", "patient": "b"}) == "b"
    assert patient_of_entry({"subject": "BraTS-GLI-00005-101"}) == "BraTS-GLI-00005"


def test_labelled_entries_are_copies_with_patient_and_number():
    entry = {"subject": "BraTS-GLI-00005-101", "label": {"mgmt": 1}, "t1": "a.nii"}
    assert labelled_entries([entry]) == [{**entry, "patient": "BraTS-GLI-00005", "label": 1}]
    assert entry["label"] == {"mgmt": 1}


def test_contradictions():
    with pytest.raises(ValueError, match="There is no subject"):
        labelled_entries([])
    with pytest.raises(ValueError, match="Subject a stands twice"):
        labelled_entries([{"subject": "a", "label": 1}] * 2)
    with pytest.raises(ValueError, match="Patient p has two labels: 1 as subject a and 0 as subject b"):
        labelled_entries([{"subject": "a", "patient": "p", "label": 1}, {"subject": "b", "patient": "p", "label": 0}])


def test_read_labels(tmp_path):
    path = write(tmp_path, "BraTS21ID, MGMT_value,grade\n00000,1,\n\n00002,0.0,4\n")
    assert read_labels(path) == {"00000": {"MGMT_value": 1}, "00002": {"MGMT_value": 0, "grade": 4}}
    assert read_labels(write(tmp_path, "patient,pcr\np,1\n", encoding="utf-8-sig")) == {"p": {"pcr": 1}}


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
    ],
)
def test_bad_files_of_labels(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_labels(write(tmp_path, text))


def test_absent_and_binary_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file of labels"):
        read_labels(tmp_path / "absent.csv")
    (tmp_path / "labels.csv").write_bytes(b"\xff\xfe\x00patient")
    with pytest.raises(ValueError, match="not a CSV file in UTF-8"):
        read_labels(tmp_path / "labels.csv")


def test_labels_are_added_by_subject_and_by_patient(tmp_path):
    entries = [
        {"subject": "p1_study1"},
        {"subject": "p1_study2", "label": {"age": 50}},
        {"subject": "other", "patient": "p2"},
    ]
    path = write(tmp_path, "who,pcr\np1,1\nother,0\nnobody,1\n")
    found = add_labels(entries, path)
    assert [entry["label"] for entry in found] == [{"pcr": 1}, {"age": 50, "pcr": 1}, {"pcr": 0}]
    assert "label" not in entries[0]


def test_subjects_without_label(tmp_path, caplog):
    path = write(tmp_path, "patient,pcr,mgmt\np1,1,\np2,,0\n")
    entries = [{"subject": "p1"}, {"subject": "p2"}, {"subject": "p3"}]
    with pytest.raises(ValueError, match=r"2 of 3 subjects have no pcr in .*: p2, p3\. The file names p1, p2"):
        add_labels(entries, path, "pcr")
    with caplog.at_level(logging.WARNING):
        assert [entry["subject"] for entry in add_labels(entries, path, "pcr", missing="drop")] == ["p1"]
    assert "2 of 3 subjects have no pcr" in caplog.text
    with pytest.raises(ValueError, match="1 of 1 subjects have no label"):
        add_labels(entries[2:], path, missing="drop")


def test_contradictions_between_datalist_and_file(tmp_path):
    path = write(tmp_path, "patient,pcr\np1,1\n")
    with pytest.raises(ValueError, match="Subject p1: pcr is 0 in the datalist, 1 in"):
        add_labels([{"subject": "p1", "label": {"pcr": 0}}], path)
    with pytest.raises(ValueError, match="has the label 0 without a name"):
        add_labels([{"subject": "p1", "label": 0}], path)
    with pytest.raises(ValueError, match="has no label 'mgmt'; it has pcr"):
        add_labels([{"subject": "p1"}], path, "mgmt")
    with pytest.raises(ValueError, match="missing is 'skip'"):
        add_labels([{"subject": "p1"}], path, missing="skip")
