# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import json
from pathlib import Path

import pytest

from seq2seq_mri.io.datalists.labelled_datalist import load_labelled_datalist
from seq2seq_mri.io.datalists.labels import has_label

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
    entries = load_labelled_datalist(cohort(), "training", "mgmt")
    assert [entry["label"] for entry in entries] == [0, 1, 1]
    assert [entry["patient"] for entry in entries] == ["training0", "training1", "training2"]
    assert all(entry["t1"] == str(tmp_path / "image.nii.gz") for entry in entries)


def test_several_sections(cohort) -> None:
    entries = load_labelled_datalist(cohort(), ["training", "testing"], "mgmt")
    assert [entry["subject"] for entry in entries] == ["training0", "training1", "training2", "testing0", "testing1"]


def test_subjects_without_a_label_are_dropped_if_that_is_wanted(cohort) -> None:
    path = cohort(lambda content: content["training"][1].update(label={"idh": 1}))
    assert len(load_labelled_datalist(path, "training", "mgmt", missing_labels="drop")) == 2
    with pytest.raises(ValueError, match="training1 has no label 'mgmt'"):
        load_labelled_datalist(path, "training", "mgmt")


def test_has_label() -> None:
    entries = [{}, {"label": None}, {"label": {}}, {"label": 0}, {"label": {"mgmt": 0}}, {"label": {"mgmt": None}}]
    assert [has_label(entry) for entry in entries] == [False, False, False, True, True, True]
    assert [has_label(entry, "mgmt") for entry in entries] == [False, False, False, True, True, False]


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda content: content["training"][0].update(label={"mgmt": 2}), {}, "training0: mgmt is 2; a binary task"),
        (lambda content: None, {"required": ["t1", "t2"]}, "training0 lacks t2, which the classifier takes"),
        (lambda content: None, {"section": "testing"}, "All 2 subjects of testing have mgmt 0; it needs both labels"),
        (
            lambda content: (
                [content[name][0].update(subject=f"p1_{name}") for name in ("training", "validation")]
                and [content[name][0].update(patient="p1") for name in ("training", "validation")]
            ),
            {},
            "patient p1 stands in",
        ),
    ],
)
def test_mistakes(cohort, change, options, message) -> None:
    arguments = {"section": "training", "label": "mgmt", **options}
    with pytest.raises(ValueError, match=message):
        load_labelled_datalist(cohort(change), **arguments)


def test_both_labels_need_not_be_there_to_be_tested(cohort) -> None:
    assert len(load_labelled_datalist(cohort(), "testing", "mgmt", both_labels=False)) == 2
