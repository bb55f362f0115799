# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The methods that are compared, in the sizes of their publications and in reduced ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seq2seq_mri.networks.generator import Seq2SeqGenerator
from seq2seq_studies.networks.many_to_many import ManyToMany, MeanTranslation
from seq2seq_studies.networks.mm_gan import MMGAN
from seq2seq_studies.networks.pix2pix import Pix2Pix
from seq2seq_studies.networks.resvit import ResViT, TransformerSizes

__all__ = ["BASELINES", "CONDITIONING", "METHODS", "OUTPUT_ACTIVATION", "SIZES", "Size", "build_network", "title"]

#: The trained methods, and how they are written.
METHODS = {
    "pix2pix": "Pix2Pix",
    "mm_gan": "MM-GAN",
    "resvit": "ResViT",
    "seq2seq_a": "Seq2Seq-A (AdaIN)",
    "seq2seq_b": "Seq2Seq-B (dynamic filters)",
    "seq2seq_c": "Seq2Seq-C (hyper)",
}

#: What a method has to beat to be worth its training.
BASELINES = {"copy": "Copy the source", "tissue_mean": "Tissue mean"}

CONDITIONING = {"seq2seq_a": "adain", "seq2seq_b": "dynamic", "seq2seq_c": "hyper"}

#: The last activation of all networks: that of the bundles' generator. With the methods' own, MM-GAN would have a ReLU.
OUTPUT_ACTIVATION = "tanh"


@dataclass(frozen=True)
class Size:
    """The networks of one size.

    Attributes:
        learning_rate: of all methods and their discriminators, at the start; it falls to 0 along a cosine.
        discriminator: arguments of
            :class:`ConditionalDiscriminator`.
        pix2pix, mm_gan, resvit, seq2seq: arguments of the networks.
    """

    learning_rate: float
    discriminator: Mapping[str, Any]
    pix2pix: Mapping[str, Any]
    mm_gan: Mapping[str, Any]
    resvit: Mapping[str, Any]
    seq2seq: Mapping[str, Any]


SIZES = {
    # The networks' default arguments are those of the publications.
    "published": Size(2e-4, {}, {}, {}, {}, {}),
    # A quarter of the width, fewer blocks, and the generator of the bundle's demo.
    "reduced": Size(
        1e-3,
        {"width": 16, "num_layers": 2},
        {"width": 16, "num_res_blocks": 3},
        {"channels": (16, 32, 64, 128, 128)},
        {"width": 16, "transformer": TransformerSizes(128, 192, 384, num_layers=4, num_heads=4, group_sizes=(2, 1))},
        {
            **{"channels": (16, 32), "num_res_blocks": 2, "lstm_layers": 1, "code_channels": 16},
            **{"weight_code_channels": 4, "upsample": "first"},
        },
    ),
    # To try the program.
    "tiny": Size(
        2e-3,
        {"width": 4, "num_layers": 1},
        {"width": 4, "num_res_blocks": 1},
        {"channels": (4, 6, 8)},
        {"width": 4, "transformer": TransformerSizes(8, 8, 8, num_layers=1, num_heads=2, group_sizes=(1,))},
        {
            **{"channels": (4, 6), "num_res_blocks": 1, "lstm_layers": 1, "code_channels": 16},
            "weight_code_channels": 2,
        },
    ),
}


def title(method: str) -> str:
    """Return how a method or baseline is written."""
    return (METHODS | BASELINES)[method]


def build_network(
    method: str, size: str, sequences: Mapping[str, int], in_channels: int, image_size: Sequence[int]
) -> ManyToMany:
    """Return the network of a method, of two spatial dimensions, with random weights.

    Args:
        method: a key of ``METHODS``.
        size: a key of ``SIZES``.
        sequences: the sequence table.
        in_channels: adjacent slices that it is given; the middle one is the result.
        image_size: width and height of the slices it is trained on.

    Raises:
        ValueError: when there is no such method or size.
    """
    if method not in METHODS:
        raise ValueError(f"Unknown method '{method}'; choose from {', '.join(METHODS)}.")
    if size not in SIZES:
        raise ValueError(f"Unknown size '{size}'; choose from {', '.join(SIZES)}.")
    options = SIZES[size]
    if method == "pix2pix":
        return Pix2Pix(2, sequences, in_channels, output_activation=OUTPUT_ACTIVATION, **options.pix2pix)
    if method == "mm_gan":
        return MMGAN(2, sequences, in_channels, output_activation=OUTPUT_ACTIVATION, **options.mm_gan)
    if method == "resvit":
        shape = list(image_size)
        return ResViT(
            2, sequences, in_channels, image_size=shape, output_activation=OUTPUT_ACTIVATION, **options.resvit
        )
    conditioning = CONDITIONING[method]
    return MeanTranslation(
        Seq2SeqGenerator(
            2,
            sequences,
            in_channels,
            conditioning=conditioning,
            output_activation=OUTPUT_ACTIVATION,
            **options.seq2seq,
        )
    )
