# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Data sets of a cohort's preprocessed images, which are computed once and kept on disk.

To load, check, orient, crop and normalise a subject takes a second, to read a slice of the result a millisecond. Each
subject has files of its own (see :mod:`prepared_files`), so that correcting, adding, removing or moving one leaves the
others' files valid, and an interrupted preparation goes on where it was.
"""

from __future__ import annotations

import fcntl
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from monai.utils import convert_to_tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from seq2seq_mri.files import check_writable_directory
from seq2seq_mri.run_manifest import as_json, describe, differences, file_states
from seq2seq_mri.training.prepared_files import FLAGS, PreparedFiles, StoredSlices
from seq2seq_mri.training.subject_dataset import original_error

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

    Attributes:
        subjects: the names, in the order of ``entries``.

    Raises:
        FileNotFoundError: when a file of an entry does not exist.
        ValueError: when there is no subject or one stands twice, the folder has subjects that were prepared with other
            parameters and ``overwrite`` is false; and, at the end, when subjects could not be prepared, with the reason
            for each. All others are then prepared, and need not be again.
        OSError: when the folder cannot be written, or the disc has not the room.
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
    ) -> None:
        if len(entries) == 0:
            raise ValueError("There are no subjects to prepare.")
        self.subjects = [str(entry["subject"]) for entry in entries]
        subject, number = Counter(self.subjects).most_common(1)[0]
        if number > 1:
            raise ValueError(f"Subject '{subject}' stands twice among those to prepare; give each its own name.")
        self.folder = check_writable_directory(folder)
        self.keys = ("image", "differentiation") if differentiation else ("image",)
        made_by = {"transform": describe(transform)} if parameters is None else dict(parameters)
        settings = as_json({"layout": _LAYOUT, "differentiation": differentiation, **made_by})
        origins = [{"settings": settings, "files": file_states(entry)} for entry in entries]
        # All are looked at before one is computed, so that a refusal comes at once.
        found = self._read_descriptions(origins, overwrite)
        if None in found:
            try:
                with _one_at_a_time(self.folder / ".lock"):
                    # The process that had the lock before has prepared them, perhaps.
                    found = self._read_descriptions(origins, overwrite)
                    pending = [index for index, description in enumerate(found) if description is None]
                    self._prepare(_Preparation(entries, origins, transform, self), pending, num_workers)
            finally:
                _release(transform)
            found = self._read_descriptions(origins, overwrite)
        self._descriptions: list[dict[str, Any]] = found  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self.subjects)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return the prepared sample of a subject.

        Returns:
            ``subject``; ``image`` and ``differentiation``, float32 ``[ΣT, *spatial]``, plain tensors, in the units of
            the transform's, rounded to half precision; ``available`` and, as far as the transform made them,
            ``measured`` and ``withheld``, bool ``[S]``.
        """
        files, stored = PreparedFiles(self.folder, self.subjects[index]), self._descriptions[index]["images"]
        images = {key: files.read(key, stored[key][1]) for key in self.keys}
        return {"subject": files.subject, **images, **self._flags(index)}

    def stored(self, index: int) -> dict[str, Any]:
        """Return a subject of which nothing is read yet, to draw samples from.

        Returns:
            ``subject``; ``image``, :class:`StoredSlices` ``[Z, ΣT, X, Y]``; ``tissue``, int32 ``[Z, ΣT]``, the voxels
            above background in each slice; and the flags of :meth:`__getitem__`.
        """
        files, description = PreparedFiles(self.folder, self.subjects[index]), self._descriptions[index]
        size, _, shape = description["images"]["image"]
        image = StoredSlices(files.image("image"), tuple(shape), size)
        return {"subject": files.subject, "image": image, "tissue": description["tissue"], **self._flags(index)}

    def _flags(self, index: int) -> dict[str, torch.Tensor]:
        description = self._descriptions[index]
        return {key: torch.tensor(description[key]) for key in FLAGS if key in description}

    def _read_descriptions(self, origins: Sequence[Mapping[str, Any]], overwrite: bool) -> list[dict[str, Any] | None]:
        """Return the description of each subject, ``None`` of those that have to be prepared."""
        found: list[dict[str, Any] | None] = []
        for subject, origin in zip(self.subjects, origins, strict=True):
            files = PreparedFiles(self.folder, subject)
            try:
                description = files.read_description()
            except ValueError:
                if not overwrite:
                    raise
                description = None
            if description is not None:
                made_from = description.pop("origin")
                different = differences(made_from["settings"], origin["settings"])
                if different and not overwrite:
                    raise ValueError(
                        f"{files.description} was prepared otherwise (different: {', '.join(different)}); choose "
                        "another folder, or allow overwriting."
                    )
                if different or made_from.get("files") != origin["files"]:
                    description = None
            found.append(description)
        return found

    def _prepare(self, preparation: _Preparation, pending: Sequence[int], num_workers: int) -> None:
        for leftover in self.folder.glob(".*.partial*"):  # of a process that was killed; who writes has the lock
            leftover.unlink(missing_ok=True)
        total = len(self)
        bar = tqdm(total=total, initial=total - len(pending), desc="Preparing", unit="subject")
        failures: list[str] = []
        sizes: list[int] = []
        # The random numbers of what follows must not depend on what had to be prepared.
        with torch.random.fork_rng(devices=[]), bar:
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

    Raises:
        ValueError: when ``samples_per_subject`` is below 1.
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


@dataclass
class _Preparation(Dataset):
    """Prepares a subject when its index is asked for, in whatever process that is."""

    entries: Sequence[Mapping[str, Any]]
    origins: Sequence[Mapping[str, Any]]
    transform: Callable
    prepared: PreparedSubjects

    def outcomes(self, pending: Sequence[int], num_workers: int) -> Iterator[tuple[int, int | str | OSError]]:
        """Yield index and outcome of each pending subject; the first one alone, by which to judge the others."""
        yield from ((index, self[index]) for index in pending[:1])
        rest = pending[1:]
        loader = DataLoader(self, batch_size=None, sampler=rest, num_workers=min(num_workers, len(rest)))
        yield from zip(rest, loader, strict=True)

    def __getitem__(self, index: int) -> int | str | OSError:
        """Return the size of a subject's images in bytes; or what is wrong with it; or why nothing can be written."""
        subject = self.prepared.subjects[index]
        try:
            sample = self.transform(dict(self.entries[index]))
        except Exception as error:
            reason = original_error(error)
            # What is wrong with a subject's data does not stop the others; anything else does.
            if not isinstance(reason, (ValueError, OSError)):
                raise
            return str(reason)
        images = _images(sample, subject, self.prepared.keys)
        try:
            return PreparedFiles(self.prepared.folder, subject).write(images, sample, self.origins[index])
        except OSError as error:
            return error


def _images(sample: Mapping[str, Any], subject: str, keys: Sequence[str]) -> dict[str, torch.Tensor]:
    """Return what is stored of a subject, after checking that its data can be."""
    images = {key: convert_to_tensor(sample[key], dtype=torch.float16, device="cpu", track_meta=False) for key in keys}
    for key, image in images.items():
        if image.shape != images["image"].shape:
            raise ValueError(
                f"Subject '{subject}': '{key}' has shape {tuple(image.shape)}, the image "
                f"{tuple(images['image'].shape)}; apply every spatial transform to both."
            )
        if not bool(torch.isfinite(image).all()):
            raise ValueError(
                f"Subject '{subject}': '{key}' has values that are not finite in half precision; normalise the "
                "intensities."
            )
    return images


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """Wait until no other process holds the file; the system lets go of it when a process ends, however it ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _release(transform: object) -> None:
    if hasattr(transform, "release"):
        transform.release()
    for step in getattr(transform, "transforms", ()):
        _release(step)
