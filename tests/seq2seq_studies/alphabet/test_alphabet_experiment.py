# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

from functools import partial

import pandas as pd
import pytest
import torch

from seq2seq_mri.inference.slice_inferer import SliceTranslationInferer
from seq2seq_mri.networks.classifier import build_classifier
from seq2seq_mri.networks.generator import Seq2SeqGenerator
from seq2seq_studies.alphabet.alphabet import ALPHABET_SEQUENCES
from seq2seq_studies.alphabet.alphabet_experiment import AlphabetExperiment


@pytest.fixture
def experiment(tmp_path):
    """Makes a tiny experiment; the generator is random."""

    def make(**changes):
        torch.manual_seed(0)
        generator = Seq2SeqGenerator(2, ALPHABET_SEQUENCES, 1, [4, 8], 1, 1, 8, 2)
        options = {
            "sizes": [6, 9],
            "seeds": [0, 1],
            "validation_subjects": 4,
            "test_subjects": 5,
            "shape": (33, 37),
            "settings": {"max_epochs": 1, "batch_size": 4},
        }
        network = partial(build_classifier, 2, num_classes=26, widen_factor=0.0625)
        inferer = SliceTranslationInferer(slice_batch_size=4)
        return AlphabetExperiment(tmp_path, generator, inferer, network, **{**options, **changes})

    return make


def test_writes_tables_and_figures(experiment, tmp_path):
    table = experiment().run()
    cells = {(row.label, row.inputs, row.size, row.seed) for row in table.itertuples()}
    assert cells == {
        (image, inputs, size, seed)
        for image in ("x1", "x2")
        for inputs in (image, f"{image}_md")
        for size in (6, 9)
        for seed in (0, 1)
    }
    assert (table["n"] == 5).all()
    names = ["letters.csv", "examples.png", "learning_curve.csv", "learning_curve.png", "gains.csv", "results.md"]
    assert all((tmp_path / name).stat().st_size > 0 for name in names)
    gains = pd.read_csv(tmp_path / "gains.csv")
    curve = table.pivot_table("accuracy", ["label", "size", "seed"], "inputs")
    expected = (curve["x1_md"] - curve["x1"]).dropna().groupby("size").mean()
    assert gains.loc[gains["label"] == "x1", "gain_mean"].tolist() == pytest.approx(expected.tolist())
    assert (tmp_path / "results.md").read_text().count("| x1 |") == 1 + 2
    assert list((tmp_path / "trainings").iterdir()) == []


def test_goes_on_and_adds_seeds(experiment, tmp_path):
    first = experiment(seeds=[0]).run()
    maps = (tmp_path / "maps" / "testing" / "00000000.image.npy").stat().st_mtime_ns
    both = experiment().run()
    assert len(both) == 2 * len(first)
    merged = both.merge(first, on=["label", "inputs", "size", "seed"], suffixes=("", "_first"))
    assert len(merged) == len(first)
    assert merged["accuracy"].tolist() == merged["accuracy_first"].tolist()
    assert (tmp_path / "maps" / "testing" / "00000000.image.npy").stat().st_mtime_ns == maps


def test_refuses_the_folder_of_another_experiment(experiment):
    experiment(seeds=[0]).run()
    with pytest.raises(ValueError, match="another protocol"):
        experiment(seeds=[0], settings={"max_epochs": 2, "batch_size": 4}).run()
    with pytest.raises(ValueError, match="was prepared otherwise"):
        experiment(seeds=[0], shape=(34, 37)).run()
