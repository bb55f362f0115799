# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""A small subject with four sequences and all translations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

SHAPE = (10, 14, 6)
NAMES = ("t1", "t1gd", "t2", "flair")

Subject = tuple[dict[str, np.ndarray], dict[tuple[str, str], np.ndarray]]


@pytest.fixture
def subject() -> Subject:
    """Return (measured images, translations), all positive inside a box that leaves two voxels of air around."""
    generator = np.random.default_rng(0)

    def volume() -> np.ndarray:
        image = np.zeros(SHAPE, dtype=np.float32)
        image[2:-2, 2:-2, 1:-1] = generator.uniform(0.3, 1.0, (SHAPE[0] - 4, SHAPE[1] - 4, SHAPE[2] - 2))
        return image

    truth = {name: volume() for name in NAMES}
    return truth, {(source, target): volume() for source in NAMES for target in NAMES}


@pytest.fixture
def texts() -> Callable:
    """Return a function that gives all that is written in a figure."""

    def collect(figure) -> list[str]:
        from matplotlib.text import Text

        return [text.get_text() for text in figure.findobj(Text) if text.get_text()]

    return collect
