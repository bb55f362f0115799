# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Simulated cohorts on disk: checked arguments, missing sequences, images, truth and datalist, for brain and breast."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Generic, TypeVar

import nibabel
import numpy as np
from tqdm import tqdm

from mri_phantom.grid import grid_affine
from mri_phantom.scanner import Scan
from mri_phantom.subject import SimulatedSubject
from seq2seq_mri.files import atomic_path, check_writable_directory

__all__ = ["Cohort", "check_grid", "check_missing", "check_number", "check_splits", "draw_classes", "draw_silenced"]

SECTIONS = ("training", "validation", "testing")
_DEFAULT_SPLITS = (8, 2, 2)

Plan = TypeVar("Plan")


@dataclass(frozen=True)
class Cohort(Generic[Plan]):
    """A cohort to be simulated.

    Attributes:
        kind: "brain" or "breast".
        sequences: the sequence table.
        counts: numbers of subjects for training, validation and testing.
        seed: of all randomness.
        scan: of all subjects.
        lesion: which of a subject's truth is the mask of lesions.
        plan: gives for the section of an index, with its number of subjects, what is special about each.
        draw: draws one of these subjects.
        endings: how files of sequences end that do not end in the sequence's name.
    """

    kind: str
    sequences: Mapping[str, int]
    counts: Sequence[int]
    seed: int
    scan: Scan
    lesion: str
    plan: Callable[[np.random.Generator, int, int], Sequence[Plan]]
    draw: Callable[[np.random.Generator, Plan], SimulatedSubject]
    endings: Mapping[str, str] = field(default_factory=dict)

    def write(self, output_dir: str | os.PathLike, overwrite: bool) -> str:
        """Write all subjects, then the datalist, whose path is returned.

        Raises:
            ValueError: when the folder cannot be written.
            FileExistsError: when it has a datalist or one of the subjects, and ``overwrite`` is false.
        """
        folder = check_writable_directory(output_dir)
        names = [f"Sim{self.kind.capitalize()}-{number:05d}" for number in range(sum(self.counts))]
        datalist = folder / "datalist.json"
        for path in [datalist, *(folder / name for name in names)]:
            if path.exists() and not overwrite:
                raise FileExistsError(
                    f"{path} exists; remove it, choose another output directory, or allow overwriting."
                )
        sections: dict[str, list[dict]] = {section: [] for section in SECTIONS}
        numbered = enumerate(names)
        with tqdm(total=len(names), desc="Simulating", unit="subject") as progress:
            for index, (section, count) in enumerate(zip(SECTIONS, self.counts, strict=True)):
                for plan in self.plan(np.random.default_rng([self.seed, index]), index, count):
                    number, name = next(numbered)
                    subject = self.draw(np.random.default_rng([self.seed, len(SECTIONS), number]), plan)
                    sections[section].append(self._write_subject(folder, name, subject, overwrite))
                    progress.update()
        content = {"name": f"simulated {self.kind} cohort", "sequences": dict(self.sequences), **sections}
        with atomic_path(datalist, overwrite=overwrite) as temporary:
            temporary.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")
        return str(datalist)

    def _write_subject(self, folder: Path, name: str, subject: SimulatedSubject, overwrite: bool) -> dict:
        """Write one subject's images and truth, and return its entry in the datalist."""

        def path(ending: str) -> str:
            return f"{name}/{name}-{ending}.nii.gz"

        images = {sequence: path(self.endings.get(sequence, sequence)) for sequence in subject.images}
        unique = {sequence: path(f"unique-{sequence}") for sequence in subject.unique}
        truth = {ending: path(ending) for ending in subject.truth}
        for paths, volumes in ((images, subject.images), (unique, subject.unique), (truth, subject.truth)):
            for key, volume in volumes.items():
                self._write_image(folder / paths[key], volume, paths is images and key.endswith("dce"), overwrite)
        if "dwi" in images:
            with atomic_path(folder / images["dwi"].replace(".nii.gz", ".bval"), overwrite=overwrite) as temporary:
                # in one line, as FSL does
                temporary.write_text(" ".join(f"{value:g}" for value in self.scan.b_values) + "\n", encoding="utf-8")

        # a mask without a voxel measures nothing, so it is written but not listed
        lesion = {"lesion": truth[self.lesion]} if subject.truth[self.lesion].any() else {}
        shown = {sequence: images[sequence] for sequence in images if sequence not in subject.withheld}
        more = {
            "withheld": {sequence: images[sequence] for sequence in images if sequence in subject.withheld},
            "unique": {sequence: unique[sequence] for sequence, mask in subject.unique.items() if mask.any()},
            "label": subject.label,
        }
        return {"subject": name} | lesion | shown | {key: value for key, value in more.items() if value}

    def _write_image(self, path: Path, voxels: np.ndarray, dynamic: bool, overwrite: bool) -> None:
        """Write a volume ``[X, Y, Z]``, or a series ``[T, X, Y, Z]`` as 4D NIfTI, in its own type and unscaled."""
        affine = grid_affine(self.scan.shape, self.scan.spacing)
        image = nibabel.Nifti1Image(voxels if voxels.ndim == 3 else np.moveaxis(voxels, 0, -1), affine)
        image.header.set_xyzt_units("mm", "sec" if dynamic else None)
        if dynamic:
            image.header.set_zooms((*self.scan.spacing, self.scan.times[1] - self.scan.times[0]))
        image.header.set_sform(affine, code="scanner")
        image.header.set_qform(affine, code="scanner")
        with atomic_path(path, overwrite=overwrite) as temporary:
            nibabel.save(image, temporary)


def check_splits(subjects: int | None, splits: Sequence[int] | None) -> tuple[int, ...]:
    """Return the checked numbers of subjects of the sections: ``splits``, or ``subjects`` divided as 8:2:2.

    Raises:
        ValueError: when they are not whole numbers, none, or contradict each other.
    """
    if splits is None:
        if subjects is None:
            return _DEFAULT_SPLITS
        if not isinstance(subjects, int) or subjects < 1:
            raise ValueError(f"subjects is {subjects!r}; give a positive whole number.")
        evaluated = subjects * _DEFAULT_SPLITS[1] // sum(_DEFAULT_SPLITS)
        return subjects - 2 * evaluated, evaluated, evaluated
    counts = tuple(splits) if isinstance(splits, Sequence) else (splits,)
    whole = all(isinstance(count, int) and count >= 0 for count in counts)
    if len(counts) != 3 or not whole or sum(counts) == 0:
        raise ValueError(f"splits is {splits!r}; give three whole numbers: training, validation, testing.")
    if subjects is not None and subjects != sum(counts):
        raise ValueError(f"splits {counts} add up to {sum(counts)}, not to subjects = {subjects}; give one of the two.")
    return counts


def check_grid(shape: Sequence[int], spacing: float | Sequence[float]) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return the checked voxels along the three axes, at least 32, and their sizes in mm, between 0 and 100.

    Raises:
        ValueError: when the shape is not three whole numbers of at least 32, or the spacing not one or three numbers
            between 0 and 100.
    """
    sizes = tuple(shape) if isinstance(shape, Sequence) else (shape,)
    if len(sizes) != 3 or not all(isinstance(size, int) and size >= 32 for size in sizes):
        raise ValueError(f"shape is {shape!r}; give three whole numbers of at least 32.")
    steps = tuple(spacing) if isinstance(spacing, Sequence) else (spacing,) * 3
    if len(steps) != 3 or not all(isinstance(step, int | float) and 0 < step < 100 for step in steps):
        raise ValueError(f"spacing is {spacing!r}; give one or three numbers of mm between 0 and 100.")
    return sizes, tuple(float(step) for step in steps)


def check_missing(missing: int | Sequence[int], name: str, highest: int) -> tuple[int, int]:
    """Return the checked least and most sequences that a subject lacks, at most ``highest``.

    Raises:
        ValueError: when they are no whole numbers from 0 to ``highest``, or the least is above the most.
    """
    bounds = tuple(missing) if isinstance(missing, Sequence) else (missing, missing)
    whole = all(isinstance(bound, int) for bound in bounds)
    if len(bounds) != 2 or not whole or not 0 <= bounds[0] <= bounds[1] <= highest:
        raise ValueError(f"{name} is {missing!r}; give a number from 0 to {highest}, or the least and the most.")
    return bounds[0], bounds[1]


def check_number(value: float, name: str, lowest: float, highest: float = np.inf, whole: bool = False) -> None:
    """Raise a ValueError unless ``value`` is a number from ``lowest`` to ``highest``, and a ``whole`` one."""
    if not isinstance(value, int if whole else int | float) or not lowest <= value <= highest:
        limits = f"from {lowest:g}" + (f" to {highest:g}" if np.isfinite(highest) else "")
        raise ValueError(f"{name} is {value!r}; give a {'whole ' * whole}number {limits}.")


def draw_silenced(
    generator: np.random.Generator, sequences: Iterable[str], count: int, least: int, most: int
) -> list[set[str]]:
    """Draw which of the sequences each of ``count`` subjects lacks, from all sets of allowed size.

    Every set is dealt once before any comes again, so that in a small cohort no sequence is left without partners.
    """
    names = list(sequences)
    sets = [set(chosen) for size in range(least, most + 1) for chosen in combinations(names, size)]
    dealt: list[set[str]] = []
    while len(dealt) < count:
        dealt += [sets[index] for index in generator.permutation(len(sets))]
    return dealt[:count]


def draw_classes(generator: np.random.Generator, count: int) -> list[int]:
    """Draw for each of ``count`` subjects one of the classes 0 and 1.

    Every two subjects get one each, in random order, so that the classes are balanced in any number of subjects, and a
    subject keeps its class when others are added after it.
    """
    return [int(drawn) for _ in range(0, count, 2) for drawn in generator.permutation(2)][:count]
