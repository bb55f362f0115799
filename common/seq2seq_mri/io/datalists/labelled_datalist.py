# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""A section of a datalist as a classifier learns from it: with labels, and apart from the other sections."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seq2seq_mri.io.datalists.datalist import SECTIONS, load_datalist, names_in_list
from seq2seq_mri.io.datalists.labels import add_labels, has_label, labelled_entries, patient_of_entry

__all__ = ["load_labelled_datalist"]


def load_labelled_datalist(
    datalist: str | os.PathLike,
    section: str | Sequence[str],
    label: str | None = None,
    labels: str | os.PathLike | None = None,
    *,
    dataset_dir: str | os.PathLike | None = None,
    sequences: Mapping[str, int] | None = None,
    required: Sequence[str] = (),
    missing_labels: str = "error",
    both_labels: bool = True,
) -> list[dict[str, Any]]:
    """Read a section of a datalist for a binary task, and check that a classifier can be trained or tested on it.

    Args:
        datalist: the JSON file.
        section: the name of a section, or several names.
        label: the name of the label; None where there is just one.
        labels: CSV file of labels, see :func:`read_labels`; None: the datalist has them.
        dataset_dir: the folder that relative paths start from; default: the folder of ``datalist``.
        sequences: the sequence table; default: the datalist's own.
        required: sequences that every subject must have.
        missing_labels: what is done with a subject that has no label: ``"error"`` or ``"drop"``.
        both_labels: whether there must be subjects with label 1 and with label 0.

    Returns:
        The subjects' entries with absolute paths, ``"patient"`` and ``"label"``, 0 or 1.

    Raises:
        FileNotFoundError: when the datalist, the file of labels or images do not exist.
        ValueError: when one of the files is not of its form, a subject has no label, another one than 0 or 1, or not
            all of ``required``, a label is in no subject, or a patient is in another section too.
    """
    entries = load_datalist(datalist, section, dataset_dir, sequences)
    if labels is not None:
        entries = add_labels(entries, labels, label, missing_labels)
    elif missing_labels == "drop":
        entries = [entry for entry in entries if has_label(entry, label)]
    entries = labelled_entries(entries, label)
    name = "label" if label is None else label
    for entry in entries:
        if entry["label"] not in (0, 1):
            raise ValueError(f"Subject {entry['subject']}: {name} is {entry['label']}; a binary task has 0 and 1.")
        absent = [sequence for sequence in required if sequence not in entry]
        if absent:
            raise ValueError(
                f"Subject {entry['subject']} lacks {', '.join(absent)}, which the classifier takes; leave the subject "
                "out of the datalist, or choose other inputs."
            )
    found = sorted({entry["label"] for entry in entries})
    if both_labels and len(found) < 2:
        raise ValueError(
            f"All {len(entries)} subjects of {' and '.join(names_in_list(section))} have {name} {found[0]}; it needs "
            "both labels. Stratify the split by the label."
        )
    _check_patients(Path(datalist).expanduser(), section, entries)
    return entries


def _check_patients(datalist: Path, section: str | Sequence[str], entries: Sequence[Mapping[str, Any]]) -> None:
    """Check that no patient stands in another section; ``load_datalist`` sees only patients that are named."""
    content = json.loads(datalist.read_text(encoding="utf-8"))
    patients = {entry["patient"]: entry["subject"] for entry in entries}
    sections = names_in_list(section)
    for other in SECTIONS:
        for entry in content.get(other, []) if other not in sections else []:
            patient = patient_of_entry(entry)
            if patient in patients:
                raise ValueError(
                    f"Patient {patient} stands in {' or '.join(sections)}, as subject {patients[patient]}, and in "
                    f"{other}, as subject {entry['subject']}; move all examinations of a patient to one section."
                )
