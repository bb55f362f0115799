# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The folds of a binary label: training, choice of settings and threshold, prediction.

In each fold, every candidate setting is trained on the inner splits and scored by the mean AUC of their validation
sections. The best one (the first, of equals) predicts the testing section: its probability is the mean over the models
of the inner splits, so that nothing is trained again and every model has a validation section to choose its epoch on.
The threshold has Youden's largest index on the validation predictions. The testing labels decide nothing.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from seq2seq_mri.evaluation.classification.classification_metrics import roc_auc, youden_threshold
from seq2seq_mri.evaluation.classification.classification_tables import (
    fold_metrics,
    format_fold_summary,
    predictions_table,
    read_predictions,
    summarise_folds,
    with_columns,
    write_fold_metrics,
    write_predictions,
)
from seq2seq_mri.evaluation.records import read_records, write_records
from seq2seq_mri.files import atomic_path, check_writable_directory
from seq2seq_mri.run_manifest import claim_directory
from seq2seq_studies.classification.cross_validation import Entry, Fold, folds_fingerprint
from seq2seq_studies.classification.fitting import FitPredict, check_named_settings, fit_seed, predict_probabilities

__all__ = ["ProtocolTables", "Settings", "run_folds"]

logger = logging.getLogger(__name__)

_CANDIDATE_TEXT = ("inputs", "candidate")
_CANDIDATE_NUMBERS = ("repeat", "fold", "auc", "chosen")

Settings = Mapping[str, Mapping[str, Any]]
"""Keyword arguments of the classifier by the name that they have in tables."""


class ProtocolTables(NamedTuple):
    """The results of a protocol, as on disk.

    Attributes:
        predictions: ``predictions.csv``, see ``analysis.classification_tables``.
        metrics: ``metrics.csv``, one row per inputs, repeat and fold.
        candidates: ``candidates.csv``: ``inputs``, ``candidate``, ``repeat``, ``fold``, its mean inner ``auc``, and
            whether it was ``chosen`` (1 or 0).
    """

    predictions: pd.DataFrame
    metrics: pd.DataFrame
    candidates: pd.DataFrame


def run_folds(
    folds: Sequence[Fold],
    fit_predict: FitPredict,
    candidates: Settings | None,
    output_dir: str | os.PathLike,
    seed: int = 0,
    resume: bool = True,
    *,
    inputs: Settings | None = None,
    label: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> ProtocolTables:
    """Run the protocol on given folds.

    After every fold, ``predictions.csv``, ``metrics.csv`` and ``candidates.csv`` are written, each at once or not at
    all; at the end ``summary.csv`` and ``summary.md``, mean ± standard deviation over folds. A finished fold is not
    done again, and inputs may be added later; ``protocol.json`` says what the results belong to.

    Args:
        folds: from ``data.cross_validation``.
        fit_predict: the classifier.
        candidates: name → settings to choose from; None: there is nothing to choose.
        output_dir: where the tables are written.
        seed: of the trainings; each training has its own, the same for all inputs and candidates.
        resume: whether to go on with results in ``output_dir``.
        inputs: name → settings of the input combinations to compare; None: one, "images".
        label: the name of the label, for the record.
        settings: what else the results depend on.

    Raises:
        ValueError: when labels are not 0 and 1, an inner section has only one of them, two folds have the same
            numbers, inputs and candidates have a setting in common, the results on disk are of another protocol, or
            the classifier returns something else than probabilities.
        FileExistsError: when ``output_dir`` holds results and ``resume`` is false.
    """
    choices = check_named_settings("candidates", {"default": {}} if candidates is None else candidates)
    combinations = check_named_settings("inputs", {"images": {}} if inputs is None else inputs)
    for name, own in combinations.items():
        both = sorted(own.keys() & {key for choice in choices.values() for key in choice})
        if both:
            raise ValueError(
                f"'{both[0]}' is a setting of the inputs '{name}' and of a candidate; set it in one place."
            )
    _check_binary(folds)
    directory = check_writable_directory(output_dir)
    protocol = {
        "label": label,
        "seed": seed,
        "folds": folds_fingerprint(folds),
        "candidates": choices,
        "settings": dict(settings or {}),
        "inputs": combinations,
    }
    claim_directory(directory / "protocol.json", protocol, resume, growing=("inputs",))
    predictions, scores = _finished(directory)
    done = {(row["inputs"], row["repeat"], row["fold"]) for row in predictions}
    pending = [
        (fold, name)
        for fold in folds  # all inputs of a fold before the next one, so that what there is can be compared
        for name in combinations
        if (name, fold.repeat, fold.fold) not in done
    ]
    total = len(folds) * len(combinations)
    with tqdm(total=total, initial=total - len(pending), desc="Folds", unit="fold") as progress:
        for fold, name in pending:
            progress.set_postfix_str(f"{name}, repeat {fold.repeat}, fold {fold.fold}")
            found, compared = _one_fold(fold, fit_predict, choices, combinations[name], seed)
            predictions += [{"inputs": name, **row} for row in found]
            scores += [{"inputs": name, "repeat": fold.repeat, "fold": fold.fold, **row} for row in compared]
            _write(directory, predictions, scores)
            progress.update()
    tables = _write(directory, predictions, scores)
    summary = format_fold_summary(tables.metrics)
    write_records(directory / "summary.csv", summarise_folds(tables.metrics), overwrite=True)
    with atomic_path(directory / "summary.md", overwrite=True) as temporary:
        temporary.write_text(summary + "\n", encoding="utf-8")
    logger.info(f"Mean ± standard deviation over folds:\n{summary}")
    return tables


def _one_fold(
    fold: Fold, fit_predict: FitPredict, candidates: Settings, input_settings: Mapping[str, Any], seed: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows of predictions and of candidates."""
    validated = [entry for split in fold.inner for entry in split.validation]
    of_validation: dict[str, np.ndarray] = {}
    of_testing: dict[str, np.ndarray] = {}
    score: dict[str, float] = {}
    for name, candidate in candidates.items():
        parts, tests, areas = [], [], []
        for number, split in enumerate(fold.inner):
            probabilities = predict_probabilities(
                fit_predict,
                split,
                [*split.validation, *fold.testing],
                fit_seed(seed, fold.repeat, fold.fold, number),
                {**input_settings, **candidate},
            )
            if probabilities.ndim == 2:
                if probabilities.shape[1] != 2:
                    raise ValueError(f"The classifier has {probabilities.shape[1]} classes; this protocol is for two.")
                probabilities = probabilities[:, 1]
            held_out, tested = np.split(probabilities, [len(split.validation)])
            areas.append(roc_auc([entry["label"] for entry in split.validation], held_out))
            parts.append(held_out)
            tests.append(tested)
        of_validation[name], of_testing[name] = np.concatenate(parts), np.mean(tests, axis=0)
        score[name] = float(np.mean(areas))
    best = max(score, key=lambda name: score[name])
    threshold = youden_threshold([entry["label"] for entry in validated], of_validation[best])
    rows = [
        {
            "repeat": fold.repeat,
            "fold": fold.fold,
            "section": section,
            **{key: entry[key] for key in ("patient", "subject", "label")},
            "probability": float(probability),
            "threshold": threshold,
        }
        for section, entries, values in (
            ("validation", validated, of_validation[best]),
            ("testing", fold.testing, of_testing[best]),
        )
        for entry, probability in zip(entries, values, strict=True)
    ]
    return rows, [{"candidate": name, "auc": score[name], "chosen": float(name == best)} for name in candidates]


def _check_binary(folds: Sequence[Fold]) -> None:
    if not folds:
        raise ValueError("There is no fold to run.")
    if len({(fold.repeat, fold.fold) for fold in folds}) < len(folds):
        raise ValueError("Two folds have the same numbers of repeat and fold; their results could not be told apart.")

    def labels(entries: Sequence[Entry]) -> set[int]:
        return {entry["label"] for entry in entries}

    for fold in folds:
        where = f"Repeat {fold.repeat}, fold {fold.fold}"
        for number, split in enumerate(fold.inner):
            found = labels(split.training) | labels(split.validation) | labels(fold.testing)
            if found != {0, 1}:
                raise ValueError(f"{where} has the labels {sorted(found)}; this protocol is for labels 0 and 1.")
            for section in (split.training, split.validation):
                if labels(section) != found:
                    raise ValueError(f"{where}, inner split {number}: a section has only label {labels(section)}.")


def _finished(directory: Path) -> tuple[list[dict], list[dict]]:
    """Return the rows of earlier predictions, and the candidates' rows of those folds."""
    path = directory / "predictions.csv"
    if not path.exists():
        return [], []
    predictions = read_predictions(path).to_dict("records")
    done = {(row["inputs"], row["repeat"], row["fold"]) for row in predictions}
    table = read_records(directory / "candidates.csv", _CANDIDATE_TEXT, _CANDIDATE_NUMBERS)
    scores = [row for row in table.to_dict("records") if (row["inputs"], row["repeat"], row["fold"]) in done]
    return predictions, scores


def _write(directory: Path, predictions: list[dict], scores: list[dict]) -> ProtocolTables:
    table = predictions_table(predictions)
    tables = ProtocolTables(table, fold_metrics(table), with_columns(scores, _CANDIDATE_TEXT, _CANDIDATE_NUMBERS))
    write_records(directory / "candidates.csv", tables.candidates, overwrite=True)
    write_fold_metrics(directory / "metrics.csv", tables.metrics, overwrite=True)
    # The last, because a fold counts as finished when its predictions are there.
    write_predictions(directory / "predictions.csv", table, overwrite=True)
    return tables
