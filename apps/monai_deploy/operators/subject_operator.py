# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""From the input folder to a subject: which file or series is which sequence."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
from monai.deploy.core import Operator, OperatorSpec

from seq2seq_mri.io.datalists.scan import scan_dataset
from seq2seq_mri.io.dicom.dicom_study import StudySeries, read_study
from seq2seq_mri.io.dicom.series_rules import choose_series, parse_chosen, read_series_rules
from seq2seq_mri.io.load import folder_files

__all__ = ["Subject", "SubjectOperator"]

_NIFTI = (".nii", ".nii.gz")


@dataclass
class Subject:
    """What the input folder holds.

    Attributes:
        name: the subject's name; becomes part of the names of results.
        files: sequence → NIfTI file, list of such, or folder of the DICOM files of a series.
        series: sequence → its DICOM series; empty for NIfTI.
        left: the other series of the study, each with the reason why it is not taken.
    """

    name: str
    files: dict[str, Any]
    series: dict[str, list[StudySeries]] = field(default_factory=dict)
    left: list[tuple[StudySeries, str]] = field(default_factory=list)

    @property
    def references(self) -> list[Path]:
        """All DICOM files that the sequences were read from."""
        return [path for parts in self.series.values() for part in parts for path in part.files]

    def inputs(self) -> list[dict[str, Any]]:
        """Return for each sequence what it was read from, for reports."""
        if not self.series:
            return [{"sequence": name, "file": _names(files)} for name, files in self.files.items()]
        return [
            {
                "sequence": name,
                "series_instance_uid": part.uid,
                "series_number": part.number,
                "series_description": part.texts["description"],
            }
            for name, parts in self.series.items()
            for part in parts
        ]


class SubjectOperator(Operator):
    """Finds the sequences in a DICOM study, by rules, or in a folder of NIfTI files, by their names.

    The SDK's operators take the first series only, and swap the two distances of pixels that are not square; here a
    series becomes a folder of its files, which the bundle's own preprocessing reads.

    Named output:
        subject: a :class:`Subject`.

    Args:
        fragment: the application.
        study: a DICOM study, or a folder of the NIfTI files of one subject.
        links: folder that receives links to the files of series, sorted by sequence; lasts as long as they are read.
        sequences: the sequence table.
        rules: file of rules for DICOM series.
        chosen: what the user says is which sequence, ``"t1=…"``.
    """

    def __init__(
        self,
        fragment: Any,
        *args: Any,
        study: Path,
        links: Path,
        sequences: Mapping[str, int],
        rules: Path,
        chosen: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.study = study
        self.links = links
        self.sequences = dict(sequences)
        # What is wrong with them is said before anything is read.
        self.chosen = parse_chosen(chosen, self.sequences)
        self.rules = read_series_rules(rules, self.sequences)
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the output."""
        spec.output("subject")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Find the sequences, say which, and send them on."""
        folder = self.study
        nifti = any(name.lower().endswith(_NIFTI) for _, _, names in os.walk(folder) for name in names)
        subject = self._from_nifti(folder) if nifti else self._from_dicom(folder)
        for entry in subject.inputs():
            print("Input: " + ", ".join(f"{key} {value}" for key, value in entry.items()))
        for part, reason in subject.left:
            print(f"Not taken: {part}: {reason}")
        op_output.emit(subject, "subject")

    def _from_dicom(self, folder: Path) -> Subject:
        choice = choose_series(read_study(folder), self.rules, self.sequences, self.chosen)
        files = {name: self._link(name, parts) for name, parts in choice.sequences.items()}
        subject = Subject("", files, choice.sequences, choice.left)
        patient = str(pydicom.dcmread(subject.references[0], stop_before_pixels=True).get("PatientID") or "")
        subject.name = _file_name(patient) or _file_name(folder.name) or "subject"
        return subject

    def _link(self, name: str, parts: list[StudySeries]) -> str:
        """Gather the files of a sequence, which may be mixed with others, in a folder."""
        folder = self.links / name
        for part in parts:
            for index, path in enumerate(part.files):
                link = folder / part.uid / f"{index:05d}_{path.name}"
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(path.resolve())
        return str(folder)

    def _from_nifti(self, folder: Path) -> Subject:
        found = scan_dataset(folder, self.sequences).subjects
        if len(found) > 1:
            raise ValueError(f"{folder} holds {len(found)} subjects ({', '.join(found)}); give the folder of one.")
        name = next(iter(found), _file_name(folder.name) or "subject")
        candidates: dict[str, list[Any]] = dict(found[name].files) if found else {}
        if not candidates:
            candidates = {key: [path] for key, path in folder_files(folder, self.sequences, folder.name).items()}
        files: dict[str, Any] = {}
        for sequence in self.sequences:
            if sequence in self.chosen:
                if self.chosen[sequence].lower() != "none":
                    files[sequence] = str(folder / self.chosen[sequence])
                continue
            paths = candidates.get(sequence, [])
            if len(paths) > 1:
                raise ValueError(
                    f"{len(paths)} files look like {sequence}: {', '.join(map(_names, paths))}. Choose one by "
                    f"--sequences {sequence}={_names(paths[0])}."
                )
            if paths:
                files[sequence] = [str(path) for path in paths[0]] if isinstance(paths[0], tuple) else str(paths[0])
        if not files:
            raise ValueError(
                f"No NIfTI file in {folder} is recognised as one of {', '.join(self.sequences)}; name them "
                f"SUBJECT_SEQUENCE.nii.gz, or choose by --sequences {next(iter(self.sequences))}=FILE."
            )
        return Subject(name, files)


def _names(files: Any) -> str:
    return " ".join(Path(path).name for path in (files if isinstance(files, (list, tuple)) else [files]))


def _file_name(text: str) -> str:
    """Return ``text`` as a name of a file: letters, digits, ``-``, ``_`` and ``.``, not hidden."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text.strip()).lstrip(".")
