# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Which files of a subject hold which sequence."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

__all__ = ["folder_files", "subject_files"]

_ENDINGS = (".nii", ".nii.gz")
# What a datalist tells of a subject beside its sequences: a mask, the person, what a classifier learns.
_OTHER_KEYS = ("lesion", "patient", "label")
# "p1-unique-dce.nii.gz" is no image but the mask of what only that sequence shows.
_UNIQUE = re.compile(r"(^|[_-])unique[_-]")


def subject_files(
    data: Mapping[Any, Any], sequences: Mapping[str, int], subject: str, known_keys: Collection[str] = ()
) -> dict[str, list[Path]]:
    """Return the files of each sequence that ``data`` has.

    Args:
        data: sequence names → the path of a file, or a list of paths, one per timepoint. ``None`` and ``""`` stand for
            a sequence that is absent. A path may be the folder of a DICOM series. Keys that are neither in
            ``sequences`` nor hold an image path are ignored, and so are ``"lesion"``, ``"patient"`` and ``"label"``.
        sequences: the sequence table.
        subject: the subject's name, for messages.
        known_keys: further keys that may hold image paths and are no sequences.

    Raises:
        ValueError: when a key that is no known sequence holds the path of a NIfTI file, or a path is not a string.
    """
    files = {}
    for key, value in data.items():
        if key in sequences:
            paths = list(value) if isinstance(value, (list, tuple)) else [value]
            if not paths or paths in ([None], [""]):
                continue
            if not all(isinstance(path, (str, os.PathLike)) and path for path in paths):
                raise ValueError(f"Subject '{subject}': sequence '{key}' is {value!r}; give a path or a list of paths.")
            files[key] = [Path(path) for path in paths]
        elif key not in (*_OTHER_KEYS, *known_keys) and _is_image_path(value):
            raise ValueError(
                f"Subject '{subject}': unknown sequence '{key}' ({value}); the sequence table has "
                f"{', '.join(sequences)}."
            )
    return files


def folder_files(folder: str | os.PathLike, sequences: Mapping[str, int], subject: str) -> dict[str, Path]:
    """Return the files of a folder whose names are a sequence's, or end with ``_``, ``-`` or ``.`` and a sequence's.

    Upper and lower case are alike, and the longest name that fits wins: ``p1_fat_t1.nii.gz`` is ``fat_t1``, not ``t1``.
    Masks of what only one sequence shows, ``p1_unique_t1.nii.gz``, are passed over.

    Raises:
        ValueError: when two files fit one sequence.
    """
    files: dict[str, Path] = {}
    for path in sorted(Path(folder).iterdir()):
        if not path.name.lower().endswith(_ENDINGS):
            continue
        stem = path.name.lower().removesuffix(".gz").removesuffix(".nii")
        if _UNIQUE.search(stem):
            continue
        fitting = [name for name in sequences if any(f"_{stem}".endswith(mark + name.lower()) for mark in "_-.")]
        if not fitting:
            continue
        name = max(fitting, key=len)
        if name in files:
            raise ValueError(f"Subject '{subject}': both {files[name]} and {path} look like sequence '{name}'.")
        files[name] = path
    return files


def _is_image_path(value: Any) -> bool:
    first = value[0] if isinstance(value, (list, tuple)) and value else value
    return isinstance(first, (str, os.PathLike)) and os.fspath(first).lower().endswith(_ENDINGS)
