# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Divides subjects into training, validation and testing by patient, stratified by label, decided by a seed.

A fold has a testing section, and one or more inner splits of all others into training and validation. Nested
cross-validation has many folds with several inner splits each; a plain division into training, validation and testing
is one fold with one inner split.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from seq2seq_mri.io.datalists.labelled_datalist import labelled_entries

__all__ = ["Entry", "Fold", "InnerSplit", "folds_fingerprint", "nested_folds", "train_validation_test_folds"]

Entry = dict[str, Any]
"""A datalist's entry with ``"subject"``, ``"patient"``, and ``"label"``, a whole number."""


@dataclass(frozen=True)
class InnerSplit:
    """One division of the subjects that are not tested on.

    Attributes:
        training: entries to train on.
        validation: entries to choose settings, epoch and threshold on.
    """

    training: list[Entry]
    validation: list[Entry]


@dataclass(frozen=True)
class Fold:
    """One testing section and the inner splits of everybody else.

    Attributes:
        repeat: which repetition of the cross-validation this is, from 0.
        fold: which of its outer folds, from 0.
        testing: entries that nothing may be chosen on.
        inner: divisions of the others.

    Raises:
        ValueError: when a patient is in two sections.
    """

    repeat: int
    fold: int
    testing: list[Entry]
    inner: list[InnerSplit]

    def __post_init__(self) -> None:
        for split in self.inner:
            seen: dict[str, str] = {}
            for section, entries in self.sections(split).items():
                for patient in (entry["patient"] for entry in entries):
                    if seen.setdefault(patient, section) != section:
                        raise ValueError(f"Patient {patient} is in {seen[patient]} and in {section}.")

    def sections(self, split: InnerSplit) -> dict[str, list[Entry]]:
        """Return the entries of the three sections by their names."""
        return {"testing": self.testing, "training": split.training, "validation": split.validation}


def nested_folds(
    entries: Sequence[Mapping[str, object]],
    label: str | None = None,
    outer: int = 5,
    inner: int = 4,
    repeats: int = 1,
    seed: int = 0,
) -> list[Fold]:
    """Divide subjects for nested cross-validation by patient.

    Every subject is tested on once in each repetition. The subjects of the other outer folds are divided again: each
    is in the validation section of one inner split and in the training section of the rest. All labels have the same
    share in all sections, as far as patients can be kept together. The order of ``entries`` does not matter.

    Args:
        entries: a datalist's entries; see :func:`labelled_entries`.
        label: the name of the label; None where each entry has just one.
        outer: number of outer folds.
        inner: number of inner folds.
        repeats: repetitions with other divisions.
        seed: of the divisions.

    Returns:
        ``outer * repeats`` folds with ``inner`` splits each; entries carry their label as a number.

    Raises:
        ValueError: when a label is absent or contradictory, there is only one, a label has too few patients for all
            sections to have one of it, or a number is out of range.
    """
    if outer < 2 or inner < 2 or repeats < 1:
        raise ValueError(f"There are {outer} outer and {inner} inner folds, {repeats} times; give at least 2, 2 and 1.")
    known = sorted(labelled_entries(entries, label), key=lambda entry: entry["subject"])
    # Without the patients of its largest outer fold, a label must still have one for each inner fold.
    needed = next(count for count in range(outer, 2 * (outer + inner)) if count - -(-count // outer) >= inner)
    _check_patients(known, label, needed, f"{outer} outer and {inner} inner folds")
    folds = []
    for repeat in range(repeats):
        for fold, (rest, testing) in enumerate(_divide(known, outer, [seed, repeat])):
            splits = [InnerSplit(*sections) for sections in _divide(rest, inner, [seed, repeat, fold])]
            folds.append(Fold(repeat, fold, testing, splits))
    return _with_all_labels(folds, known, label)


def train_validation_test_folds(
    entries: Sequence[Mapping[str, object]],
    label: str | None = None,
    fractions: Sequence[float] = (0.6, 0.2, 0.2),
    repeats: int = 1,
    seed: int = 0,
) -> list[Fold]:
    """Divide subjects among training, validation and testing, by patient and stratified by label.

    Args:
        entries: a datalist's entries; their order does not matter.
        label: the name of the label; None where each entry has just one.
        fractions: of the patients in training, validation and testing; sum 1, all above 0.
        repeats: number of divisions, each drawn anew: a subject may be tested on in several of them, or in none.
        seed: of the divisions.

    Returns:
        ``repeats`` folds with one inner split each; entries carry their label as a number.

    Raises:
        ValueError: when a label is absent or contradictory, there is only one, a label has too few patients for all
            sections to have one of it, or the fractions or ``repeats`` are not of this form.
    """
    if repeats < 1:
        raise ValueError(f"repeats is {repeats}; give a whole number from 1.")
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(f"fractions is {fractions}; give three above 0 for training, validation, testing with sum 1.")
    known = sorted(labelled_entries(entries, label), key=lambda entry: entry["subject"])
    _check_patients(known, label, 3, "training, validation and testing")
    of_patient = {entry["patient"]: entry["label"] for entry in known}
    patients = sorted(of_patient)
    sizes = [round(len(patients) * share) for share in fractions[1:]]
    folds = []
    for repeat in range(repeats):
        try:
            rest, tested = _stratified(patients, of_patient, sizes[1], [seed, repeat])
            trained, held_out = _stratified(rest, of_patient, sizes[0], [seed, repeat, 0])
        except ValueError as error:
            raise ValueError(f"{len(patients)} patients cannot be divided as {fractions}: {error}") from error
        training, validation, testing = (
            [entry for entry in known if entry["patient"] in section] for section in (trained, held_out, tested)
        )
        folds.append(Fold(repeat, 0, testing, [InnerSplit(training, validation)]))
    return _with_all_labels(folds, known, label)


def _divide(entries: Sequence[Entry], folds: int, seed: Sequence[int]) -> Iterator[tuple[list[Entry], list[Entry]]]:
    """Give for each of ``folds`` the entries outside and inside it."""
    patients, of_entry = np.unique([entry["patient"] for entry in entries], return_inverse=True)
    # Patients are numbered at random instead of setting shuffle=True, which until scikit-learn 1.7 loses the strata.
    groups = np.random.default_rng(seed).permutation(len(patients))[of_entry]
    labels = [entry["label"] for entry in entries]
    for outside, inside in StratifiedGroupKFold(folds).split(np.zeros(len(entries)), labels, groups):
        yield [entries[index] for index in outside], [entries[index] for index in inside]


def _stratified(
    patients: Sequence[str], of_patient: Mapping[str, int], size: int, seed: Sequence[int]
) -> tuple[list[str], list[str]]:
    labels = [of_patient[patient] for patient in patients]
    state = int(np.random.default_rng(seed).integers(2**32))
    return train_test_split(list(patients), test_size=size, stratify=labels, random_state=state)


def _check_patients(entries: Sequence[Entry], label: str | None, needed: int, sections: str) -> None:
    """Check that every label has enough patients."""
    counts = Counter({entry["patient"]: entry["label"] for entry in entries}.values())
    name = "label" if label is None else label
    if len(counts) < 2:
        raise ValueError(f"All {len(entries)} subjects have {name} {min(counts)}; there is nothing to tell apart.")
    for value, number in sorted(counts.items()):
        if number < needed:
            raise ValueError(
                f"Only {number} patients have {name} {value}; {sections} need at least {needed} of each, so that all "
                "sections have one."
            )


def _with_all_labels(folds: list[Fold], entries: Sequence[Entry], label: str | None) -> list[Fold]:
    """Return the folds after checking that every section has every label."""
    wanted = {entry["label"] for entry in entries}
    for fold in folds:
        for split in fold.inner:
            for section, members in fold.sections(split).items():
                for value in sorted(wanted - {entry["label"] for entry in members}):
                    raise ValueError(
                        f"Nobody in {section} ({len(members)} subjects) has {'label' if label is None else label} "
                        f"{value}; give more subjects, fewer folds, or another seed."
                    )
    return folds


def folds_fingerprint(folds: Iterable[Fold]) -> str:
    """Return a short text that changes with anybody's section, label or patient."""

    def names(entries: Sequence[Entry]) -> list:
        return [[entry["subject"], entry["patient"], entry["label"]] for entry in entries]

    content = []
    for fold in folds:
        splits = [[names(split.training), names(split.validation)] for split in fold.inner]
        content.append([fold.repeat, fold.fold, names(fold.testing), splits])
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
