# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The learning curve: a classifier's accuracy on the same test subjects against the number of training subjects.

Source: Han et al., Medical Image Analysis 2024, section 4.1 and Fig. 4.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from tqdm import tqdm

from seq2seq_mri.evaluation.classification.classification_metrics import table_of
from seq2seq_mri.evaluation.page import markdown_table
from seq2seq_mri.evaluation.records import read_records, write_records
from seq2seq_mri.files import check_writable_directory
from seq2seq_mri.io.datalists.labelled_datalist import labelled_entries
from seq2seq_mri.run_manifest import claim_directory
from seq2seq_studies.classification.cross_validation import Entry, Fold, InnerSplit, folds_fingerprint
from seq2seq_studies.classification.run_folds import FitPredict, Settings, predict_unseen
from seq2seq_studies.study_tables import mean_and_deviation, mean_cell

__all__ = [
    "CURVE_NUMBERS",
    "CURVE_TEXT",
    "PAPER_PEAK_GAINS",
    "PAPER_PEAK_SIZE",
    "accuracy_gains",
    "format_accuracy_gains",
    "run_learning_curve",
    "summarise_learning_curve",
    "top_accuracies",
    "training_subset",
]

_MEASURES = ("accuracy", "top2_accuracy")
CURVE_TEXT = ("label", "inputs")
CURVE_NUMBERS = ("size", "seed", *_MEASURES, "n")
"""The columns of ``learning_curve.csv``; ``size`` is the number of training subjects, ``n`` of tested ones."""

#: Accuracy with M_d minus accuracy without, at its largest in the paper, for the differing letter of each image.
PAPER_PEAK_GAINS = {"x1": 0.262, "x2": 0.369}
#: The number of training subjects at which the paper's gains are largest.
PAPER_PEAK_SIZE = 5000


def training_subset(training: Sequence[Entry], size: int, seed: int) -> list[Entry]:
    """Return ``size`` entries at random; with the same seed, a larger subset contains the smaller one.

    Examinations of a patient stand together, so that few patients are cut. The order of ``training`` does not matter.
    """
    ordered = sorted(training, key=lambda entry: (entry["patient"], entry["subject"]))
    patients, of_entry = np.unique([entry["patient"] for entry in ordered], return_inverse=True)
    place = np.random.default_rng(seed).permutation(len(patients))
    return [ordered[index] for index in np.argsort(place[of_entry], kind="stable")[:size]]


def run_learning_curve(
    sections: Mapping[str, Sequence[Mapping[str, object]]],
    fit_predict: FitPredict,
    sizes: Sequence[int],
    output_dir: str | os.PathLike,
    *,
    inputs: Settings,
    label: str,
    seeds: Sequence[int] = (0, 1, 2),
    settings: Mapping[str, object] | None = None,
) -> pd.DataFrame:
    """Train a classifier for each seed, number of training subjects and input combination, and test it.

    The subjects of a seed and size are the same for all inputs, and a larger size contains a smaller one. After each
    training ``learning_curve.csv`` is written, at once or not at all; what stands there is not trained again. Sizes,
    seeds and inputs may be added later, and another label may go to the same directory.

    Args:
        sections: a datalist's entries to draw from (``training``), to choose the epoch on (``validation``), and to
            measure on (``testing``).
        fit_predict: the classifier, see :data:`FitPredict`; probabilities ``[n, classes]``.
        sizes: numbers of training subjects.
        output_dir: where ``learning_curve.csv`` and ``learning_curve.json`` are written.
        inputs: name → settings of the input combinations.
        label: the name of the label.
        seeds: each with its own training subjects and its own training.
        settings: what else the results depend on; recorded, and compared when results are resumed.

    Returns:
        The table of ``learning_curve.csv``, with all labels that are in it.

    Raises:
        ValueError: when a patient is in two sections, a label is absent, sizes or seeds are repeated or absent, the
            results on disk are of another protocol, or the classifier returns something else than probabilities.
    """
    for what, numbers in (("sizes", sizes), ("seeds", seeds)):
        if not numbers or len(set(numbers)) < len(numbers):
            raise ValueError(f"{what} is {list(numbers)}; give at least one number, none of them twice.")
    training, validation, testing = (
        labelled_entries(sections[name], label) for name in ("training", "validation", "testing")
    )
    fold = Fold(0, 0, testing, [InnerSplit(training, validation)])
    directory = check_writable_directory(output_dir)
    protocol = {"folds": folds_fingerprint([fold]), "settings": dict(settings or {}), "inputs": inputs}
    claim_directory(directory / "learning_curve.json", protocol, resume=True, growing=("inputs",), part=label)
    path = directory / "learning_curve.csv"
    rows: list[dict] = []
    if path.exists():
        rows += read_records(path, CURVE_TEXT, CURVE_NUMBERS).to_dict("records")
    done = {(row["label"], row["inputs"], row["size"], row["seed"]) for row in rows}
    cells = [(seed, size, name) for seed in seeds for size in sizes for name in inputs]
    pending = [(seed, size, name) for seed, size, name in cells if (label, name, size, seed) not in done]
    truth = [entry["label"] for entry in testing]
    with tqdm(total=len(cells), initial=len(cells) - len(pending), desc="Learning curve", unit="training") as progress:
        for seed, size, name in pending:
            progress.set_postfix_str(f"{name}, {size} subjects, seed {seed}")
            split = InnerSplit(training_subset(training, size, seed), validation)
            measured = top_accuracies(truth, predict_unseen(fit_predict, split, testing, seed, inputs[name]))
            rows.append({"label": label, "inputs": name, "size": size, "seed": seed, **measured})
            write_records(path, table_of(rows, CURVE_TEXT, CURVE_NUMBERS), overwrite=True)
            progress.update()
    return table_of(rows, CURVE_TEXT, CURVE_NUMBERS)


def top_accuracies(labels: ArrayLike, probabilities: np.ndarray) -> dict[str, float]:
    """Return how often the likeliest class, and one of the two likeliest, is the label.

    Args:
        labels: ``[n]``, whole numbers from 0.
        probabilities: ``[n, classes]``. Among equal ones, the class with the lower number counts as the likelier.

    Returns:
        ``accuracy``, ``top2_accuracy`` and ``n``, the number of cases.
    """
    hits = np.argsort(-probabilities, axis=1, kind="stable")[:, :2] == np.asarray(labels)[:, None]
    return {"accuracy": float(hits[:, 0].mean()), "top2_accuracy": float(hits.any(axis=1).mean()), "n": len(hits)}


def summarise_learning_curve(table: pd.DataFrame) -> pd.DataFrame:
    """Summarise the learning curve over seeds.

    Returns:
        Table with ``label``, ``inputs``, ``size``, ``seeds`` (their number), and ``accuracy_mean``, ``accuracy_sd``
        (sample standard deviation; NaN for one seed), ``top2_accuracy_mean`` and ``top2_accuracy_sd``; sizes ascend.
    """
    ordered = table.sort_values("size", kind="stable")
    return mean_and_deviation(ordered, ["label", "inputs", "size"], _MEASURES, counted="seeds")


def accuracy_gains(table: pd.DataFrame, pairs: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Return what M_d adds to the accuracy, paired: the two classifiers of a seed saw the same training subjects.

    Args:
        table: the table of ``learning_curve.csv``.
        pairs: label → (inputs without M_d, inputs with M_d).

    Returns:
        Table with ``label``, ``size``, ``seeds``, and mean and standard deviation over seeds of ``without`` and
        ``with`` (accuracies) and of ``gain``, their difference; only seeds that have both, sizes ascending.
    """
    parts = []
    for label, (without, with_map) in pairs.items():
        rows = table[table["label"] == label].pivot(index=["size", "seed"], columns="inputs", values="accuracy")
        both = rows[[without, with_map]].dropna().reset_index().set_axis(["size", "seed", "without", "with"], axis=1)
        parts.append(both.assign(label=label, gain=both["with"] - both["without"]))
    return mean_and_deviation(pd.concat(parts), ["label", "size"], ["without", "with", "gain"], counted="seeds")


def format_accuracy_gains(gains: pd.DataFrame) -> str:
    """Return the table of :func:`accuracy_gains` as Markdown beside the paper's gains, mean ± standard deviation."""
    header = ["Label", "N", "Seeds", "Accuracy without M_d", "Accuracy with M_d", "Gain", "Gain in the paper"]
    rows = []
    for row in gains.to_dict("records"):
        cells = [str(row["label"]), f"{row['size']:,}", str(row["seeds"])]
        for measure, form in (("without", ".3f"), ("with", ".3f"), ("gain", "+.3f")):
            cells.append(mean_cell(row[f"{measure}_mean"], row[f"{measure}_sd"], form))
        known = row["size"] == PAPER_PEAK_SIZE and row["label"] in PAPER_PEAK_GAINS
        rows.append([*cells, f"{PAPER_PEAK_GAINS[row['label']]:+.3f}" if known else ""])
    return markdown_table(header, rows)
