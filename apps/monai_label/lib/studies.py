# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Subjects in a datastore of MONAI Label, which itself knows only single images.

A subject is several images, one or more for each sequence. A request names them, or else they are found by their names.
"""

from __future__ import annotations

import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

__all__ = ["Studies", "Subject", "Synthesised", "check_unambiguous", "is_synthetic", "synthetic_name"]

logger = logging.getLogger(__name__)

_MARK = "synthetic"


@dataclass(frozen=True)
class Subject:
    """One examination of a patient.

    Attributes:
        name: for names of files.
        images: sequence → ids of its images in the datastore, several where each holds a timepoint.
        patient: whose examination it is; ``None`` where that is not known.
    """

    name: str
    images: dict[str, list[str]] = field(default_factory=dict)
    patient: str | None = None


@dataclass(frozen=True)
class Synthesised:
    """A synthesised sequence of a subject.

    Attributes:
        target: its name.
        volume: ``[T, X, Y, Z]``, on the grid of the subject's first image.
        affine: ``[4, 4]`` RAS+, of that image.
        path: the same as a NIfTI file.
        sources: sequences from which it was made.
        times: seconds of its timepoints.
        b_values: of its timepoints in s/mm².
    """

    target: str
    volume: torch.Tensor
    affine: Any
    path: Path
    sources: tuple[str, ...]
    times: Sequence[float] | None = None
    b_values: Sequence[float] | None = None


def synthetic_name(subject: str, target: str) -> str:
    """Return the name of a synthesised image, which no rule of names takes for a measured one."""
    return f"{subject}_{target}_{_MARK}"


def is_synthetic(name: str) -> bool:
    """Return whether the name or description of an image says that it was synthesised."""
    return _MARK in re.split(r"[\s_,-]+", name.lower())


def check_unambiguous(subject: Subject) -> None:
    """Raise a ``ValueError`` when two images of a subject that names have told are the same sequence."""
    for name, images in subject.images.items():
        if len(images) > 1:
            raise ValueError(
                f"Both '{images[0]}' and '{images[1]}' look like {name} of {subject.name}; say which it is by the "
                "parameter 'sequences', or remove one of them."
            )


class Studies(ABC):
    """The subjects of a datastore."""

    @abstractmethod
    def subject_of(self, image: str, sequences: Mapping[str, int]) -> Subject:
        """Return the subject that an image belongs to, with all of its images whose names tell their sequence.

        Args:
            image: id of one of the images.
            sequences: the sequence table.

        Raises:
            FileNotFoundError: when there is no such image.
            ValueError: when the name of no image of the subject tells a sequence, or those of two tell the same.
        """

    @abstractmethod
    def name_of(self, image: str, sequences: Mapping[str, int]) -> str:
        """Return a name for the subject whose image this is, for names of files; raises as :meth:`path`."""

    @abstractmethod
    def told_by_names(self, sequences: Mapping[str, int]) -> list[Subject]:
        """Return all subjects whose images' names tell their sequences, also where two images are one sequence."""

    def subjects(self, sequences: Mapping[str, int]) -> list[Subject]:
        """Return all subjects whose images' names tell their sequences; those that they do not tell apart are left out.

        Args:
            sequences: the sequence table.
        """
        usable = []
        for subject in self.told_by_names(sequences):
            try:
                check_unambiguous(subject)
            except ValueError as error:
                logger.warning(f"{subject.name} is left out. {error}")
            else:
                usable.append(subject)
        return usable

    @abstractmethod
    def path(self, image: str) -> Path:
        """Return the NIfTI file of an image, or the folder of its DICOM files.

        Raises:
            FileNotFoundError: when there is no such image.
            ValueError: when it is no MRI.
        """

    @abstractmethod
    def check_new(self, subject: Subject, target: str) -> None:
        """Raise a ``FileExistsError`` when a synthesised target of the subject could not be saved as a new image."""

    @abstractmethod
    def save(self, subject: Subject, result: Synthesised) -> str:
        """Save a synthesised sequence as a new image of the datastore, and return its id."""

    def files(self, subject: Subject) -> dict[str, str | list[str]]:
        """Return the paths of a subject's images, as ``LoadImageSequencesd`` takes them."""
        paths = {name: [str(self.path(image)) for image in images] for name, images in subject.images.items()}
        return {name: found[0] if len(found) == 1 else found for name, found in paths.items()}

    def named_subject(self, image: str, images: Any, sequences: Mapping[str, int]) -> Subject:
        """Return the subject that a request describes, without looking at the images.

        Args:
            image: id of the image that the request is about, whose subject gives the name.
            images: sequence → id of its image, or a list of ids.
            sequences: the sequence table.

        Raises:
            ValueError: when ``images`` is of another form, names an unknown sequence, or one image for two sequences.
        """
        if not isinstance(images, Mapping) or not images:
            raise ValueError(f"'sequences' is {images!r}; give a mapping from sequences to ids of images.")
        taken: dict[str, str] = {}
        subject = Subject(self.name_of(image, sequences))
        for name, value in images.items():
            if name not in sequences:
                raise ValueError(f"Unknown sequence '{name}'; the sequence table has {', '.join(sequences)}.")
            ids = [value] if isinstance(value, str) else value
            if not isinstance(ids, list) or not ids or not all(isinstance(one, str) and one for one in ids):
                raise ValueError(f"Sequence '{name}' is {value!r}; give the id of an image, or a list of ids.")
            if len(ids) > 1 and sequences[name] == 1:
                raise ValueError(f"Sequence '{name}' has {len(ids)} candidates, {', '.join(ids)}; give one of them.")
            for one in ids:
                if one in taken:
                    raise ValueError(f"Image '{one}' stands for both {taken[one]} and {name}; give each its own.")
                taken[one] = name
            subject.images[name] = ids
        return subject
