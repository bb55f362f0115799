# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Channels of a classifier by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from seq2seq_mri.transforms.select_channels import SelectChannelsd, count_channels, input_sequences, map_sequences

TABLE = {"t1": 1, "dce": 3, "t2_md": 1}


def sample(**changes):
    image, maps = torch.rand(2, 5, 4, 3, 2, generator=torch.Generator().manual_seed(0))
    image = MetaTensor(image, meta={"filename": "p1.nii.gz"})
    return {"subject": "p1", "image": image, "differentiation": maps.half(), "available": torch.ones(3)} | changes


def test_channels_in_the_given_order() -> None:
    data = sample()
    names = ["dce_md", "t1", "t2_md", "dce"]
    selected = SelectChannelsd(names, TABLE)(data)
    image, maps = data["image"].as_tensor(), data["differentiation"].float()
    assert torch.equal(selected["image"].as_tensor(), torch.cat([maps[1:4], image[0:1], image[4:5], image[1:4]]))
    assert selected["image"].meta["filename"] == "p1.nii.gz"
    assert selected["image"].dtype == torch.float32
    assert len(selected["image"]) == count_channels(names, TABLE) == 8
    assert input_sequences(names, TABLE) == list(TABLE)
    assert map_sequences(names, TABLE) == ["dce"]


def test_a_sequence_wins_over_the_suffix_and_its_own_map_is_reached() -> None:
    data = sample()
    assert torch.equal(SelectChannelsd(["t2_md_md"], TABLE)(data)["image"].as_tensor(), data["differentiation"][4:5])
    assert map_sequences(["t1", "t2_md"], TABLE) == []
    assert input_sequences(["t2_md_md"], TABLE) == map_sequences(["t2_md_md"], TABLE) == ["t2_md"]


def test_arrays() -> None:
    arrays = {name: sample()[name].numpy() for name in ("image", "differentiation")}
    selected = SelectChannelsd("t1_md", TABLE)(arrays)["image"]
    assert isinstance(selected, np.ndarray)
    np.testing.assert_array_equal(selected, arrays["differentiation"][:1].astype(np.float32))


def test_missing_sequence() -> None:
    data = sample(available=torch.tensor([True, False, True]))
    with pytest.raises(ValueError, match="Subject 'p1' does not have the sequence 'dce'"):
        SelectChannelsd(["t1", "dce_md"], TABLE)(data)
    selected = SelectChannelsd(["t1", "dce_md", "dce"], TABLE, missing="zeros")(data)["image"]
    assert torch.equal(selected[:1].as_tensor(), data["image"][:1].as_tensor())
    assert not selected[1:].any()
    # What is withheld and loaded all the same does not reach the classifier.
    assert SelectChannelsd(["t1"], TABLE)(data)["image"].shape[0] == 1


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "no input"),
        (["flair"], r"Unknown channel 'flair'; choose from t1, dce, t2_md, with '_md'"),
        (["flair_md"], "Unknown channel 'flair_md'"),
        (["t1", "dce", "t1"], "'t1' is given twice"),
    ],
)
def test_wrong_names(names, message) -> None:
    with pytest.raises(ValueError, match=message):
        SelectChannelsd(names, TABLE)


def test_wrong_data() -> None:
    with pytest.raises(ValueError, match="missing is 'skip'"):
        SelectChannelsd(["t1"], TABLE, missing="skip")
    without = {name: value for name, value in sample().items() if name != "differentiation"}
    with pytest.raises(ValueError, match="Subject 'p1' has no 'differentiation'"):
        SelectChannelsd(["t1", "t1_md"], TABLE)(without)
    assert len(SelectChannelsd(["t1"], TABLE)(without)["image"]) == 1
