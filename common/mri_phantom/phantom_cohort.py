# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What the writers of simulated cohorts share: checks of their arguments, splits, and writing images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path

import nibabel
import numpy as np

from seq2seq_mri.files import atomic_path

__all__ = [
    "check_grid",
    "check_missing",
    "check_number",
    "check_seed",
    "check_splits",
    "draw_classes",
    "draw_silenced",
    "refuse_existing",
    "write_image",
]

_DEFAULT_SPLITS = (8, 2, 2)


def check_splits(subjects: int | None, splits: Sequence[int] | None) -> tuple[int, ...]:
    """Return the numbers of subjects of the sections: ``splits``, or ``subjects`` divided as 8:2:2.

    Raises:
        ValueError: when they are not whole numbers, none, or contradict each other.
    """
    if splits is None:
        if subjects is None:
            return _DEFAULT_SPLITS
        if isinstance(subjects, bool) or not isinstance(subjects, int) or subjects < 1:
            raise ValueError(f"subjects is {subjects!r}; give a positive whole number.")
        evaluated = subjects * _DEFAULT_SPLITS[1] // sum(_DEFAULT_SPLITS)
        return subjects - 2 * evaluated, evaluated, evaluated
    counts = tuple(splits) if isinstance(splits, Sequence) else (splits,)
    whole = all(isinstance(count, int) and not isinstance(count, bool) and count >= 0 for count in counts)
    if len(counts) != 3 or not whole or sum(counts) == 0:
        raise ValueError(f"splits is {splits!r}; give three whole numbers: training, validation, testing.")
    if subjects is not None and subjects != sum(counts):
        raise ValueError(f"splits {counts} add up to {sum(counts)}, not to subjects = {subjects}; give one of the two.")
    return counts


def check_grid(
    shape: Sequence[int], spacing: float | Sequence[float]
) -> tuple[tuple[int, int, int], tuple[float, float, float]]:
    """Return the voxels along the three axes and their sizes in mm.

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
    return (sizes[0], sizes[1], sizes[2]), (float(steps[0]), float(steps[1]), float(steps[2]))


def check_missing(missing: int | Sequence[int], name: str, highest: int) -> tuple[int, int]:
    """Return the least and the most sequences that a subject lacks, at most ``highest``.

    Raises:
        ValueError: when they are no whole numbers from 0 to ``highest``, or the least is above the most.
    """
    bounds = tuple(missing) if isinstance(missing, Sequence) else (missing, missing)
    whole = all(isinstance(bound, int) and not isinstance(bound, bool) for bound in bounds)
    if len(bounds) != 2 or not whole or not 0 <= bounds[0] <= bounds[1] <= highest:
        raise ValueError(f"{name} is {missing!r}; give a number from 0 to {highest}, or the least and the most.")
    return bounds[0], bounds[1]


def check_number(value: float, name: str, highest: float) -> None:
    """Check that ``value`` is a number from 0 to ``highest``.

    Raises:
        ValueError: when it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= highest:
        raise ValueError(f"{name} is {value!r}; give a number from 0 to {highest}.")


def check_seed(seed: int) -> None:
    """Check that ``seed`` is a whole number from 0.

    Raises:
        ValueError: when it is not.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed is {seed!r}; give a whole number from 0.")


def refuse_existing(folder: Path, names: Sequence[str]) -> None:
    """Check that the folder has no datalist and none of these subjects yet.

    Raises:
        FileExistsError: when it has.
    """
    for path in [folder / "datalist.json", *(folder / name for name in names)]:
        if path.exists():
            raise FileExistsError(f"{path} exists; remove it, choose another output directory, or allow overwriting.")


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


def write_image(
    path: Path, volume: np.ndarray, affine: np.ndarray, *, time_step: float | None = None, overwrite: bool = False
) -> None:
    """Write a volume ``[X, Y, Z]``, or a series ``[T, X, Y, Z]`` as 4D NIfTI, in its own type and unscaled.

    Args:
        path: of the file.
        volume: the voxels.
        affine: ``[4, 4]``.
        time_step: seconds from frame to frame of a series in time.
        overwrite: whether an existing file may be replaced.

    Raises:
        FileExistsError: when the file exists and ``overwrite`` is false.
        OSError: when it cannot be written.
    """
    image = nibabel.Nifti1Image(volume if volume.ndim == 3 else np.moveaxis(volume, 0, -1), affine)
    if time_step is None:
        image.header.set_xyzt_units("mm")
    else:
        image.header.set_xyzt_units("mm", "sec")
        image.header.set_zooms((*image.header.get_zooms()[:3], time_step))
    image.header.set_sform(affine, code="scanner")
    image.header.set_qform(affine, code="scanner")
    with atomic_path(path, overwrite=overwrite) as temporary:
        nibabel.save(image, temporary)
