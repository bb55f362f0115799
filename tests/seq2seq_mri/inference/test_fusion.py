# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

from seq2seq_mri.inference.fusion import AdjacencyFusion, MeanFusion, fusion_by_name

NAMES = ["t1", "t2", "flair"]


@pytest.fixture
def adjacency() -> pd.DataFrame:
    values = [[0, 1, math.log(3)], [-1, 0, 0], [0.5, np.nan, 0]]
    return pd.DataFrame(values, index=pd.Index(NAMES, name="source"), columns=NAMES)


def test_mean_in_closed_form():
    predictions = torch.tensor([[[0.1, 0.5]], [[0.4, 0.5]], [[0.7, 0.5]]], dtype=torch.float64)
    fused, deviation = MeanFusion()(predictions, NAMES, "t1gd")
    torch.testing.assert_close(fused, torch.tensor([[0.4, 0.5]], dtype=torch.float64))
    torch.testing.assert_close(deviation, torch.tensor([[math.sqrt(0.06), 0]], dtype=torch.float64))


def test_adjacency_in_closed_form(adjacency):
    """A of log 3 and 0 weighs 3 : 1."""
    predictions = torch.tensor([[0.2], [0.6]], dtype=torch.float64)
    fused, deviation = AdjacencyFusion(adjacency)(predictions, ["t1", "t2"], "flair")
    assert fused.item() == pytest.approx(0.75 * 0.2 + 0.25 * 0.6)
    assert deviation.item() == pytest.approx(math.sqrt(0.75 * 0.25) * 0.4)


def test_weights_follow_the_order_of_the_sources(adjacency):
    fusion = AdjacencyFusion(adjacency)
    assert fusion.weights(["t2", "t1"], "flair").tolist() == pytest.approx([0.25, 0.75])


def test_unmeasured_pairs_are_average(adjacency):
    weights = AdjacencyFusion(adjacency).weights(["t1", "flair"], "t2")
    assert weights.tolist() == pytest.approx([math.e / (1 + math.e), 1 / (1 + math.e)])


@pytest.mark.parametrize("sources", [["t1"], ["flair"]])
def test_one_source_does_not_disagree(adjacency, sources):
    predictions = torch.rand(1, 2, 5, 3)
    for fusion in (MeanFusion(), AdjacencyFusion(adjacency)):
        fused, deviation = fusion(predictions, sources, "flair")
        torch.testing.assert_close(fused, predictions[0])
        assert (deviation == 0).all()


def test_target_among_the_sources(adjacency):
    assert MeanFusion().weights(NAMES, "t2").tolist() == [0.5, 0, 0.5]
    assert MeanFusion(include_target=True).weights(NAMES, "t2").tolist() == pytest.approx([1 / 3] * 3)
    assert AdjacencyFusion(adjacency).weights(NAMES, "flair").tolist() == pytest.approx([0.75, 0.25, 0])
    included = AdjacencyFusion(adjacency, include_target=True).weights(NAMES, "flair")
    assert included.tolist() == pytest.approx([0.6, 0.2, 0.2])


def test_by_name(adjacency, tmp_path):
    path = tmp_path / "adjacency.csv"
    adjacency.to_csv(path)
    assert isinstance(fusion_by_name("mean"), MeanFusion)
    fusion = fusion_by_name(path, include_target=True)
    assert fusion.include_target
    assert fusion.weights(["t1", "t2"], "flair").tolist() == pytest.approx([0.75, 0.25])


def test_mistakes(adjacency, tmp_path):
    with pytest.raises(ValueError, match="adjacency table does not have t1gd"):
        AdjacencyFusion(adjacency).weights(["t1gd", "t1"], "t2")
    with pytest.raises(ValueError, match="adjacency table does not have t1gd"):
        AdjacencyFusion(adjacency).weights(["t1"], "t1gd")
    with pytest.raises(FileNotFoundError, match="fusion 'average' is neither 'mean' nor"):
        fusion_by_name("average")
    broken = tmp_path / "adjacency.csv"
    broken.write_text("source,t1\nt1,high\n")
    with pytest.raises(ValueError, match=r"adjacency\.csv"):
        fusion_by_name(broken)
