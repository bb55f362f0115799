# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import pytest
from engine_parts import tiny_generator

from seq2seq_mri.networks.generator import Seq2SeqGenerator


@pytest.fixture(scope="session")
def generator() -> Seq2SeqGenerator:
    """A small 2.5D generator of t1, dce (three timepoints) and t2, whose images are within (0, 1)."""
    return tiny_generator(output_activation="sigmoid").eval()


@pytest.fixture(scope="session")
def volume_generator() -> Seq2SeqGenerator:
    """The same in 3D."""
    return tiny_generator(spatial_dims=3, output_activation="sigmoid").eval()
