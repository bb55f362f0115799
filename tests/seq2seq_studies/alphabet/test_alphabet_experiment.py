# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from seq2seq_mri.inference.slice_inferer import SliceTranslationInferer
from seq2seq_mri.networks.classifier import build_classifier
from seq2seq_mri.networks.generator import Seq2SeqGenerator
from seq2seq_studies.alphabet.alphabet import ALPHABET_SEQUENCES
from seq2seq_studies.alphabet.alphabet_experiment import (
    AlphabetExperiment,
    format_letter_differentiation,
    letter_differentiation,
)


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


def test_goes_on_and_adds_seeds_and_writes_tables_and_figures(experiment, tmp_path):
    first = experiment(seeds=[0]).run()
    maps = (tmp_path / "maps" / "testing" / "00000000.image.npy").stat().st_mtime_ns
    table = experiment().run()
    assert (tmp_path / "maps" / "testing" / "00000000.image.npy").stat().st_mtime_ns == maps
    merged = table.merge(first, on=["label", "inputs", "size", "seed"], suffixes=("", "_first"))
    assert len(merged) == len(first)
    assert merged["accuracy"].tolist() == merged["accuracy_first"].tolist()
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


def letters(own: tuple[float, float], common: tuple[float, float]) -> dict:
    """A subject of 3 x 5 pixels: own letter of x1, own letter of x2 (one pixel is both), common letter, background."""
    masks, maps = np.zeros((3, 3, 5, 1), dtype=np.uint8), np.zeros((2, 3, 5, 1), dtype=np.float16)
    masks[0, 0, :2] = masks[1, 0, 1:3] = masks[2, 2, :] = 1
    maps[0, 0, :3], maps[1, 0, :3] = own
    maps[0, 2], maps[1, 2] = common
    return {"masks": masks, "differentiation": maps}


def test_means_inside_the_letters():
    subjects = [letters((0.75, 0.5), (0.125, 0.25)), letters((0.5, 0.25), (0.125, 0.5))]
    table = letter_differentiation(subjects)
    expected = [["x1", 0.625, 0.125, 5.0, 1.0, 2], ["x2", 0.375, 0.375, 1.0, 0.5, 2]]
    assert table[["image", "differing", "common", "ratio", "right", "n"]].to_numpy().tolist() == expected
    assert "| x1 | 2 | 0.6250 | 0.1250 | 5.0 | 100.0 % |" in format_letter_differentiation(table)
