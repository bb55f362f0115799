# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Datalists: JSON files that say which subjects there are, and where the images of each are.

A datalist is an object with a ``"name"``, the sequence table ``"sequences"``, ``{"t1": 1, ...}``, and the lists
``"training"``, ``"validation"`` and ``"testing"``. An entry of these is ``{"subject": "patient07", "t1":
"patient07/patient07_T1.nii.gz", ...}`` and has no key for a sequence that the subject lacks. ``"withheld": {"t1gd":
path}`` holds sequences that are never an input, but known for evaluation; ``"unique": {"t1gd": path}`` masks of what
only that sequence shows, in simulated cohorts, and ``"lesion": path`` the mask of a lesion. ``"patient": "patient07"``
says whose examination it is, and ``"label"``, a number or a mapping such as ``{"pcr": 1}``, what a classifier learns.
Paths are relative to the dataset's folder, or absolute; a list of paths has one for each timepoint, and a folder is a
series of DICOM files.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from seq2seq_mri.files import atomic_path
from seq2seq_mri.sequences import check_sequences

__all__ = ["SECTIONS", "load_datalist", "names_in_list", "read_sequence_table", "write_datalist"]

#: The sections that a subject belongs to only one of; a datalist may have others.
SECTIONS = ("training", "validation", "testing")

# What is added to it, in a temporary file's name, is less than 100 bytes; file systems allow 255.
_LONGEST_NAME = 150
_FOLDER_NAME = re.compile(r"(?!\.)[^/\\]*(?<!\.csv)(?<!\.json)(?<!\.nii)(?<!\.gz)(?<!\.png)(?<!\.pt)")

_NO_SEQUENCES = ("subject", "patient", "label", "lesion", "withheld", "unique")


def write_datalist(content: Mapping, path: str | os.PathLike, *, overwrite: bool = False) -> None:
    """Write a datalist as JSON, at once or not at all.

    Raises:
        FileExistsError: when ``path`` exists and ``overwrite`` is false.
        OSError: when it cannot be written.
    """
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")


def load_datalist(
    datalist: str | os.PathLike,
    section: str | Sequence[str],
    dataset_dir: str | os.PathLike | None = None,
    sequences: Mapping[str, int] | None = None,
    check_files: bool = True,
) -> list[dict]:
    """Read sections of a datalist, check the form of all of it, and make the paths absolute.

    Args:
        datalist: the JSON file.
        section: the name of a section, or several names.
        dataset_dir: the folder that relative paths start from; default: the folder of ``datalist``.
        sequences: the sequence table that the entries must keep to; default: the datalist's own.
        check_files: whether every subject must have a sequence, all its sequences must be in the table, and all files
            must exist. Inference leaves this to the loading of each subject, so that one bad subject does not stop the
            others.

    Returns:
        the subjects' dictionaries, in the order of the file; ``"patient"`` and ``"label"`` as they stand there.

    Raises:
        FileNotFoundError: when the datalist, the folder or images do not exist; it lists them.
        ValueError: when the datalist is not JSON or not of this form, a subject stands twice or has no sequence, a
            patient is both in training and in validation or testing, a sequence is not in the table, or the sections
            are unknown or empty.
    """
    path = Path(datalist).expanduser()
    content = _read_json(path)
    root = path.parent if dataset_dir is None else Path(dataset_dir).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"The dataset's folder {root} does not exist or is not a folder.")
    root = root.resolve()
    table = check_sequences(content["sequences"] if sequences is None else sequences)
    for name in table.keys() & content["sequences"].keys():
        if table[name] != content["sequences"][name]:
            raise ValueError(
                f"{path}: {name} has {content['sequences'][name]} timepoints, in the sequence table {table[name]}."
            )
    sections = {name: entries for name, entries in content.items() if isinstance(entries, list)}
    subjects: dict[str, str] = {}
    patients: dict[str, str] = {}
    for known, known_entries in sections.items():
        for number, entry in enumerate(known_entries):
            _check_entry(entry, table if check_files else None, f"{path}, {known}[{number}]")
            subject, patient = entry["subject"], entry.get("patient")
            if subject in subjects:
                raise ValueError(f"{path}: subject {subject} stands twice, in {subjects[subject]} and in {known}.")
            subjects[subject] = known
            if patient and known in SECTIONS and patients.setdefault(patient, known) != known:
                raise ValueError(
                    f"{path}: patient {patient} stands in {patients[patient]} and, as subject {subject}, in {known}; "
                    "move all examinations of a patient to one section."
                )
    entries = []
    for name in names_in_list(section):
        if name not in sections:
            raise ValueError(f"{path} has no section '{name}'; it has {', '.join(sections) or 'none'}.")
        entries += [_resolved(entry, root) for entry in sections[name]]
    if not entries:
        raise ValueError(f"{path}: no subject is in {' or '.join(names_in_list(section))}.")
    if check_files:
        _check_files(entries, table, path, root)
    return entries


def read_sequence_table(datalist: str | os.PathLike) -> dict[str, int]:
    """Return the sequence table of a datalist.

    Raises:
        FileNotFoundError: when the datalist does not exist.
        ValueError: when it is not JSON, or has no sequence table.
    """
    return check_sequences(_read_json(Path(datalist).expanduser())["sequences"])


def _read_json(path: Path) -> dict:
    if not path.is_file():
        raise FileNotFoundError(f"The datalist {path} does not exist; python -m seq2seq_mri datalist makes one.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"The datalist {path} is not JSON ({error}).") from error
    if not isinstance(content, dict) or not isinstance(content.get("sequences"), dict):
        raise ValueError(
            f'The datalist {path} is not of the form {{"sequences": {{"t1": 1, ...}}, "training": [...], ...}}.'
        )
    return content


def _check_entry(entry: object, table: Mapping[str, int] | None, where: str) -> None:
    """Check the form of one entry and, if a table is given, the names of its sequences.

    By hand, not by a JSON schema: a bundle that was downloaded would need one package more, and the messages have to
    say what to write instead.
    """
    if not isinstance(entry, dict) or not isinstance(entry.get("subject"), str):
        raise ValueError(f'{where} is not of the form {{"subject": "name", "t1": "path", ...}}.')
    subject = entry["subject"]
    # Results are written to a folder of the subject's name, among tables, in files whose names begin with it.
    size = len(subject.encode(errors="replace"))
    if not 0 < size <= _LONGEST_NAME or not subject.isprintable() or not _FOLDER_NAME.fullmatch(subject):
        raise ValueError(
            f"{where}: subject {subject!r} cannot be the name of a folder; give printable characters, at most "
            f"{_LONGEST_NAME} bytes, without / and \\, that neither begin with a dot nor end as a file's name does."
        )
    where = f"{where}, subject {subject}:"
    for key, what in (("lesion", "the path of a mask"), ("patient", "the patient's name")):
        if key in entry and not (isinstance(entry[key], str) and entry[key]):
            raise ValueError(f"{where} {key} is {entry[key]!r}; give {what}, or leave out the key.")
    label = entry.get("label", 0)
    labels = list(label.values()) if isinstance(label, dict) else [label]
    if not labels or not all(isinstance(value, (int, float)) and math.isfinite(value) for value in labels):
        raise ValueError(
            f'{where} label is {label!r}; give a number, or numbers by name such as {{"pcr": 1}}, and leave out what '
            "is not known."
        )
    own = {key: value for key, value in entry.items() if key not in _NO_SEQUENCES}
    groups = {"": own} | {f" {key}:": entry[key] for key in ("withheld", "unique") if key in entry}
    for group, paths in groups.items():
        if not isinstance(paths, dict):
            raise ValueError(f"{where}{group} not a mapping from sequences to paths.")
        for name, value in paths.items():
            if table is not None and name not in table:
                raise ValueError(
                    f"{where}{group} unknown sequence '{name}'; the sequence table has {', '.join(table)}."
                )
            if not value or not all(isinstance(item, str) and item for item in _as_list(value)):
                raise ValueError(
                    f"{where}{group} {name} is {value!r}; give a path, or a list of paths, one for each timepoint, and "
                    "leave out the key of a sequence that is absent."
                )
    twice = entry.get("withheld", {}).keys() & entry.keys()
    if twice:
        raise ValueError(f"{where} {min(twice)} is both available and withheld.")


def _resolved(entry: Mapping, root: Path) -> dict:
    result: dict = {}
    for key, value in entry.items():
        if key in ("subject", "patient", "label"):
            result[key] = value
        elif isinstance(value, dict):
            result[key] = _resolved(value, root)
        elif isinstance(value, list):
            result[key] = [str(root / item) for item in value]
        else:
            result[key] = str(root / value)
    return result


def _as_list(value: str | list[str]) -> list[str]:
    return value if isinstance(value, list) else [value]


def _check_files(entries: Sequence[Mapping], table: Mapping[str, int], datalist: Path, root: Path) -> None:
    missing = []
    for entry in entries:
        paths = [entry[name] for name in table if name in entry]
        if not paths:
            raise ValueError(f"{datalist}: subject {entry['subject']} has no sequence available; remove it.")
        paths += entry.get("withheld", {}).values()
        masks = [*entry.get("unique", {}).values(), entry.get("lesion", [])]
        files = [file for path in paths for file in _as_list(path) if not Path(file).exists()]
        files += [file for path in masks for file in _as_list(path) if not Path(file).is_file()]
        missing += [f"{entry['subject']}: {file}" for file in files]
    if missing:
        more = f"\n  and {len(missing) - 10} more" if len(missing) > 10 else ""
        raise FileNotFoundError(
            f"{len(missing)} files of {datalist} do not exist (relative paths start from {root}; "
            "if that is wrong, give dataset_dir):\n  " + "\n  ".join(missing[:10]) + more
        )


def names_in_list(value: str | Sequence[str] | None) -> list[str]:
    """Return the names in a list or a text with commas; a number is a name, too, as a command line gives it."""
    if value is None:
        return []
    items = value.split(",") if isinstance(value, str) else value if isinstance(value, (list, tuple)) else [value]
    return [str(item).strip() for item in items if str(item).strip()]
