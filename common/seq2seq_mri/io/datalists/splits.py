# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Divides subjects into training, validation and testing, also as published, and chooses sequences to withhold.

The examinations of one patient share a section, so that no patient is both trained on and tested; the published lists
are followed as they are.
"""

from __future__ import annotations

import csv
import itertools
import os
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from seq2seq_mri.io.datalists.datalist import SECTIONS
from seq2seq_mri.io.datalists.layouts import patient_of

__all__ = ["PAPER_COUNTS", "choose_withheld", "published_split", "read_published_lists", "split_subjects"]

#: The number of BraTS2021 subjects in each section in the paper.
PAPER_COUNTS = (830, 93, 328)

# The sequences that the bits of a published mask stand for, most significant bit first.
_PUBLISHED_SEQUENCES = ("t1", "t1gd", "t2", "flair")


def split_subjects(
    subjects: Sequence[str],
    *,
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    counts: Sequence[int] | None = None,
    named: Mapping[str, Sequence[str]] | None = None,
    patients: Mapping[str, str] | None = None,
    seed: int = 0,
) -> dict[str, list[str]]:
    """Divide subjects among training, validation and testing.

    The patients are shuffled by the seed. With fractions, a small cohort still gives each section a subject, as long
    as there are enough patients, training first. A patient with several examinations goes as a whole to one section,
    which may then have a few more subjects than asked for.

    Args:
        subjects: the subjects' names; their order does not matter.
        fractions: of training, validation, testing; sum 1.
        counts: numbers of subjects instead of fractions; subjects beyond their sum are not used.
        named: sections with the subjects (or patients) that they get, and no other; the rest of the subjects is
            divided among the sections that are not named here.
        patients: the patient whose examination a subject is, where the name does not tell (see ``patient_of``).
        seed: of the shuffling.

    Returns:
        the names in each section, sorted; the sections are disjoint.

    Raises:
        ValueError: when fractions or counts are not three such numbers, there are fewer subjects than the counts ask
            for, or a name is unknown or in two sections.
    """
    named = {section: names for section, names in (named or {}).items() if names}
    of = {subject: (patients or {}).get(subject) or patient_of(subject) for subject in subjects}
    examinations: dict[str, list[str]] = defaultdict(list)
    for subject in sorted(subjects):
        examinations[of[subject]].append(subject)
    split: dict[str, list[str]] = {section: [] for section in SECTIONS}
    taken: dict[str, str] = {}
    for section, names in named.items():
        for name in names:
            patient = name if name in examinations else of.get(name, patient_of(name))
            if patient not in examinations or name not in (patient, *examinations[patient]):
                raise ValueError(f"'{name}', named for {section}, is not a usable subject of this dataset.")
            if taken.setdefault(patient, section) != section:
                raise ValueError(f"'{name}' is named for {section}, but the same patient for {taken[patient]} as well.")
    for patient, section in taken.items():
        split[section] += examinations[patient]
    rest = [patient for patient in sorted(examinations) if patient not in taken]
    number = sum(len(examinations[patient]) for patient in rest)
    targets = _targets(number, [section for section in SECTIONS if section not in named], fractions, counts)
    targets["unused"] = number - sum(targets.values())
    split["unused"] = []
    for position, index in enumerate(np.random.default_rng(seed).permutation(len(rest))):
        # To the section that lacks most: exact where patients have one examination, close where they have several.
        # The last patients go to sections that have none yet.
        empty = [name for name in targets if targets[name] > 0 and not split[name] and name != "unused"]
        choice = empty if len(rest) - position <= len(empty) else list(targets)
        section = max(choice, key=lambda name: targets[name])
        split[section] += examinations[rest[index]]
        targets[section] -= len(examinations[rest[index]])
    del split["unused"]
    return {section: sorted(names) for section, names in split.items()}


def _targets(
    number: int, sections: Sequence[str], fractions: Sequence[float], counts: Sequence[int] | None
) -> dict[str, int]:
    """Return how many of ``number`` subjects each of ``sections`` gets."""
    if counts is not None:
        if len(counts) != 3 or not all(isinstance(count, int) and count >= 0 for count in counts):
            raise ValueError(f"counts is {counts}; give three whole numbers for training, validation, testing.")
        wanted = dict(zip(SECTIONS, counts, strict=True))
        targets = {section: wanted[section] for section in sections}
        if sum(targets.values()) > number:
            asked = ", ".join(f"{count} for {section}" for section, count in targets.items())
            raise ValueError(f"counts asks for {asked}, but only {number} usable subjects are left to divide.")
        return targets
    valid = len(fractions) == 3 and all(isinstance(f, (int, float)) and 0 <= f <= 1 for f in fractions)
    if not valid or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(f"fractions is {fractions}; give three for training, validation, testing with sum 1.")
    shares = {s: f for s, f in zip(SECTIONS, fractions, strict=True) if s in sections and f > 0}
    exact = {section: number * share / sum(shares.values()) for section, share in shares.items()}
    targets = {section: int(value) for section, value in exact.items()}
    # Largest remainder; ties in the order of the sections.
    by_remainder = sorted(exact, key=lambda section: targets[section] - exact[section])
    for section in by_remainder[: number - sum(targets.values())]:
        targets[section] += 1
    for section in list(targets)[:number]:
        if targets[section] == 0:
            targets[max(targets, key=lambda name: targets[name])] -= 1
            targets[section] = 1
    return targets


def read_published_lists(folder: str | os.PathLike) -> dict[str, dict[str, tuple[str, ...]]]:
    """Read the split that was published with the paper: section → subject → the sequences that it keeps.

    A row of ``*train.csv``, ``*valid.csv`` and ``*test.csv`` is ``NAME,MASK``. Written with four binary digits, the
    mask has one digit for each of t1, t1ce, t2 and flair, in this order; 1 = available. So 1 is a subject with FLAIR
    only and 8 one with T1 only. The masks of the published lists go through 1 to 14 in turn: every subject has one to
    three of the four.

    Raises:
        FileNotFoundError: when a list is not there.
        ValueError: when there are two of one kind, a row is not of this form, or a subject stands twice.
    """
    result: dict[str, dict[str, tuple[str, ...]]] = {}
    seen: set[str] = set()
    for section, ending in zip(SECTIONS, ("train", "valid", "test"), strict=True):
        paths = sorted(Path(folder).expanduser().glob(f"*{ending}.csv"))
        if not paths:
            raise FileNotFoundError(f"{folder} has no list *{ending}.csv; give the folder of the published lists.")
        if len(paths) > 1:
            raise ValueError(f"{folder} has several lists *{ending}.csv: {', '.join(p.name for p in paths)}; keep one.")
        result[section] = {}
        with open(paths[0], newline="", encoding="utf-8") as file:
            for number, row in enumerate(csv.reader(file), start=1):
                if not row:
                    continue
                name, mask = (field.strip() for field in row) if len(row) == 2 else ("", "")
                if not (name and mask.isdecimal() and 1 <= int(mask) <= 15):
                    raise ValueError(f"{paths[0]}, line {number}: '{','.join(row)}' is not NAME,MASK, MASK 1 to 15.")
                if name in seen:
                    raise ValueError(f"{paths[0]}, line {number}: {name} stands twice in the published lists.")
                seen.add(name)
                bits = zip(_PUBLISHED_SEQUENCES, f"{int(mask):04b}", strict=True)
                result[section][name] = tuple(sequence for sequence, bit in bits if bit == "1")
    return result


def published_split(
    folder: str | os.PathLike, available: Mapping[str, Sequence[str]]
) -> tuple[dict[str, list[str]], dict[str, tuple[str, ...]], list[str]]:
    """Apply the published lists to the subjects at hand; names must be exactly those of the lists.

    Args:
        folder: see :func:`read_published_lists`.
        available: for each subject at hand, the sequences it has.

    Returns:
        the names in each section; the sequences to withhold of each subject; remarks on subjects that are only in the
        lists, only at hand, or would have no sequence left.

    Raises:
        ValueError: when no subject is in the lists.
    """
    lists = read_published_lists(folder)
    split: dict[str, list[str]] = {}
    withheld: dict[str, tuple[str, ...]] = {}
    empty: list[str] = []
    for section, masks in lists.items():
        split[section] = []
        for name in sorted(masks.keys() & available.keys()):
            withheld[name] = tuple(s for s in available[name] if s in _PUBLISHED_SEQUENCES and s not in masks[name])
            (empty if len(withheld[name]) == len(available[name]) else split[section]).append(name)
    listed = set().union(*lists.values())
    if not listed & available.keys():
        raise ValueError(
            f"No subject found is in the published lists of {folder}; they name subjects like {min(listed)}, "
            f"and the dataset's are like {min(available)}."
        )
    remarks = [
        f"{len(names)} {what}: {', '.join(sorted(names)[:3])}{', …' if len(names) > 3 else ''}"
        for what, names in (
            ("subjects of the published lists were not found or are not usable", listed - available.keys()),
            ("usable subjects are not in the published lists", available.keys() - listed),
            ("subjects have none of the sequences that their published mask leaves", set(empty)),
        )
        if names
    ]
    return split, withheld, remarks


def choose_withheld(subject: str, available: Sequence[str], *, at_most: int = 3, seed: int = 0) -> tuple[str, ...]:
    """Choose the sequences of a subject that are silenced: at least one, at most ``at_most``, never all.

    Every such subset is equally likely, as in the published lists. The choice depends on the seed and on this
    subject alone, so that it stays when subjects are added. A subject with a single sequence keeps it.

    Raises:
        ValueError: when ``at_most`` is no whole number of at least 1.
    """
    if not isinstance(at_most, int) or at_most < 1:
        raise ValueError(f"At most {at_most!r} sequences are to be silenced; give a whole number of at least 1.")
    numbers = range(1, min(at_most, len(available) - 1) + 1)
    subsets = [subset for number in numbers for subset in itertools.combinations(available, number)]
    if not subsets:
        return ()
    generator = np.random.default_rng([seed, zlib.crc32(subject.encode())])
    return subsets[int(generator.integers(len(subsets)))]
