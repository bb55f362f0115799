# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Networks: the generator of the paper, its parts, the discriminators, and the classifier."""

from __future__ import annotations

from seq2seq_mri.networks.classifier import build_classifier
from seq2seq_mri.networks.collapsed import CollapsedGenerator
from seq2seq_mri.networks.conv_lstm import ConvLSTM
from seq2seq_mri.networks.decoder import HyperDecoder
from seq2seq_mri.networks.discriminator import SequenceDiscriminators
from seq2seq_mri.networks.encoder import Encoder
from seq2seq_mri.networks.generator import Seq2SeqGenerator
from seq2seq_mri.networks.hyper_conv import HyperConv

__all__ = [
    "CollapsedGenerator",
    "ConvLSTM",
    "Encoder",
    "HyperConv",
    "HyperDecoder",
    "Seq2SeqGenerator",
    "SequenceDiscriminators",
    "build_classifier",
]
