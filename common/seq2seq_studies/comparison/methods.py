# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The networks of the compared methods, in the sizes of their publications and in reduced ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seq2seq_mri.networks.generator import Seq2SeqGenerator
from seq2seq_studies.networks.many_to_many import ManyToMany, MeanTranslation
from seq2seq_studies.networks.mm_gan import MMGAN
from seq2seq_studies.networks.pix2pix import Pix2Pix
from seq2seq_studies.networks.resvit import ResViT, TransformerSizes

__all__ = ["BASELINES", "LEARNING_RATES", "METHODS", "OUTPUT_ACTIVATION", "SIZES", "build_network", "title"]

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


#: Size → the learning rate of all methods and their discriminators at the start; it falls to 0 along a cosine.
LEARNING_RATES = {"published": 2e-4, "reduced": 1e-3, "tiny": 2e-3}

#: Size → arguments of the networks and of :class:`ConditionalDiscriminator`; the defaults are those published.
#: ``reduced`` has a quarter of the width, fewer blocks, and the generator of the bundle's demo; ``tiny`` is to try.
SIZES: dict[str, dict[str, dict[str, Any]]] = {
    "published": {"discriminator": {}, "pix2pix": {}, "mm_gan": {}, "resvit": {}, "seq2seq": {}},
    "reduced": {
        "discriminator": {"width": 16, "num_layers": 2},
        "pix2pix": {"width": 16, "num_res_blocks": 3},
        "mm_gan": {"channels": (16, 32, 64, 128, 128)},
        "resvit": {
            "width": 16,
            "transformer": TransformerSizes(128, 192, 384, num_layers=4, num_heads=4, group_sizes=(2, 1)),
        },
        "seq2seq": {
            **{"channels": (16, 32), "num_res_blocks": 2, "lstm_layers": 1, "code_channels": 16},
            **{"weight_code_channels": 4, "upsample": "first"},
        },
    },
    "tiny": {
        "discriminator": {"width": 4, "num_layers": 1},
        "pix2pix": {"width": 4, "num_res_blocks": 1},
        "mm_gan": {"channels": (4, 6, 8)},
        "resvit": {"width": 4, "transformer": TransformerSizes(8, 8, 8, num_layers=1, num_heads=2, group_sizes=(1,))},
        "seq2seq": {
            **{"channels": (4, 6), "num_res_blocks": 1, "lstm_layers": 1, "code_channels": 16},
            "weight_code_channels": 2,
        },
    },
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
    """
    conditioning = CONDITIONING.get(method)
    options = {"output_activation": OUTPUT_ACTIVATION, **SIZES[size]["seq2seq" if conditioning else method]}
    if conditioning:
        return MeanTranslation(Seq2SeqGenerator(2, sequences, in_channels, conditioning=conditioning, **options))
    if method == "resvit":
        return ResViT(2, sequences, in_channels, image_size=list(image_size), **options)
    return (Pix2Pix if method == "pix2pix" else MMGAN)(2, sequences, in_channels, **options)
