# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Which subject and which sequence a NIfTI file in a dataset's folder is, told from its name.

The known naming styles end a file's name with the sequence (``BraTS2021_00000_t1ce.nii.gz``,
``BraTS-GLI-00002-000-t1c.nii.gz``, ``patient07_T1POST.nii.gz``), whatever the folders above are; any other style is
described by a pattern such as ``{subject}/{sequence}.nii.gz``. Upper and lower case are the same to the known styles.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["LAYOUTS", "FoundSubject", "Scan", "parse_names", "patient_of", "scan_dataset"]

#: For each layout, how the names of its files may end, and the sequence that this ending means.
LAYOUTS: dict[str, dict[str, str]] = {
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
}

_MASK = re.compile(
    r"(.*[_-])?(seg|gt|consensus_gt|gold_standard|(brain)?_?mask|glistrboost(_manuallycorrected)?)", re.IGNORECASE
)
_UNIQUE = re.compile(r"(?P<subject>.+)[_-]unique[_-](?P<sequence>.+)", re.IGNORECASE)
# One patient examined more than once: BraTS from 2023 on (…-00002-000, …-00002-001) and open_ms (…_study1, …_study2).
_EXAMINATION = re.compile(r"(?P<patient>BraTS-[A-Za-z]+-\d+)-\d{3}|(?P<patient_ms>.+)_study\d+", re.IGNORECASE)


@dataclass
class FoundSubject:
    """The files that were found for one subject.

    Attributes:
        name: the subject's name.
        files: for each sequence of the table, every file found for it; two are one too many.
        unique: likewise for the masks of what only one sequence shows, which simulated cohorts have.
    """

    name: str
    files: dict[str, list[Path]] = field(default_factory=dict)
    unique: dict[str, list[Path]] = field(default_factory=dict)


@dataclass
class Scan:
    """What a dataset's folder holds.

    Attributes:
        subjects: the subjects by name, in alphabetical order.
        masks: files whose names are those of segmentations and brain masks.
        unrecognised: all other NIfTI files.
    """

    subjects: dict[str, FoundSubject]
    masks: list[Path]
    unrecognised: list[Path]


def patient_of(subject: str) -> str:
    """Return the patient whose examination ``subject`` is; the same name where the style has one per patient.

    Example:
        >>> patient_of("BraTS-GLI-00005-101"), patient_of("patient01_study2"), patient_of("BraTS2021_00005")
        ('BraTS-GLI-00005', 'patient01', 'BraTS2021_00005')
    """
    match = _EXAMINATION.fullmatch(subject)
    return subject if match is None else match["patient"] or match["patient_ms"]


def parse_names(names: str | Mapping[str, str | Sequence[str]] | None, sequences: Mapping[str, int]) -> dict[str, str]:
    """Return a user's names of sequences as a mapping from their name to ours.

    Args:
        names: ``"t1=MPRAGE,t1gd=MPRAGE_GD"``, or the same as a mapping from our name to theirs; a sequence may have
            several names (``t1`` repeated, or a list in the mapping).
        sequences: the sequence table.

    Raises:
        ValueError: when ``names`` is not of this form, names a sequence that the table does not have, or gives one
            name to two sequences.
    """
    if names is None:
        return {}
    pairs: list[tuple[str, str]] = []
    if isinstance(names, str):
        for item in names.split(","):
            ours, equals, theirs = (part.strip() for part in item.partition("="))
            if not (ours and equals and theirs):
                raise ValueError(f"'{item}' in names is not of the form ours=theirs, for example t1=MPRAGE.")
            pairs.append((ours, theirs))
    else:
        for ours, value in names.items():
            pairs += [(ours, str(theirs)) for theirs in ([value] if isinstance(value, (str, int)) else value)]
    result: dict[str, str] = {}
    for ours, theirs in pairs:
        if ours not in sequences:
            raise ValueError(f"Unknown sequence '{ours}' in names; the sequence table has {', '.join(sequences)}.")
        if result.setdefault(theirs, ours) != ours:
            raise ValueError(f"names gives '{theirs}' to both {result[theirs]} and {ours}.")
    return result


def scan_dataset(
    dataset_dir: str | os.PathLike,
    sequences: Mapping[str, int],
    *,
    layout: str = "auto",
    pattern: str | None = None,
    names: str | Mapping[str, str | Sequence[str]] | None = None,
) -> Scan:
    """Find the subjects and their sequences in a folder and everything below it.

    Args:
        dataset_dir: the dataset's folder.
        sequences: the sequence table; files of other sequences count as unrecognised.
        layout: ``"brats"``, ``"open_ms"``, or ``"auto"``: all known styles, mixed in one folder as well, the table's
            own names, and files named by the sequence alone (``t1.nii.gz``), whose subject is their folder.
        pattern: the path of a file below ``dataset_dir``, with ``{subject}`` and ``{sequence}`` in the places of
            both and ``*`` for anything within one folder's or file's name; takes the place of a layout.
        names: the user's own names of sequences, see :func:`parse_names`; the table's own names hold for the rest.

    Raises:
        FileNotFoundError: when ``dataset_dir`` is not a folder.
        ValueError: when the layout is unknown, or the pattern is not of this form.
    """
    root = Path(dataset_dir).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"The dataset's folder {root} does not exist or is not a folder.")
    aliases = parse_names(names, sequences)
    if pattern is None:
        recognise = _by_layout(layout, aliases, sequences)
    elif layout == "auto":
        recognise = _by_pattern(pattern, aliases, sequences)
    else:
        raise ValueError(f"Both pattern and layout '{layout}' are given; give one of them.")
    scan = Scan({}, [], [])
    for path in _nifti_files(root):
        relative = path.relative_to(root)
        found = recognise(relative)
        if found is not None:
            subject, sequence, kind = found
            entry = scan.subjects.setdefault(subject, FoundSubject(subject))
            getattr(entry, kind).setdefault(sequence, []).append(path)
        elif _MASK.fullmatch(_stem(relative)):
            scan.masks.append(path)
        else:
            scan.unrecognised.append(path)
    scan.subjects = {name: scan.subjects[name] for name in sorted(scan.subjects)}
    return scan


def _by_layout(layout: str, aliases: Mapping[str, str], sequences: Mapping[str, int]):
    if layout not in ("auto", *LAYOUTS):
        raise ValueError(f"Unknown layout '{layout}'; give auto, {', '.join(LAYOUTS)}, or describe it by a pattern.")
    known = LAYOUTS.values() if layout == "auto" else [LAYOUTS[layout]]
    endings = {ending: name for table in known for ending, name in table.items() if name in sequences}
    own = {**{name.lower(): name for name in sequences}, **{theirs.lower(): ours for theirs, ours in aliases.items()}}
    endings.update({separator + name: ours for name, ours in own.items() for separator in "_-"})
    alone = {ending[1:]: name for ending, name in endings.items()}
    # The longest first, so that a name such as "t1_post" is not taken for "post".
    ordered = sorted(endings, key=len, reverse=True)

    def recognise(relative: Path) -> tuple[str, str, str] | None:
        stem, folder = _stem(relative), relative.parent.name
        unique = _UNIQUE.fullmatch(stem)
        if unique is not None:
            name = alone.get(unique["sequence"].lower())
            return None if name is None else (unique["subject"], name, "unique")
        if stem.lower() in alone and folder and layout != "brats":
            return folder, alone[stem.lower()], "files"
        for ending in ordered:
            if stem.lower().endswith(ending) and len(stem) > len(ending):
                subject = stem[: -len(ending)]
                # open_ms names the examinations of every patient study1, study2; the folder tells the patient.
                if re.fullmatch(r"study\d+", subject, re.IGNORECASE) and folder:
                    subject = f"{folder}_{subject}"
                return subject, endings[ending], "files"
        return None

    return recognise


def _by_pattern(pattern: str, aliases: Mapping[str, str], sequences: Mapping[str, int]):
    known = {**{name: name for name in sequences if name not in aliases.values()}, **aliases}
    expression = ""
    seen: set[str] = set()
    for part in re.split(r"(\{subject\}|\{sequence\}|\*)", pattern.removeprefix("./")):
        if part in ("{subject}", "{sequence}") and part in seen:
            expression += f"(?P={part[1:-1]})"
        elif part == "{subject}":
            expression += "(?P<subject>[^/]+?)"
        elif part == "{sequence}":
            expression += f"(?P<sequence>{'|'.join(re.escape(name) for name in known)})"
        else:
            expression += "[^/]*" if part == "*" else re.escape(part)
        seen.add(part)
    if not {"{subject}", "{sequence}"} <= seen or re.search(
        r"[{}]|^/", re.sub(r"\{(subject|sequence)\}", "_", pattern)
    ):
        raise ValueError(
            f"The pattern '{pattern}' is not usable; write the path below the dataset's folder with {{subject}} and "
            "{sequence} in it, for example {subject}/{sequence}.nii.gz; * stands for anything within a name."
        )
    compiled = re.compile(expression)

    def recognise(relative: Path) -> tuple[str, str, str] | None:
        match = compiled.fullmatch(relative.as_posix())
        return None if match is None else (match["subject"], known[match["sequence"]], "files")

    return recognise


def _stem(path: Path) -> str:
    return re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE)


def _nifti_files(root: Path) -> list[Path]:
    """Return the NIfTI files below ``root`` in a fixed order; hidden ones are left out, linked folders are entered."""
    files = []
    visited: set[str] = set()
    for folder, subfolders, file_names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:
            subfolders.clear()
            continue
        visited.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in file_names:
            if not name.startswith(".") and name.lower().endswith((".nii", ".nii.gz")):
                files.append(Path(folder) / name)
    return sorted(files)
