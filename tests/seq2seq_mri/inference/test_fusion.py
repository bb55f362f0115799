# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

from seq2seq_mri.inference.fusion import AdjacencyFusion, MeanFusion, fusion_by_name

NAMES = ["t1", "t2", "flair"]
VALUES = [[0, 1, math.log(3)], [-1, 0, 0], [0.5, np.nan, 0]]
ADJACENCY = pd.DataFrame(VALUES, index=pd.Index(NAMES, name="source"), columns=NAMES)


def test_mean_in_closed_form():
    predictions = torch.tensor([[[0.1, 0.5]], [[0.4, 0.5]], [[0.7, 0.5]]], dtype=torch.float64)
    fused, deviation = MeanFusion()(predictions, NAMES, "t1gd")
    torch.testing.assert_close(fused, torch.tensor([[0.4, 0.5]], dtype=torch.float64))
    torch.testing.assert_close(deviation, torch.tensor([[math.sqrt(0.06), 0]], dtype=torch.float64))


def test_adjacency_in_closed_form():
    """A of log 3 and 0 weighs 3 : 1."""
    predictions = torch.tensor([[0.2], [0.6]], dtype=torch.float64)
    fused, deviation = AdjacencyFusion(ADJACENCY)(predictions, ["t1", "t2"], "flair")
    assert fused.item() == pytest.approx(0.75 * 0.2 + 0.25 * 0.6)
    assert deviation.item() == pytest.approx(math.sqrt(0.75 * 0.25) * 0.4)


@pytest.mark.parametrize(
    ("fusion", "sources", "target", "expected"),
    [
        (AdjacencyFusion(ADJACENCY), ["t2", "t1"], "flair", [0.25, 0.75]),
        # A pair that was not measured is an average one.
        (AdjacencyFusion(ADJACENCY), ["t1", "flair"], "t2", [math.e / (1 + math.e), 1 / (1 + math.e)]),
        # The target itself does not count.
        (AdjacencyFusion(ADJACENCY), NAMES, "flair", [0.75, 0.25, 0]),
        (MeanFusion(), NAMES, "t2", [0.5, 0, 0.5]),
    ],
)
def test_weights(fusion, sources, target, expected):
    assert fusion.weights(sources, target).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("sources", [["t1"], ["flair"]])
def test_one_source_does_not_disagree(sources):
    predictions = torch.rand(1, 2, 5, 3)
    for fusion in (MeanFusion(), AdjacencyFusion(ADJACENCY)):
        fused, deviation = fusion(predictions, sources, "flair")
        torch.testing.assert_close(fused, predictions[0])
        assert (deviation == 0).all()


def test_by_name(tmp_path):
    ADJACENCY.to_csv(tmp_path / "adjacency.csv")
    assert isinstance(fusion_by_name("mean"), MeanFusion)
    fusion = fusion_by_name(tmp_path / "adjacency.csv")
    assert fusion.weights(["t1", "t2"], "flair").tolist() == pytest.approx([0.75, 0.25])


def test_mistakes(tmp_path):
    for sources, target in ((["t1gd", "t1"], "t2"), (["t1"], "t1gd")):
        with pytest.raises(ValueError, match="adjacency table does not have t1gd"):
            AdjacencyFusion(ADJACENCY).weights(sources, target)
    with pytest.raises(FileNotFoundError, match="fusion 'average' is neither 'mean' nor"):
        fusion_by_name("average")
    broken = tmp_path / "adjacency.csv"
    broken.write_text("source,t1\nt1,high\n")
    with pytest.raises(ValueError, match=r"adjacency\.csv"):
        fusion_by_name(broken)
