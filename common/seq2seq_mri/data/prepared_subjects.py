# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Subjects as a classifier sees them, prepared once and kept on disk.

A folder has one file ``SUBJECT.npz`` for each subject, with its image, its imaging-differentiation maps, and what they
were made from, which is compared before they are used. One file for each, and not one for all, so that a subject which
is corrected, added, left out or moved to another section costs no other one's time. A file is moved into place when it
is complete, so an interrupted preparation goes on with the subject that it was at.
"""

from __future__ import annotations

import json
import logging
import os
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.utils import convert_to_numpy
from torch.utils.data import Dataset
from tqdm import tqdm

from seq2seq_mri.data.subject_dataset import original_error
from seq2seq_mri.files import atomic_path, check_writable_directory

__all__ = ["PreparedSubjects"]

logger = logging.getLogger(__name__)

# Of a file; to be raised when its arrays change their meaning.
_LAYOUT = 1
_NO_FILES = ("subject", "patient", "label")
_LISTED_FAILURES = 10
# What numpy raises for files that are damaged, or are something else.
_UNREADABLE = (OSError, ValueError, TypeError, AttributeError, KeyError, EOFError, zipfile.BadZipFile)


class PreparedSubjects(Dataset):
    """Image and imaging-differentiation maps of every subject of a cohort, of one size, computed once.

    Subjects that an earlier run has prepared are read; the transform, and with it a generator, is called for the others
    only, when the data set is made and never in a worker process. Then steps that have a method ``release`` are told to
    let go of what they needed, such as the network.

    A subject is known by the names, sizes and times of change of its files; one whose files have changed is prepared
    again. (Contents are not compared: to read them takes nearly as long as to load the subjects. Nor are folders, so
    that a cohort may be moved, if its files keep their times.) Labels and the sections of a datalist make no
    difference: the training and the evaluation, and all tasks on a cohort, can share a folder.

    Args:
        entries: datalist entries ``{"subject": "p1", "t1": "path", ...}`` of all sections together.
        transform: makes of an entry a sample with ``"image"`` ``[ΣT, *spatial]``, ``"available"`` (bool ``[S]``) and,
            if ``differentiation``, ``"differentiation"`` of the image's shape; without random parts. It is not kept.
        folder: where the files are; made when absent.
        parameters: what the transform depends on, to be written as JSON: its settings, and the ``fingerprint`` of the
            generator.
        differentiation: whether the samples have imaging-differentiation maps.
        overwrite: whether subjects that were prepared with other parameters are prepared again, or refused.
        progress: whether to show a progress bar.

    Attributes:
        subjects: the names, in the order of ``entries``.

    Raises:
        FileNotFoundError: when a file of an entry does not exist.
        ValueError: when there is no subject or one stands twice, the folder has subjects that were prepared with other
            parameters and ``overwrite`` is false, or images have different shapes; and, at the end, when subjects could
            not be prepared, with the reason for each. All others are then prepared, and need not be again.
        OSError: when the folder cannot be written, or the disc is full.

    Example:
        >>> prepared = PreparedSubjects(
        ...     entries, preprocessing, "prepared", {"spacing": 2.0, "generator": generator.fingerprint}
        ... )  # doctest: +SKIP
        >>> prepared[0]["differentiation"].shape  # doctest: +SKIP
        torch.Size([4, 96, 96, 64])
    """

    def __init__(
        self,
        entries: Sequence[Mapping[str, Any]],
        transform: Callable,
        folder: str | os.PathLike,
        parameters: Mapping[str, Any],
        differentiation: bool = True,
        overwrite: bool = False,
        progress: bool = True,
    ) -> None:
        if len(entries) == 0:
            raise ValueError("There are no subjects to prepare.")
        self.subjects = [str(entry["subject"]) for entry in entries]
        twice = [subject for subject, number in Counter(self.subjects).items() if number > 1]
        if twice:
            raise ValueError(f"Subject '{twice[0]}' stands twice among those to prepare; give each its own name.")
        self.folder = check_writable_directory(folder)
        self.keys = ("image", "differentiation") if differentiation else ("image",)
        # As it is read back: JSON has lists but no tuples.
        settings = json.loads(json.dumps({"layout": _LAYOUT, "differentiation": differentiation, **parameters}))
        origins = [{"settings": settings, "files": _file_states(entry)} for entry in entries]
        # All are looked at before one is computed, so that a refusal comes at once.
        kept = [self._is_prepared(*pair, overwrite) for pair in zip(self.subjects, origins, strict=True)]
        pending = [index for index, is_kept in enumerate(kept) if not is_kept]
        if pending:
            # The random numbers of what follows must not depend on what had to be prepared.
            with torch.random.fork_rng(devices=[]):
                try:
                    self._prepare(pending, entries, origins, transform, progress)
                finally:
                    _release(transform)

    def __len__(self) -> int:
        return len(self.subjects)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return the prepared sample of a subject.

        Returns:
            ``subject``; ``image`` and ``differentiation``, float32 ``[ΣT, *spatial]``, plain tensors, in the units of
            the transform's, rounded to half precision; ``available``, bool ``[S]``.

        Raises:
            ValueError: when the subject's file is absent or damaged.
        """
        subject = self.subjects[index]
        path = self._path(subject)
        try:
            arrays = _read_arrays(path, *self.keys, "available")
        except _UNREADABLE as error:
            raise ValueError(f"{path} cannot be read: {error}. Remove it to have it made again.") from error
        images = {key: torch.from_numpy(arrays[key].astype(np.float32)) for key in self.keys}
        return {"subject": subject, **images, "available": torch.from_numpy(arrays["available"])}

    def _path(self, subject: str) -> Path:
        return self.folder / f"{subject}.npz"

    def _is_prepared(self, subject: str, origin: Mapping[str, Any], overwrite: bool) -> bool:
        """Return whether a subject's file can be used; when it can neither be used nor replaced, raise an error."""
        path = self._path(subject)
        if not path.exists():
            return False
        try:
            found = json.loads(_read_arrays(path, "origin")["origin"].item())
            before = found["settings"]
        except _UNREADABLE as error:
            if overwrite:
                return False
            raise ValueError(f"{path} is no file of a prepared subject, or is damaged; remove it.") from error
        wanted = origin["settings"]
        different = [key for key in {**before, **wanted} if before.get(key) != wanted.get(key)]
        if different and not overwrite:
            raise ValueError(
                f"{path} was prepared otherwise (different: {', '.join(different)}); choose another folder, or allow "
                "overwriting."
            )
        if not different and found.get("files") != origin["files"]:
            logger.info(f"The files of {subject} have changed since it was prepared; it is prepared again.")
        return not different and found.get("files") == origin["files"]

    def _prepare(
        self,
        pending: Sequence[int],
        entries: Sequence[Mapping[str, Any]],
        origins: Sequence[Mapping[str, Any]],
        transform: Callable,
        progress: bool,
    ) -> None:
        # The first of those that are kept says what shape the others must have.
        other = next((subject for index, subject in enumerate(self.subjects) if index not in pending), None)
        shape = None if other is None else _read_arrays(self._path(other), "image")["image"].shape
        failures = []
        total = len(entries)
        with tqdm(
            total=total, initial=total - len(pending), desc="Preparing", unit="subject", disable=not progress
        ) as bar:
            for index in pending:
                subject = self.subjects[index]
                try:
                    sample = transform(dict(entries[index]))
                except Exception as error:
                    reason = original_error(error)
                    logger.error(f"{subject} cannot be prepared: {reason}")
                    # What is wrong with a subject's data does not stop the others; anything else does.
                    if not isinstance(reason, (ValueError, OSError)):
                        raise
                    failures.append(f"  {subject}: {reason}")
                else:
                    arrays = self._arrays(sample, subject)
                    other, shape = other or subject, shape or arrays["image"].shape
                    if arrays["image"].shape != shape:
                        raise ValueError(
                            f"Subject '{subject}': the image has shape {arrays['image'].shape}, that of '{other}' "
                            f"{shape}; bring all to one size, with ResizeWithPadOrCropd at the end of the transforms."
                        )
                    self._write(subject, arrays, origins[index])
                bar.update()
        if failures:
            more = len(failures) - _LISTED_FAILURES
            listed = failures[:_LISTED_FAILURES] + ([f"  and {more} more"] if more > 0 else [])
            raise ValueError(
                f"{len(failures)} subject(s) cannot be prepared, the others are; correct these or leave them out:\n"
                + "\n".join(listed)
            )

    def _arrays(self, sample: Mapping[str, Any], subject: str) -> dict[str, np.ndarray]:
        """Return what is stored of a subject."""
        for key in (*self.keys, "available"):
            if key not in sample:
                raise ValueError(f"Subject '{subject}': the transforms make no '{key}', which has to be stored.")
        with np.errstate(over="ignore"):
            arrays = {key: convert_to_numpy(sample[key]).astype(np.float16) for key in self.keys}
        for key, array in arrays.items():
            if array.shape != arrays["image"].shape:
                raise ValueError(
                    f"Subject '{subject}': '{key}' has shape {array.shape}, the image {arrays['image'].shape}; apply "
                    "every spatial transform to both."
                )
            if not np.isfinite(array).all():
                raise ValueError(
                    f"Subject '{subject}': '{key}' has values that are not finite in half precision; normalise the "
                    "intensities."
                )
        return {**arrays, "available": convert_to_numpy(sample["available"]).astype(bool)}

    def _write(self, subject: str, arrays: Mapping[str, np.ndarray], origin: Mapping[str, Any]) -> None:
        with atomic_path(self._path(subject), overwrite=True) as temporary:
            np.savez(temporary, origin=np.array(json.dumps(origin)), **arrays)  # type: ignore[arg-type]


def _release(transform: Any) -> None:
    if hasattr(transform, "release"):
        transform.release()
    for step in getattr(transform, "transforms", ()):
        _release(step)


def _read_arrays(path: Path, *names: str) -> dict[str, np.ndarray]:
    # Opened here, because numpy leaves a damaged file open.
    with path.open("rb") as stream, np.load(stream) as file:
        return {name: file[name] for name in names}


def _file_states(entry: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return name, size and time of change of all files of an entry; of a folder, such as a DICOM series, of all in it.

    Raises:
        FileNotFoundError: when one does not exist.
    """
    states = {}
    for key, value in entry.items():
        if key not in _NO_FILES:
            try:
                states[str(key)] = [_file_state(path) for path in _paths(value)]
            except FileNotFoundError as error:
                raise FileNotFoundError(f"Subject '{entry['subject']}': {error.filename} does not exist.") from error
    return states


def _paths(value: Any) -> list[Path]:
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
