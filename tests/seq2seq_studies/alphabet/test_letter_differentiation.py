# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import numpy as np
import pytest

from seq2seq_studies.alphabet.letter_differentiation import format_letter_differentiation, letter_differentiation


def sample(values: tuple[float, ...]) -> dict:
    """A subject of 3 x 5 pixels: own letter of x1, own letter of x2 (one pixel is both), common letter, background."""
    masks, maps = np.zeros((3, 3, 5, 1), dtype=np.uint8), np.zeros((2, 3, 5, 1), dtype=np.float16)
    masks[0, 0, :2] = masks[1, 0, 1:3] = masks[2, 2, :] = 1
    first, second, common_first, common_second = values
    maps[0, 0, :3], maps[1, 0, :3] = first, second
    maps[0, 2], maps[1, 2] = common_first, common_second
    return {"masks": masks, "differentiation": maps}


def test_means_inside_the_letters():
    table = letter_differentiation([sample((0.75, 0.5, 0.125, 0.25)), sample((0.5, 0.25, 0.125, 0.5))], ["x1", "x2"])
    assert table["image"].tolist() == ["x1", "x2"]
    np.testing.assert_allclose(table["differing"], [0.625, 0.375])
    np.testing.assert_allclose(table["common"], [0.125, 0.375])
    np.testing.assert_allclose(table["ratio"], [5.0, 1.0])
    assert table["right"].tolist() == [1.0, 0.5]
    assert table["n"].tolist() == [2, 2]
    text = format_letter_differentiation(table)
    assert "| x1 | 2 | 0.6250 | 0.1250 | 5.0 | 100.0 % |" in text


def test_nobody_to_measure_on():
    with pytest.raises(ValueError, match="no subject of the alphabet task"):
        letter_differentiation([], ["x1", "x2"])
