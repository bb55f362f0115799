# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""A cohort's images as a network takes them, prepared once and kept on disk.

To load, check, orient, crop and normalise a subject takes a second, to read a slice of the result a millisecond. Each
subject has files of its own (see :mod:`prepared_files`), so that one which is corrected, added, left
out or moved to another section costs no other one's time, and an interrupted preparation goes on where it was.
"""

from __future__ import annotations

import fcntl
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from seq2seq_mri.files import check_writable_directory
from seq2seq_mri.run_manifest import as_json, describe, differences, file_states
from seq2seq_mri.training.preparation import Preparation
from seq2seq_mri.training.prepared_files import FLAGS, PreparedFiles, StoredSlices

__all__ = ["PreparedSubjects", "SubjectSamples"]

logger = logging.getLogger(__name__)

# Of the files; to be raised when they, or what the transforms of this package do, change their meaning.
_LAYOUT = 2
_LISTED_FAILURES = 10


class PreparedSubjects(Dataset):
    """Images, and imaging-differentiation maps if wanted, of every subject of a cohort, computed once.

    Subjects that an earlier run has prepared are read; the transform, and with it a generator, is called for the others
    only, when the data set is made. Then steps that have a method ``release`` are told to let go of what they needed,
    such as the network. Of several processes that want the same subjects one prepares them, and the others wait.

    A subject is known by the names, sizes and times of change of its files; one whose files have changed is prepared
    again. Labels and the sections of a datalist make no difference: the training and the evaluation, and all tasks on a
    cohort, can share a folder.

    Args:
        entries: datalist entries ``{"subject": "p1", "t1": "path", ...}``.
        transform: makes of an entry a sample with ``"image"`` ``[ΣT, *spatial]``, ``"available"`` (bool ``[S]``) and,
            if ``differentiation``, ``"differentiation"`` of the image's shape; without random parts. It is not kept.
        folder: where the files are; made when absent. They take two bytes for each voxel of each channel.
        parameters: what the transform depends on, to be written as JSON; by default the settings of its steps.
        differentiation: whether the samples have imaging-differentiation maps.
        overwrite: whether subjects that were prepared with other parameters are prepared again, or refused.
        num_workers: processes that prepare subjects at the same time; 0 is this one, which a transform on a GPU needs.
        progress: whether to show a progress bar.

    Attributes:
        subjects: the names, in the order of ``entries``.

    Raises:
        FileNotFoundError: when a file of an entry does not exist.
        ValueError: when there is no subject or one stands twice, the folder has subjects that were prepared with other
            parameters and ``overwrite`` is false; and, at the end, when subjects could not be prepared, with the reason
            for each. All others are then prepared, and need not be again.
        OSError: when the folder cannot be written, or the disc has not the room.

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
        folder: str | PathLike,
        parameters: Mapping[str, Any] | None = None,
        differentiation: bool = True,
        overwrite: bool = False,
        num_workers: int = 0,
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
        made_by = {"transform": describe(transform)} if parameters is None else dict(parameters)
        settings = as_json({"layout": _LAYOUT, "differentiation": differentiation, **made_by})
        origins = [{"settings": settings, "files": file_states(entry)} for entry in entries]
        # All are looked at before one is computed, so that a refusal comes at once.
        self._descriptions = self._read_descriptions(origins, overwrite)
        if None in self._descriptions:
            try:
                with _one_at_a_time(self.folder / ".lock"):
                    # The process that had the lock before has prepared them, perhaps.
                    self._descriptions = self._read_descriptions(origins, overwrite)
                    preparation = Preparation(entries, origins, transform, self.folder, self.keys)
                    self._prepare(preparation, num_workers, progress)
            finally:
                _release(transform)
            self._descriptions = self._read_descriptions(origins, overwrite)

    def __len__(self) -> int:
        return len(self.subjects)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return the prepared sample of a subject.

        Returns:
            ``subject``; ``image`` and ``differentiation``, float32 ``[ΣT, *spatial]``, plain tensors, in the units of
            the transform's, rounded to half precision; ``available`` and, as far as the transform made them,
            ``measured`` and ``withheld``, bool ``[S]``.

        Raises:
            ValueError: when a file of the subject is absent or damaged.
        """
        files = PreparedFiles(self.folder, self.subjects[index])
        stored = self._descriptions[index]["images"]  # type: ignore[index]
        images = {key: files.read(key, stored[key][1]) for key in self.keys}
        return {"subject": files.subject, **images, **self._flags(index)}

    def stored(self, index: int) -> dict[str, Any]:
        """Return a subject of which nothing is read yet, to draw samples from.

        Returns:
            ``subject``; ``image``, :class:`StoredSlices` ``[Z, ΣT, X, Y]``;
            ``tissue``, int32 ``[Z, ΣT]``, the voxels above background in each slice; and the flags of
            :meth:`__getitem__`.
        """
        files = PreparedFiles(self.folder, self.subjects[index])
        description: Mapping[str, Any] = self._descriptions[index]  # type: ignore[assignment]
        size, _, shape = description["images"]["image"]
        image = StoredSlices(files.image("image"), tuple(shape), size)
        return {"subject": files.subject, "image": image, "tissue": description["tissue"], **self._flags(index)}

    def _flags(self, index: int) -> dict[str, torch.Tensor]:
        description: Mapping[str, Any] = self._descriptions[index]  # type: ignore[assignment]
        return {key: torch.tensor(description[key]) for key in FLAGS if key in description}

    def _read_descriptions(self, origins: Sequence[Mapping[str, Any]], overwrite: bool) -> list[dict[str, Any] | None]:
        """Return the description of each subject, ``None`` of those that have to be prepared.

        Raises:
            ValueError: when one can neither be used nor replaced.
        """
        return [
            self._read_description(PreparedFiles(self.folder, subject), origin, overwrite)
            for subject, origin in zip(self.subjects, origins, strict=True)
        ]

    def _read_description(
        self, files: PreparedFiles, origin: Mapping[str, Any], overwrite: bool
    ) -> dict[str, Any] | None:
        try:
            found = files.read_description()
        except ValueError:
            if not overwrite:
                raise
            return None
        if found is None:
            return None
        different = differences(found["origin"]["settings"], origin["settings"])
        if different and not overwrite:
            raise ValueError(
                f"{files.description} was prepared otherwise (different: {', '.join(different)}); choose another "
                "folder, or allow overwriting."
            )
        known = not different and found.pop("origin").get("files") == origin["files"]
        return found if known else None

    def _prepare(self, preparation: Preparation, num_workers: int, progress: bool) -> None:
        for leftover in self.folder.glob(".*.partial*"):  # of a process that was killed; who writes has the lock
            leftover.unlink(missing_ok=True)
        pending = [index for index, found in enumerate(self._descriptions) if found is None]
        total = len(self.subjects)
        failures, sizes = [], []
        # The random numbers of what follows must not depend on what had to be prepared.
        with (
            torch.random.fork_rng(devices=[]),
            tqdm(
                total=total, initial=total - len(pending), desc="Preparing", unit="subject", disable=not progress
            ) as bar,
        ):
            for index, outcome in preparation.outcomes(pending, num_workers):
                if isinstance(outcome, OSError):
                    raise outcome
                if isinstance(outcome, str):
                    logger.error(f"{self.subjects[index]} cannot be prepared: {outcome}")
                    failures.append(f"  {self.subjects[index]}: {outcome}")
                else:
                    sizes.append(outcome)
                    if len(sizes) == 1:
                        self._check_room(outcome, len(pending) - len(failures) - 1)
                bar.update()
        if failures:
            more = len(failures) - _LISTED_FAILURES
            listed = failures[:_LISTED_FAILURES] + ([f"  and {more} more"] if more > 0 else [])
            raise ValueError(
                f"{len(failures)} subject(s) cannot be prepared, the others are; correct these or leave them out:\n"
                + "\n".join(listed)
            )

    def _check_room(self, size: int, count: int) -> None:
        """Say how much of the disc ``count`` more subjects of ``size`` bytes will take, and refuse what is too much."""
        needed, free = size * count, shutil.disk_usage(self.folder).free
        logger.info(
            f"{count + 1} subjects are prepared once, in {self.folder}. They take about {(size + needed) / 1e9:.1f} GB "
            f"of the disc; {free / 1e9:.1f} GB are free."
        )
        if needed > free:
            raise OSError(
                f"{self.folder} has {free / 1e9:.1f} GB of free space, but about {needed / 1e9:.1f} GB are needed for "
                f"{count} prepared subjects; make room, or choose a folder on another disc (--cache_dir)."
            )


class SubjectSamples(Dataset):
    """Every prepared subject several times, as what a random transform draws a sample from.

    Args:
        prepared: the subjects.
        samples_per_subject: how often each of them comes in an epoch.
    """

    def __init__(self, prepared: PreparedSubjects, samples_per_subject: int = 1) -> None:
        if samples_per_subject < 1:
            raise ValueError(f"samples_per_subject is {samples_per_subject}; give at least 1.")
        self.prepared = prepared
        self.samples_per_subject = samples_per_subject

    def __len__(self) -> int:
        return len(self.prepared) * self.samples_per_subject

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return :meth:`PreparedSubjects.stored` of subject ``index`` modulo their number."""
        return self.prepared.stored(range(len(self))[index] % len(self.prepared))


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """Wait until no other process holds the file; the system lets go of it when a process ends, however it ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _release(transform: Any) -> None:
    if hasattr(transform, "release"):
        transform.release()
    for step in getattr(transform, "transforms", ()):
        _release(step)
