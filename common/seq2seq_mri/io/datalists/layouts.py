# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Recognises subject, patient and sequence by the names of files and folders, in known layouts or a user's pattern.

The known layouts end a file's name with the sequence (``BraTS2021_00000_t1ce.nii.gz``,
``BraTS-GLI-00002-000-t1c.nii.gz``, ``patient07_T1POST.nii.gz``), whatever the folders above are; the breast layout has
a folder for each patient, in it one for each visit, and in that a file or a folder for each sequence
(``patient07/pre/FS_T1.nii.gz``, ``patient07/pre/DCE/…``). Any other layout is described by a pattern such as
``{subject}/{sequence}.nii.gz``. Upper and lower case are the same to the known layouts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePath

__all__ = ["Recognised", "Recogniser", "file_stem", "layout_recogniser", "patient_of", "pattern_recogniser"]

_BREAST_NAMES = {
    "t1": ("t1", "t1w"),
    "fatsat_t1": ("fatsat t1", "t1 fatsat", "fat sat t1", "fs t1", "t1 fs"),
    "t2": ("t2", "t2w"),
    "dce": ("dce",),
    "fatsat_dce": ("fatsat dce", "dce fatsat", "fat sat dce", "fs dce", "dce fs"),
    "wash_in": ("wash in",),
    "wash_out": ("wash out",),
    "dwi": ("dwi",),
}

# For each layout, how the names of its files may end, and the sequence that this ending means.
_LAYOUTS: dict[str, dict[str, str]] = {
    "brats": {
        # 2018 to 2021 (_t1gd: the TCGA collections of 2017, still in use)
        **{"_t1": "t1", "_t1ce": "t1gd", "_t1gd": "t1gd", "_t2": "t2", "_flair": "flair"},
        # 2023 on
        **{"-t1n": "t1", "-t1c": "t1gd", "-t2w": "t2", "-t2f": "flair"},
    },
    "open_ms": {
        **{"_t1": "t1", "_t1w": "t1", "_t1post": "t1gd", "_t1wks": "t1gd"},
        **{"_t2": "t2", "_t2w": "t2", "_flair": "flair"},
    },
    "breast": {
        before + between.join(words.split()): name
        for name, spellings in _BREAST_NAMES.items()
        for words in spellings
        for between in ("_", "-", " ", "")
        for before in "_-"
    },
}

_UNIQUE = re.compile(r"(?P<subject>.+)[_-]unique[_-](?P<sequence>.+)", re.IGNORECASE)
_LESION = re.compile(r"((?P<subject>.+)[_-])?lesion([_-]?mask)?", re.IGNORECASE)
# One patient examined more than once: BraTS from 2023 on (…-00002-000, …-00002-001) and open_ms (…_study1, …_study2).
_EXAMINATION = re.compile(r"(?P<patient>BraTS-[A-Za-z]+-\d+)-\d{3}|(?P<patient_ms>.+)_study\d+", re.IGNORECASE)
_FIELDS = ("{patient}", "{visit}", "{subject}", "{sequence}")


@dataclass(frozen=True)
class Recognised:
    """What a path's name says.

    Attributes:
        subject: the subject's name.
        kind: ``"files"`` for an image of a sequence, ``"unique"`` for the mask of what only one sequence shows, which
            simulated cohorts have, or ``"lesion"`` for the mask of a lesion.
        sequence: the sequence; empty for a lesion.
        patient: whose examination the subject is, where folders tell; ``None`` where :func:`patient_of` has to.
    """

    subject: str
    kind: str
    sequence: str
    patient: str | None = None


#: Gives what a path below the dataset's folder is, or ``None``; the second argument says whether it is a folder.
Recogniser = Callable[[PurePath, bool], Recognised | None]


def patient_of(subject: str) -> str:
    """Return the patient whose examination ``subject`` is; the same name where the style has one per patient.

    Example:
        >>> patient_of("BraTS-GLI-00005-101"), patient_of("patient01_study2"), patient_of("BraTS2021_00005")
        ('BraTS-GLI-00005', 'patient01', 'BraTS2021_00005')
    """
    match = _EXAMINATION.fullmatch(subject)
    return subject if match is None else match["patient"] or match["patient_ms"]


def layout_recogniser(layout: str, aliases: Mapping[str, str], sequences: Mapping[str, int]) -> Recogniser:
    """Return what recognises the names of a layout.

    Args:
        layout: ``"brats"``, ``"open_ms"``, ``"breast"`` (a sequence is a file or a folder of DICOM files or of NIfTI
            frames, in the folder of a visit, in the folder of a patient), or ``"auto"``: all known names of files,
            mixed in one folder as well, the table's own names, and files named by the sequence alone
            (``t1.nii.gz``), whose subject is their folder.
        aliases: the user's names of sequences, theirs → ours.
        sequences: the sequence table; its own names hold in every layout.

    Raises:
        ValueError: when the layout is unknown.
    """
    if layout not in ("auto", *_LAYOUTS):
        raise ValueError(f"Unknown layout '{layout}'; give auto, {', '.join(_LAYOUTS)}, or describe it by a pattern.")
    endings: dict[str, str] = {}
    for known in _LAYOUTS.values() if layout == "auto" else [_LAYOUTS[layout]]:
        endings |= known
    for theirs, ours in [*((name, name) for name in sequences), *aliases.items()]:
        endings |= {separator + theirs.lower(): ours for separator in "_-"}
    alone = {ending[1:]: name for ending, name in endings.items()}
    # The longest first, so that a name such as "t1_post" is not taken for "post". Names of sequences that the table
    # does not have are among them, so that "fs_t1" is not taken for a "t1".
    ordered = sorted(endings, key=len, reverse=True)

    def told(path: PurePath, is_folder: bool) -> Recognised | None:
        stem, folder = file_stem(path), path.parent.name
        name = alone.get(stem.lower(), "")
        if name and folder and layout == "breast":
            return _of_visit(path, name)
        if is_folder:  # A folder "t1" may hold the T1 of all subjects.
            return None
        unique, lesion = _UNIQUE.fullmatch(stem), _LESION.fullmatch(stem)
        if unique is not None:
            return Recognised(unique["subject"], "unique", alone.get(unique["sequence"].lower(), ""))
        if lesion is not None and lesion["subject"]:
            return Recognised(lesion["subject"], "lesion", "", _folder_of_patient(path, lesion["subject"], layout))
        if lesion is not None and folder and layout == "breast":
            return _of_visit(path, "")
        if (lesion is not None or name) and folder and layout != "brats":
            return Recognised(folder, "files" if name else "lesion", name)
        for ending in ordered:
            if stem.lower().endswith(ending) and len(stem) > len(ending):
                subject = stem[: -len(ending)]
                # open_ms names the examinations of every patient study1, study2; the folder tells the patient.
                if re.fullmatch(r"study\d+", subject, re.IGNORECASE) and folder:
                    subject = f"{folder}_{subject}"
                return Recognised(subject, "files", endings[ending], _folder_of_patient(path, subject, layout))
        return None

    def recognise(path: PurePath, is_folder: bool) -> Recognised | None:
        found = told(path, is_folder)
        return found if found and (found.kind == "lesion" or found.sequence in sequences) else None

    return recognise


def _of_visit(path: PurePath, sequence: str) -> Recognised:
    """Return the subject of a path ``…/PATIENT/VISIT/NAME``, or of ``PATIENT/NAME``."""
    *_, patient, visit = ("", *path.parent.parts)
    subject = f"{patient}_{visit}" if patient else visit
    return Recognised(subject, "files" if sequence else "lesion", sequence, patient or visit)


def _folder_of_patient(path: PurePath, subject: str, layout: str) -> str | None:
    """Return the outermost folder whose name a subject's name begins with: ``P7`` of ``P7/pre/P7_pre_DCE.nii.gz``."""
    if layout != "breast":
        return None
    names = (name for name in path.parent.parts if subject == name or subject.startswith((f"{name}_", f"{name}-")))
    return next(names, None)


def pattern_recogniser(pattern: str, aliases: Mapping[str, str], sequences: Mapping[str, int]) -> Recogniser:
    """Return what recognises the names that a user's pattern describes.

    Args:
        pattern: the path of a file or folder below the dataset's folder, with ``{sequence}`` in it, and ``{subject}``,
            ``{patient}`` or both ``{patient}`` and ``{visit}``; ``*`` stands for anything within one name. Without
            ``.nii`` at its end, it stands for folders and for NIfTI files of both endings. With ``{patient}``, the
            breast layout's names of sequences hold too.
        aliases: the user's names of sequences, theirs → ours.
        sequences: the sequence table; its own names hold for sequences that the user has not named.

    Raises:
        ValueError: when the pattern is not of this form.
    """
    fields = [field for field in _FIELDS if field in pattern]
    subject_fields = [field for field in fields if field != "{sequence}"]
    left = re.sub("|".join(re.escape(field) for field in _FIELDS), "_", pattern)
    if "{sequence}" not in fields or subject_fields in ([], ["{visit}"]) or re.search(r"[{}]|^/", left):
        raise ValueError(
            f"The pattern '{pattern}' is not usable; write the path below the dataset's folder with {{subject}} and "
            "{sequence} in it, for example {subject}/{sequence}.nii.gz, or {patient}/{visit}/{sequence} where patients "
            "have several visits; * stands for anything within a name."
        )
    unnamed = {name for name in sequences if name not in aliases.values()}
    known = {**{name: name for name in unnamed}, **aliases}
    if "{patient}" in fields:
        known = {ending[1:]: name for ending, name in _LAYOUTS["breast"].items() if name in unnamed} | known
    by_lower = {theirs.lower(): ours for theirs, ours in known.items()}
    alternatives = "|".join(re.escape(name) for name in sorted(known, key=len, reverse=True))
    if "{patient}" in fields:
        alternatives = f"(?i:{alternatives})"
    expression = ""
    for number, part in enumerate(re.split(r"(\{[a-z]+\}|\*)", pattern.removeprefix("./"))):
        if number % 2 == 0:
            expression += re.escape(part)
        elif part == "*":
            expression += "[^/]*"
        elif f"(?P<{part[1:-1]}>" in expression:
            expression += f"(?P={part[1:-1]})"
        else:
            names = f"{alternatives}|lesion" if part == "{sequence}" else "[^/]+?"
            expression += f"(?P<{part[1:-1]}>{names})"
    compiled = re.compile(expression)
    with_ending = re.search(r"(\.nii(\.gz)?|\*)$", pattern) is not None

    def recognise(path: PurePath, is_folder: bool) -> Recognised | None:
        if is_folder and with_ending:
            return None
        text = path.as_posix() if with_ending or is_folder else path.with_name(file_stem(path)).as_posix()
        match = compiled.fullmatch(text)
        if match is None:
            return None
        found = match.groupdict()
        patient = found.get("patient")
        subject = found.get("subject") or "_".join(filter(None, (patient, found.get("visit"))))
        sequence = known.get(found["sequence"], by_lower.get(found["sequence"].lower(), ""))
        if not sequence and is_folder:
            return None
        return Recognised(subject, "files" if sequence else "lesion", sequence, patient)

    return recognise


def file_stem(path: PurePath) -> str:
    """Return a path's name without ``.nii`` or ``.nii.gz``."""
    return re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE)
