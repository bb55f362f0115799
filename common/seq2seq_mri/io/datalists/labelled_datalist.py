# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Reads sections of a datalist for a classifier, with each subject's label from the datalist or a CSV file."""

from __future__ import annotations

import csv
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

from seq2seq_mri.io.datalists.datalist import SECTIONS, load_datalist, names_in_list
from seq2seq_mri.io.datalists.layouts import patient_of

__all__ = ["LabelledDatalist", "labelled_entries", "patient_of_entry", "read_labels"]

logger = logging.getLogger(__name__)

_LISTED = 10


@dataclass
class LabelledDatalist:
    """A datalist for a binary task, whose sections are read and checked for a classifier to be trained or tested on.

    Args:
        datalist, dataset_dir, sequences: see :func:`load_datalist`.
        label: the name of the label; None where there is just one.
        labels: CSV file of labels, see :func:`read_labels`; None: the datalist has them.
        required: sequences that every subject must have.
        missing_labels: what is done with a subject that has no label: ``"error"`` or ``"drop"``.
    """

    datalist: str | os.PathLike
    label: str | None = None
    labels: str | os.PathLike | None = None
    _: KW_ONLY
    dataset_dir: str | os.PathLike | None = None
    sequences: Mapping[str, int] | None = None
    required: Sequence[str] = ()
    missing_labels: str = "error"

    def __call__(self, section: str | Sequence[str], both_labels: bool = True) -> list[dict[str, Any]]:
        """Return the entries of one section or several, with absolute paths, ``"patient"``, and ``"label"``, 0 or 1.

        With ``both_labels`` there must be subjects with label 1 and with label 0.

        Raises:
            FileNotFoundError: when the datalist, the file of labels or images do not exist.
            ValueError: when one of the files is not of its form, a subject has no label, another one than 0 or 1, or
                not all of ``required``, a label is in no subject, or a patient is in another section too.
        """
        if self.missing_labels not in ("error", "drop"):
            raise ValueError(f"missing_labels is {self.missing_labels!r}; give 'error' or 'drop'.")
        entries = load_datalist(self.datalist, section, self.dataset_dir, self.sequences)
        name = "label" if self.label is None else self.label
        if self.labels is not None:
            entries = _with_labels(entries, self.labels, self.label)
        without = [entry["subject"] for entry in entries if not _has_label(entry, self.label)]
        if without and (self.labels is not None or self.missing_labels == "drop"):
            names = ", ".join(without[:_LISTED]) + (" …" if len(without) > _LISTED else "")
            what = (
                f"{len(without)} of {len(entries)} subjects have no {name} in {self.labels or self.datalist}: {names}"
            )
            if self.missing_labels == "error" or len(without) == len(entries):
                raise ValueError(
                    f"{what}. Write names of subjects or patients as in the datalist, or leave out subjects without "
                    "label (missing_labels 'drop')."
                )
            logger.warning(f"{what}; they are left out.")
            entries = [entry for entry in entries if entry["subject"] not in without]
        entries = labelled_entries(entries, self.label)
        for entry in entries:
            if entry["label"] not in (0, 1):
                raise ValueError(f"Subject {entry['subject']}: {name} is {entry['label']}; a binary task has 0 and 1.")
            absent = [sequence for sequence in self.required if sequence not in entry]
            if absent:
                raise ValueError(
                    f"Subject {entry['subject']} lacks {', '.join(absent)}, which the classifier takes; leave the "
                    "subject out of the datalist, or choose other inputs."
                )
        found = {entry["label"] for entry in entries}
        sections = names_in_list(section)
        if both_labels and len(found) < 2:
            raise ValueError(
                f"All {len(entries)} subjects of {' and '.join(sections)} have {name} {found.pop()}; it needs both "
                "labels. Stratify the split by the label."
            )
        patients = {entry["patient"]: entry["subject"] for entry in entries}
        content = json.loads(Path(self.datalist).expanduser().read_text(encoding="utf-8"))
        # load_datalist sees only patients that are named, not those that a subject's name tells.
        others = [(other, entry) for other in SECTIONS if other not in sections for entry in content.get(other, [])]
        for other, entry in others:
            if patient_of_entry(entry) in patients:
                patient = patient_of_entry(entry)
                raise ValueError(
                    f"Patient {patient} stands in {' or '.join(sections)}, as subject {patients[patient]}, and in "
                    f"{other}, as subject {entry['subject']}; move all examinations of a patient to one section."
                )
        return entries


def patient_of_entry(entry: Mapping[str, Any]) -> str:
    """Return whose examination a datalist's entry is: its ``"patient"``, or what the subject's name says."""
    return entry.get("patient") or patient_of(entry["subject"])


def _has_label(entry: Mapping[str, Any], label: str | None) -> bool:
    """Return whether a datalist's entry has the label of this name or, where that is None, any."""
    found = entry.get("label")
    if isinstance(found, Mapping) and label is not None:
        return found.get(label) is not None
    return found is not None and found != {}


def labelled_entries(entries: Sequence[Mapping[str, Any]], label: str | None = None) -> list[dict[str, Any]]:
    """Return copies of a datalist's entries whose ``"patient"`` is set and whose ``"label"`` is one whole number.

    Args:
        entries: with ``"label"``, a whole number from 0, or such numbers by name, ``{"pcr": 1}``.
        label: the name of the label; None where each entry has just one.

    Raises:
        ValueError: when there is no entry, a subject stands twice or has no such label, or two examinations of a
            patient have different labels.
    """
    if not entries:
        raise ValueError("There is no subject to classify.")
    result: dict[str, dict[str, Any]] = {}
    of_patient: dict[str, tuple[int, str]] = {}
    for entry in entries:
        subject, patient, value = entry["subject"], patient_of_entry(entry), _class_of(entry, label)
        if subject in result:
            raise ValueError(f"Subject {subject} stands twice among those to classify.")
        earlier, other = of_patient.setdefault(patient, (value, subject))
        if earlier != value:
            raise ValueError(
                f"Patient {patient} has two labels: {earlier} as subject {other} and {value} as subject {subject}. "
                "Give both examinations one label, or name different patients in the datalist."
            )
        result[subject] = {**entry, "patient": patient, "label": value}
    return list(result.values())


def _class_of(entry: Mapping[str, Any], label: str | None) -> int:
    """Return the class of a datalist's entry by the label of this name, or by its only one."""
    subject, found = entry["subject"], entry.get("label")
    if found is None or found == {}:
        raise ValueError(f"Subject {subject} has no label; put one into the datalist, or give a CSV file of labels.")
    if isinstance(found, Mapping):
        if label is None and len(found) > 1:
            raise ValueError(f"Subject {subject} has the labels {', '.join(found)}; say which one to learn.")
        name = next(iter(found)) if label is None else label
        if name not in found:
            raise ValueError(f"Subject {subject} has no label '{name}'; it has {', '.join(found)}.")
        found = found[name]
    if not isinstance(found, (int, float, Integral)) or found < 0 or found % 1:
        raise ValueError(f"Subject {subject}: the label {found!r} is not the number of a class (0, 1, …).")
    return int(found)


def _with_labels(entries: Sequence[Mapping[str, Any]], path: str | os.PathLike, label: str | None) -> list[dict]:
    """Return copies of a datalist's entries with those labels of a CSV file that are for the subject or its patient.

    Lines for others than these subjects are passed over, because one file is often shared by several selections.
    """
    table = read_labels(path)
    known = list(dict.fromkeys(name for labels in table.values() for name in labels))
    if label is not None and label not in known:
        raise ValueError(f"{path} has no label '{label}'; it has {', '.join(known) or 'none'}.")
    result = []
    for entry in entries:
        subject, given = entry["subject"], entry.get("label", {})
        if not isinstance(given, Mapping):
            raise ValueError(f"Subject {subject} has the label {given!r} without a name; name it to add others.")
        found = {**table.get(patient_of_entry(entry), {}), **table.get(subject, {})}
        for name in found.keys() & given.keys():
            if found[name] != given[name]:
                raise ValueError(
                    f"Subject {subject}: {name} is {given[name]} in the datalist, {found[name]} in {path}."
                )
        result.append({**entry, "label": {**given, **found}})
    if not any(_has_label(entry, label) for entry in result):
        raise ValueError(
            f"{path} has no label of these subjects; it names {', '.join(list(table)[:3]) or 'nobody'} …, the datalist "
            f"{', '.join(entry['subject'] for entry in entries[:3])} …"
        )
    return result


def read_labels(path: str | os.PathLike) -> dict[str, dict[str, int]]:
    """Read a CSV file of labels, and return subject or patient → label → class, a whole number from 0.

    Its first line has the columns' names. The first column is the subject or the patient, whatever its name, each other
    one a label: ``patient,pcr`` or ``BraTS21ID,MGMT_value``. An empty field is a label that is not known.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the file is not of this form, or a subject or patient stands twice.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"There is no file of labels {path}.")
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = [[field.strip() for field in row] for row in csv.reader(file)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a CSV file in UTF-8: {error}") from error
    header = rows[0] if rows else []
    if len(header) < 2 or not all(header) or len(set(header)) < len(header) or _class_number(header[1]) is not None:
        raise ValueError(
            f"{path}: the first line is '{','.join(header)}'; it must name the columns, for example patient,pcr."
        )
    result: dict[str, dict[str, int]] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not any(row):
            continue
        if len(row) != len(header) or not row[0]:
            raise ValueError(f"{path}, line {number}: '{','.join(row)}' is not of the form {','.join(header)}.")
        if row[0] in result:
            raise ValueError(f"{path}, line {number}: {row[0]} stands twice.")
        result[row[0]] = {}
        for name, field in zip(header[1:], row[1:], strict=True):
            value = _class_number(field)
            if value is not None:
                result[row[0]][name] = value
            elif field:
                raise ValueError(f"{path}, line {number}: {name} is '{field}'; give a class as 0, 1, …")
    return result


def _class_number(field: str) -> int | None:
    """Return the class that a field holds; spreadsheets write whole numbers as 1.0, too."""
    whole = field.removesuffix(".0")
    return int(whole) if whole.isascii() and whole.isdecimal() else None
