# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""A generator small enough for the slow reference."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from seq2seq_mri.networks.generator import Seq2SeqGenerator

FOUR = {"t1": 1, "t1gd": 1, "t2": 1, "flair": 1}


def small(spatial_dims: int = 2, sequences: Mapping[str, int] = FOUR, **options) -> Seq2SeqGenerator:
    """Return one with weights that are always the same; ``options`` are arguments of :class:`Seq2SeqGenerator`."""
    torch.manual_seed(0)
    sizes = {"channels": (3, 4, 6), "lstm_layers": 2, "in_channels": 2, "code_channels": 6, "weight_code_channels": 4}
    generator = Seq2SeqGenerator(spatial_dims, sequences, **{"num_res_blocks": 1, **sizes, **options})
    # Away from its special start, the shared embedding has to be right as well.
    nn.init.normal_(generator.decoder.code_embedding.linear.weight, std=0.5)
    nn.init.normal_(generator.decoder.code_embedding.linear.bias, std=0.5)
    return generator
