# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import pytest
import torch

from seq2seq_mri.networks.generator import Seq2SeqGenerator

SEQUENCES = {"t1": 1, "dce": 3, "t2": 1}


def small_generator(spatial_dims: int) -> Seq2SeqGenerator:
    torch.manual_seed(0)
    generator = Seq2SeqGenerator(
        spatial_dims,
        SEQUENCES,
        in_channels=3 if spatial_dims == 2 else 1,
        channels=(3, 4, 5),
        num_res_blocks=1,
        lstm_layers=1,
        code_channels=6,
        weight_code_channels=2,
        output_activation="sigmoid",
    )
    return generator.eval()


@pytest.fixture(scope="session")
def generator() -> Seq2SeqGenerator:
    """A small 2.5D generator of three sequences, one of them with three timepoints."""
    return small_generator(2)


@pytest.fixture(scope="session")
def volume_generator() -> Seq2SeqGenerator:
    """The same in 3D."""
    return small_generator(3)
