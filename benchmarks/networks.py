# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The networks that are compared: which sizes there are, and in which ways the same weights are run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from torch import nn

from naive_generator import naive_copy
from options import check_network_size
from seq2seq_mri.networks.generator import Seq2SeqGenerator
from seq2seq_mri.networks.winograd import use_winograd

__all__ = ["AUTOCAST", "BRAIN", "VARIANTS", "build_generator", "inference_network", "variant_dtype"]

BRAIN = {"t1": 1, "t1gd": 1, "t2": 1, "flair": 1}

#: How a translation is computed, and the type of the weights.
VARIANTS = {
    "naive": "float32",
    "naive bf16": "bfloat16",
    "generator": "float32",
    "specialised": "float32",
    "winograd": "float32",
    "bf16": "bfloat16",
}

#: The variants of whole programs, which this project's autocast runs, and its type.
AUTOCAST = {"naive": None, "fp32": None, "bf16": "bfloat16"}

BUNDLE_CONFIG = Path(__file__).resolve().parents[1] / "bundles" / "seq2seq_brats" / "configs" / "inference.json"


def build_generator(size: str, sequences: Mapping[str, int] | None = None, spatial_dims: int = 2) -> Seq2SeqGenerator:
    """Return a generator with random weights, always the same ones.

    Args:
        size: one of :data:`options.SIZES`.
        sequences: the sequence table; the four of the brain by default.
        spatial_dims: 2 (an axial slice between its neighbours) or 3 (one channel).

    Raises:
        ValueError: when there is no such size.
    """
    check_network_size(size=size)
    sequences = dict(BRAIN if sequences is None else sequences)
    in_channels = 3 if spatial_dims == 2 else 1
    torch.manual_seed(0)
    if size == "published":
        return Seq2SeqGenerator(spatial_dims, sequences, in_channels, upsample="first").eval()
    if size == "bundle":
        parser = ConfigParser()
        parser.read_config(str(BUNDLE_CONFIG))
        definition = {"spatial_dims": spatial_dims, "sequences": sequences, "in_channels": in_channels}
        parser.update({f"network_def::{key}": value for key, value in definition.items()})
        return parser.get_parsed_content("network_def").eval()
    sizes: dict[str, Any] = {"channels": (4, 6), "num_res_blocks": 1, "lstm_layers": 1, "code_channels": 16}
    return Seq2SeqGenerator(spatial_dims, sequences, in_channels, **sizes, weight_code_channels=2).eval()


def variant_dtype(variant: str) -> torch.dtype:
    """Return the type that a variant computes in."""
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[VARIANTS[variant]]


def inference_network(variant: str, generator: Seq2SeqGenerator, targets: Sequence[str]) -> nn.Module:
    """Return the network of a variant, without gradients.

    Args:
        variant: ``naive`` and ``naive bf16``, the plain network; ``generator``, this project's, with its HyperConvs;
            ``specialised``, the same specialised to ``targets``; ``winograd``, that with Winograd's 3 × 3 convolutions
            (CPU and 2D only); ``bf16``, the specialised one in bfloat16.
        generator: whose weights all of them have.
        targets: the sequences that will be made.
    """
    if variant.startswith("naive"):
        return naive_copy(generator).to(variant_dtype(variant)).requires_grad_(False)
    if variant == "generator":
        return generator
    specialised: nn.Module = generator.specialise(targets)
    if variant == "winograd":
        specialised = use_winograd(specialised)
    return specialised.to(variant_dtype(variant))
