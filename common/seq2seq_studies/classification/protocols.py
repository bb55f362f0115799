# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Protocols for a binary label: nested cross-validation, and training, validation and testing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from seq2seq_studies.classification.cross_validation import nested_folds, train_validation_test_folds
from seq2seq_studies.classification.fitting import FitPredict
from seq2seq_studies.classification.folds import ProtocolTables, Settings, run_folds

__all__ = ["run_nested_cross_validation", "run_train_validation_test"]


def run_nested_cross_validation(
    entries: Sequence[Mapping[str, Any]],
    fit_predict: FitPredict,
    candidates: Settings | None,
    output_dir: str | os.PathLike,
    outer: int = 5,
    inner: int = 4,
    repeats: int = 1,
    seed: int = 0,
    resume: bool = True,
    *,
    inputs: Settings | None = None,
    label: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> ProtocolTables:
    """Run two-level nested cross-validation by patient (Table 4 of the paper: 5 outer, 4 inner folds).

    Args:
        entries: a datalist's entries with labels 0 and 1.
        fit_predict: the classifier, see :data:`FitPredict`.
        candidates: name → settings to choose from in the inner folds, ``{"slow": {"learning_rate": 1e-4}, …}``; None:
            there is nothing to choose.
        output_dir: where the tables are written; see :func:`run_folds`.
        outer: number of outer folds.
        inner: number of inner folds.
        repeats: repetitions with other divisions.
        seed: of divisions and trainings.
        resume: whether to go on with results in ``output_dir``.
        inputs: name → settings of the input combinations to compare on the same divisions,
            ``{"t1gd": {"channels": ["t1gd"]}, …}``; None: one, "images".
        label: the name of the label; None where each entry has just one.
        settings: what else the results depend on (epochs, generator); recorded, and compared when results are resumed.

    Returns:
        The tables of all folds.

    Raises:
        ValueError: as :func:`nested_folds` and
            :func:`run_folds`.
        FileExistsError: when ``output_dir`` holds results and ``resume`` is false.
    """
    folds = nested_folds(entries, label, outer, inner, repeats, seed)
    return run_folds(
        folds, fit_predict, candidates, output_dir, seed, resume, inputs=inputs, label=label, settings=settings
    )


def run_train_validation_test(
    entries: Sequence[Mapping[str, Any]],
    fit_predict: FitPredict,
    candidates: Settings | None,
    output_dir: str | os.PathLike,
    fractions: Sequence[float] = (0.6, 0.2, 0.2),
    seed: int = 0,
    resume: bool = True,
    *,
    inputs: Settings | None = None,
    label: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> ProtocolTables:
    """Divide the patients once, train, choose on the validation section, and test (Fig. 7 of the paper).

    For a datalist with sections of its own, call :func:`run_folds` with
    :func:`fold_of_sections`.

    Args:
        entries: a datalist's entries with labels 0 and 1.
        fit_predict: the classifier.
        candidates: as in :func:`run_nested_cross_validation`.
        output_dir: where the tables are written.
        fractions: of the patients in training, validation and testing.
        seed: of division and training.
        resume: whether to go on with results in ``output_dir``.
        inputs: as in :func:`run_nested_cross_validation`.
        label: the name of the label.
        settings: what else the results depend on.

    Raises:
        ValueError: as :func:`train_validation_test_folds` and
            :func:`run_folds`.
        FileExistsError: when ``output_dir`` holds results and ``resume`` is false.
    """
    folds = train_validation_test_folds(entries, label, fractions, seed=seed)
    return run_folds(
        folds, fit_predict, candidates, output_dir, seed, resume, inputs=inputs, label=label, settings=settings
    )
