# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Activation checkpointing, which saves memory in training by computing activations again when needed."""

from __future__ import annotations

from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

from seq2seq_mri.networks.generator import Seq2SeqGenerator

__all__ = ["checkpoint_activations"]


def checkpoint_activations(generator: Seq2SeqGenerator) -> Seq2SeqGenerator:
    """Make a generator, in place, keep only what enters each of its blocks, and compute the rest again for gradients.

    Outputs and gradients are the same. A training step takes about a third longer and a fraction of the memory, which
    is what volumes (``spatial_dims`` 3) need. Names in the state dict stay; nothing changes without gradients. The
    generator, which is returned, can no longer be scripted.
    """
    encoder, decoder = generator.encoder, generator.decoder
    for layers in (
        encoder.downsampling,
        encoder.residual_blocks,
        generator.encoder_lstm.layers,
        generator.decoder_lstm.layers,
        decoder.residual_blocks,
        decoder.blocks,
    ):
        for name, layer in layers.named_children():
            setattr(layers, name, checkpoint_wrapper(layer))
    for part, name in ((encoder, "stem"), (decoder, "output")):
        setattr(part, name, checkpoint_wrapper(getattr(part, name)))
    return generator
