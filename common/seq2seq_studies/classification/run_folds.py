# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Runs a classifier on folds of subjects with a binary label, and writes the tables of all folds.

In each fold, every candidate setting is trained on the inner splits and scored by the mean AUC of their validation
sections. The best one (the first, of equals) predicts the testing section: its probability is the mean over the models
of the inner splits, so that nothing is trained again and every model has a validation section to choose its epoch on.
The threshold has Youden's largest index on the validation predictions. The testing labels decide nothing.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from seq2seq_mri.evaluation.classification.classification_metrics import (
    fold_metrics,
    predictions_table,
    read_predictions,
    roc_auc,
    table_of,
    youden_threshold,
)
from seq2seq_mri.evaluation.records import read_records, write_records
from seq2seq_mri.files import check_writable_directory
from seq2seq_mri.run_manifest import claim_directory
from seq2seq_studies.classification.cross_validation import Entry, Fold, InnerSplit, folds_fingerprint
from seq2seq_studies.classification.fold_summary import format_fold_summary, summarise_folds
from seq2seq_studies.study_run import write_text

__all__ = ["FitPredict", "ProtocolTables", "Settings", "predict_unseen", "run_folds"]

logger = logging.getLogger(__name__)

FitPredict = Callable[..., np.ndarray]
"""``fit_predict(training_entries, validation_entries, test_entries, seed, **settings) -> probabilities``.

Trains a new classifier on ``training_entries``, may choose its epoch by ``validation_entries``, and returns the
probabilities of ``test_entries`` in their order: ``[n]``, that of label 1, or ``[n, classes]``. Entries are those of
the datalist with ``"subject"``, ``"patient"`` and, except for ``test_entries``, ``"label"``, a whole number. The first
four arguments are positional, ``settings`` those of the inputs and of the candidate. The same arguments must give the
same result; nothing may be remembered from one call to the next."""

Settings = Mapping[str, Mapping[str, object]]
"""Keyword arguments of the classifier by the name that they have in tables."""

_CANDIDATE_TEXT = ("inputs", "candidate")
_CANDIDATE_NUMBERS = ("repeat", "fold", "auc", "chosen")


class ProtocolTables(NamedTuple):
    """The results of a protocol, as on disk.

    Attributes:
        predictions: ``predictions.csv``, see :func:`predictions_table`.
        metrics: ``metrics.csv``, see :func:`fold_metrics`.
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
    *,
    inputs: Settings,
    label: str | None = None,
    settings: Mapping[str, object] | None = None,
) -> ProtocolTables:
    """Run a classifier on given folds.

    After every fold, ``predictions.csv``, ``metrics.csv`` and ``candidates.csv`` are written, each at once or not at
    all; at the end ``summary.csv`` and ``summary.md``, mean ± standard deviation over folds. A finished fold is not
    done again, and inputs may be added later; ``protocol.json`` says what the results belong to.

    Args:
        folds: from ``cross_validation``, with the labels 0 and 1.
        fit_predict: the classifier, see :data:`FitPredict`.
        candidates: name → settings to choose from in the inner splits, ``{"slow": {"learning_rate": 1e-4}, …}``; None:
            there is nothing to choose.
        output_dir: where the tables are written.
        seed: of the trainings; each training has its own, the same for all inputs and candidates.
        inputs: name → settings of the input combinations to compare, ``{"t1gd": {"channels": ["t1gd"]}, …}``.
        label: the name of the label, for the record.
        settings: what else the results depend on.

    Raises:
        ValueError: when candidates are not of this form or have a setting of the inputs, the results on disk are of
            another protocol, or the classifier returns something else than probabilities.
    """
    choices = {"default": {}} if candidates is None else candidates
    if not choices or not all(isinstance(value, Mapping) for value in choices.values()):
        raise ValueError(f"candidates is {candidates!r}; give settings by name: {{'slow': {{'learning_rate': 1e-4}}}}.")
    for name, own in inputs.items():
        both = sorted(own.keys() & {key for choice in choices.values() for key in choice})
        if both:
            raise ValueError(
                f"'{both[0]}' is a setting of the inputs '{name}' and of a candidate; set it in one place."
            )
    directory = check_writable_directory(output_dir)
    protocol = {
        "label": label,
        "seed": seed,
        "folds": folds_fingerprint(folds),
        "candidates": choices,
        "settings": dict(settings or {}),
        "inputs": inputs,
    }
    claim_directory(directory / "protocol.json", protocol, resume=True, growing=("inputs",))
    predictions, scores = _finished(directory)
    done = {(row["inputs"], row["repeat"], row["fold"]) for row in predictions}
    pending = [
        (fold, name)
        for fold in folds  # all inputs of a fold before the next one, so that what there is can be compared
        for name in inputs
        if (name, fold.repeat, fold.fold) not in done
    ]
    total = len(folds) * len(inputs)
    with tqdm(total=total, initial=total - len(pending), desc="Folds", unit="fold") as progress:
        for fold, name in pending:
            progress.set_postfix_str(f"{name}, repeat {fold.repeat}, fold {fold.fold}")
            found, compared = _one_fold(fold, fit_predict, choices, inputs[name], seed)
            place = {"inputs": name, "repeat": fold.repeat, "fold": fold.fold}
            predictions += [{**place, **row} for row in found]
            scores += [{**place, **row} for row in compared]
            _write(directory, predictions, scores)
            progress.update()
    tables = _write(directory, predictions, scores)
    summary = format_fold_summary(tables.metrics)
    write_records(directory / "summary.csv", summarise_folds(tables.metrics), overwrite=True)
    write_text(directory / "summary.md", summary)
    logger.info(f"Mean ± standard deviation over folds:\n{summary}")
    return tables


def _one_fold(
    fold: Fold, fit_predict: FitPredict, candidates: Settings, input_settings: Mapping[str, object], seed: int
) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Return the rows of predictions and of candidates."""
    validated = [entry for split in fold.inner for entry in split.validation]
    of_validation: dict[str, np.ndarray] = {}
    of_testing: dict[str, np.ndarray] = {}
    score: dict[str, float] = {}
    for name, candidate in candidates.items():
        parts, tests, areas = [], [], []
        for number, split in enumerate(fold.inner):
            # The same for all inputs and candidates: their comparison is paired.
            sequence = np.random.SeedSequence([seed, fold.repeat, fold.fold, number])
            probabilities = predict_unseen(
                fit_predict,
                split,
                [*split.validation, *fold.testing],
                int(sequence.generate_state(1)[0] & 0x7FFFFFFF),
                {**input_settings, **candidate},
            )
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


def predict_unseen(
    fit_predict: FitPredict, split: InnerSplit, tested: Sequence[Entry], seed: int, settings: Mapping[str, object]
) -> np.ndarray:
    """Train a classifier on an inner split and return the probabilities of other entries, whose labels it cannot see.

    Args:
        fit_predict: the classifier, see :data:`FitPredict`.
        split: what it is trained and validated on.
        tested: entries to predict; their labels are taken away.
        seed: of the training.
        settings: keyword arguments.

    Returns:
        float64 ``[n]`` or ``[n, classes]``.

    Raises:
        ValueError: when the classifier returns anything else than probabilities in [0, 1].
    """
    unlabelled = [{key: value for key, value in entry.items() if key != "label"} for entry in tested]
    # Copies, so that a classifier which changes an entry does not change it for the next one.
    training, validation = ([dict(entry) for entry in part] for part in (split.training, split.validation))
    result = np.asarray(fit_predict(training, validation, unlabelled, seed, **settings), dtype=float)
    wrong = np.argwhere(~((result >= 0) & (result <= 1)))
    if wrong.size:
        first = int(wrong[0, 0])
        raise ValueError(
            f"The classifier gave subject {tested[first]['subject']} the probability {result[first]}, which is not in "
            "[0, 1]; check its learning rate and its inputs."
        )
    return result


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
    tables = ProtocolTables(table, fold_metrics(table), table_of(scores, _CANDIDATE_TEXT, _CANDIDATE_NUMBERS))
    write_records(directory / "candidates.csv", tables.candidates, overwrite=True)
    write_records(directory / "metrics.csv", tables.metrics, overwrite=True)
    # The last, because a fold counts as finished when its predictions are there.
    write_records(directory / "predictions.csv", table, overwrite=True)
    return tables
