# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Run manifests: JSON that records which settings and files stored results were made with, compared before reuse."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seq2seq_mri.files import atomic_path

__all__ = ["as_json", "claim_directory", "describe", "differences", "file_states"]

_NO_FILES = ("subject", "patient", "label")


def claim_directory(
    path: Path,
    content: Mapping[str, Any],
    resume: bool,
    growing: Sequence[str] = (),
    part: str = "protocol",
) -> None:
    """Write the manifest of the results in a folder, or check that the results there are of the same run.

    Args:
        path: the manifest, a JSON file in that folder.
        content: what the results depend on; can be written as JSON.
        resume: whether an existing manifest is allowed.
        growing: keys of ``content`` whose value is a mapping to which entries may be added later.
        part: the key of the file under which the content stands; others are left alone.

    Raises:
        FileExistsError: when the file has this part and ``resume`` is false.
        ValueError: when the file says otherwise, naming what differs, or the content cannot be written as JSON.
    """
    try:
        wanted = as_json(content)
    except TypeError as error:
        raise ValueError(
            f"Inputs, candidates and settings must be numbers, texts, lists or mappings: {error}."
        ) from error
    try:
        recorded = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); remove the directory's results and start anew.") from error
    if part in recorded:
        if not resume:
            raise FileExistsError(
                f"{path.parent} holds results already. Go on with them by resume true, or give another output_dir."
            )
        earlier, compared = {key: recorded[part].get(key) for key in wanted}, dict(wanted)
        for key in growing:
            earlier[key] = earlier[key] or {}
            wanted[key] = earlier[key] | wanted[key]
            compared[key] = {name: wanted[key][name] for name in earlier[key]}
        for key in differences(earlier, compared):
            raise ValueError(
                f"The results in {path.parent} are of another protocol: {key} was {_short(earlier[key])} and is "
                f"{_short(compared[key])}. Give another output_dir, or what they were made with."
            )
    if wanted != recorded.get(part):
        with atomic_path(path, overwrite=True) as temporary:
            temporary.write_text(json.dumps({**recorded, part: wanted}, indent=4) + "\n", encoding="utf-8")


def differences(recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Return the keys whose values differ."""
    return [key for key in {**recorded, **wanted} if recorded.get(key) != wanted.get(key)]


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 200 else text[:200] + " …"


def as_json(value: object) -> Any:
    """Return ``value`` as JSON gives it back, which has lists but no tuples."""
    return json.loads(json.dumps(value))


def describe(value: object) -> Any:
    """Return the settings of a transform, a sequence of transforms, or anything that they hold, to be written as JSON.

    An object is its class and its public attributes; random states are left out. One with a ``fingerprint``, such as a
    trained generator, is that. (A pickle would not do, as of MONAI's ``PersistentDataset``: those of equal objects
    differ from one process to another.)
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): describe(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [describe(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic, torch.Tensor)):
        return value.tolist()
    if isinstance(value, (Enum, torch.dtype, np.dtype, torch.device, os.PathLike)):
        return str(value)
    if hasattr(value, "fingerprint"):
        return value.fingerprint
    kind = value if hasattr(value, "__qualname__") else type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if kind is value or not hasattr(value, "__dict__"):
        return name
    public = {key: item for key, item in vars(value).items() if not key.startswith("_")}
    settings = {key: item for key, item in public.items() if not isinstance(item, np.random.RandomState)}
    return {"class": name, **describe(settings)}


def file_states(entry: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return name, size and time of change of all files of a datalist's entry.

    Of a folder, such as a DICOM series, they are those of all files in it. Folders' names are left out, so that a
    cohort may be moved, if its files keep their times. (Contents are not looked at: to read them takes nearly as long
    as to load the subject.)

    Raises:
        FileNotFoundError: when a file of the entry does not exist.
    """
    states = {}
    for key, value in entry.items():
        if key not in _NO_FILES:
            try:
                states[str(key)] = [_file_state(path) for path in _paths(value)]
            except FileNotFoundError as error:
                raise FileNotFoundError(f"Subject '{entry['subject']}': {error.filename} does not exist.") from error
    return states


def _paths(value: object) -> list[Path]:
    """Return the paths in a value of an entry, which may be a list, or a mapping from names to paths."""
    if isinstance(value, (str, os.PathLike)):
        return [Path(value)] if value else []
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else []
    return [path for item in items for path in _paths(item)]


def _file_state(path: Path) -> str:
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    states = [file.stat() for file in files]
    size = sum(state.st_size for state in states)
    # In whole seconds, to which archives and some file systems round.
    changed = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(max((state.st_mtime for state in states), default=0)))
    return f"{path.name}: {len(files)} file(s), {size} bytes, changed {changed}"
