# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The sequence table."""

from __future__ import annotations

from types import MappingProxyType

import pytest
import torch

from seq2seq_mri.sequences import channel_slices, check_sequences, marked_sequences, sequence_codes

BREAST = {"t1": 1, "dce": 6, "dwi": 4}


def test_check_keeps_the_order_and_copies() -> None:
    table = check_sequences(MappingProxyType(BREAST))
    assert list(table.items()) == list(BREAST.items())
    assert table is not BREAST


@pytest.mark.parametrize("timepoints", [0, -1, 1.0, True, "1", None])
def test_check_refuses_no_sequence_and_no_positive_number_of_timepoints(timepoints) -> None:
    with pytest.raises(ValueError, match=r"Sequence 'dce' has .* timepoints; give a positive whole number"):
        check_sequences({"t1": 1, "dce": timepoints})
    with pytest.raises(ValueError, match="sequence table is empty"):
        check_sequences({})


def test_codes_are_one_hot_in_the_order_asked_for() -> None:
    codes = sequence_codes(BREAST, ["dwi", "t1", "dwi"])
    assert codes.dtype == torch.float32
    assert codes.tolist() == [[0, 0, 1], [1, 0, 0], [0, 0, 1]]
    assert sequence_codes({"t1": 1}, ["t1"]).tolist() == [[1]]
    assert sequence_codes(BREAST, []).shape == (0, 3)
    with pytest.raises(ValueError, match="Unknown sequence 'T1'; the sequence table has t1, dce, dwi"):
        sequence_codes(BREAST, ["dce", "T1"])


@pytest.mark.parametrize("kind", [torch.tensor, list])
def test_a_mask_marks_names(kind) -> None:
    assert marked_sequences(BREAST, kind([True, False, True])) == ["t1", "dwi"]
    with pytest.raises(ValueError, match="shorter"):
        marked_sequences(BREAST, kind([True, False]))


def test_slices_tile_the_channels() -> None:
    assert channel_slices(BREAST) == {"t1": slice(0, 1), "dce": slice(1, 7), "dwi": slice(7, 11)}
