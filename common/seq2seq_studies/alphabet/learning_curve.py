# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The learning curve: accuracy on the same test subjects after training on more and more subjects (Fig. 4)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from seq2seq_mri.evaluation.classification.classification_metrics import multiclass_metrics
from seq2seq_mri.files import check_writable_directory
from seq2seq_mri.io.datalists.labelled_datalist import labelled_entries
from seq2seq_mri.run_manifest import claim_directory
from seq2seq_studies.alphabet.learning_curve_table import (
    learning_curve_table,
    read_learning_curve,
    write_learning_curve,
)
from seq2seq_studies.classification.cross_validation import Entry, Fold, InnerSplit, folds_fingerprint
from seq2seq_studies.classification.fitting import FitPredict, check_named_settings, predict_probabilities

__all__ = ["run_learning_curve", "training_subset"]


def training_subset(training: Sequence[Entry], size: int, seed: int) -> list[Entry]:
    """Return ``size`` entries at random; with the same seed, a larger subset contains the smaller one.

    Examinations of a patient stand together, so that few patients are cut. The order of ``training`` does not matter.

    Raises:
        ValueError: when there are not that many entries.
    """
    if not 1 <= size <= len(training):
        raise ValueError(f"A training subset of {size} was asked for; there are {len(training)} training subjects.")
    ordered = sorted(training, key=lambda entry: (entry["patient"], entry["subject"]))
    patients, of_entry = np.unique([entry["patient"] for entry in ordered], return_inverse=True)
    place = np.random.default_rng(seed).permutation(len(patients))
    return [ordered[index] for index in np.argsort(place[of_entry], kind="stable")[:size]]


def run_learning_curve(
    training: Sequence[Mapping[str, Any]],
    validation: Sequence[Mapping[str, Any]],
    testing: Sequence[Mapping[str, Any]],
    fit_predict: FitPredict,
    sizes: Sequence[int],
    output_dir: str | os.PathLike,
    *,
    inputs: Mapping[str, Mapping[str, Any]] | None = None,
    label: str | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    settings: Mapping[str, Any] | None = None,
    resume: bool = True,
) -> pd.DataFrame:
    """Train a classifier for each seed, number of training subjects and input combination, and test it.

    The subjects of a seed and size are the same for all inputs, and a larger size contains a smaller one. After each
    training ``learning_curve.csv`` is written, at once or not at all; what stands there is not trained again. Sizes,
    seeds and inputs may be added later, and another label may go to the same directory.

    Args:
        training: a datalist's entries to draw from.
        validation: entries to choose the epoch on, for all sizes the same.
        testing: entries to measure on.
        fit_predict: the classifier, see :data:`FitPredict`; probabilities
            ``[n, classes]``, or ``[n]`` for two classes.
        sizes: numbers of training subjects.
        output_dir: where ``learning_curve.csv`` and ``learning_curve.json`` are written.
        inputs: name → settings of the input combinations; None: one, "images".
        label: the name of the label; None where each entry has just one.
        seeds: each with its own training subjects and its own training.
        settings: what else the results depend on; recorded, and compared when results are resumed.
        resume: whether to go on with results in ``output_dir``.

    Returns:
        The table of ``learning_curve.csv``, with all labels that are in it.

    Raises:
        ValueError: when a patient is in two sections, a label is absent, there are fewer training subjects than a
            size, sizes or seeds are repeated or absent, the results on disk are of another protocol, or the classifier
            returns something else than probabilities.
        FileExistsError: when ``output_dir`` holds results of this label and ``resume`` is false.
    """
    combinations = check_named_settings("inputs", {"images": {}} if inputs is None else inputs)
    for what, numbers in (("sizes", sizes), ("seeds", seeds)):
        if not numbers or len(set(numbers)) < len(numbers):
            raise ValueError(f"{what} is {list(numbers)}; give at least one number, none of them twice.")
    known = labelled_entries([*training, *validation, *testing], label)
    first, second = len(training), len(training) + len(validation)
    pool, held_out, tested = known[:first], known[first:second], known[second:]
    fold = Fold(0, 0, tested, [InnerSplit(pool, held_out)])
    for size in sizes:
        training_subset(pool, size, seeds[0])

    directory = check_writable_directory(output_dir)
    name_of_label = label or "label"
    protocol = {"folds": folds_fingerprint([fold]), "settings": dict(settings or {}), "inputs": combinations}
    claim_directory(directory / "learning_curve.json", protocol, resume, growing=("inputs",), part=name_of_label)
    path = directory / "learning_curve.csv"
    rows: list[dict] = read_learning_curve(path).to_dict("records") if path.exists() else []
    done = {(row["label"], row["inputs"], row["size"], row["seed"]) for row in rows}
    cells = [(seed, size, name) for seed in seeds for size in sizes for name in combinations]
    pending = [(seed, size, name) for seed, size, name in cells if (name_of_label, name, size, seed) not in done]
    truth = np.array([entry["label"] for entry in tested])
    with tqdm(total=len(cells), initial=len(cells) - len(pending), desc="Learning curve", unit="training") as progress:
        for seed, size, name in pending:
            progress.set_postfix_str(f"{name}, {size} subjects, seed {seed}")
            split = InnerSplit(training_subset(pool, size, seed), held_out)
            probabilities = predict_probabilities(fit_predict, split, tested, seed, combinations[name])
            if probabilities.ndim == 1:
                probabilities = np.stack([1.0 - probabilities, probabilities], axis=1)
            measured = multiclass_metrics(truth, probabilities)
            rows.append({"label": name_of_label, "inputs": name, "size": size, "seed": seed, **measured})
            write_learning_curve(path, learning_curve_table(rows), overwrite=True)
            progress.update()
    return learning_curve_table(rows)
