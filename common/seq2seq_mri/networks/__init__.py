# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Networks: the generator of the paper, its parts, what it is compared with, the discriminators, and the classifier."""

from __future__ import annotations

from seq2seq_mri.networks.classifier import build_classifier
from seq2seq_mri.networks.collapsed import CollapsedGenerator
from seq2seq_mri.networks.conditional_discriminator import ConditionalDiscriminator
from seq2seq_mri.networks.conv_lstm import ConvLSTM
from seq2seq_mri.networks.decoder import HyperDecoder
from seq2seq_mri.networks.discriminator import SequenceDiscriminators
from seq2seq_mri.networks.encoder import Encoder
from seq2seq_mri.networks.generator import Seq2SeqGenerator
from seq2seq_mri.networks.hyper_conv import HyperConv
from seq2seq_mri.networks.many_to_many import ManyToMany
from seq2seq_mri.networks.mean_translation import MeanTranslation
from seq2seq_mri.networks.mm_gan import MMGAN
from seq2seq_mri.networks.pix2pix import Pix2Pix
from seq2seq_mri.networks.resvit import ResViT

__all__ = [
    "MMGAN",
    "CollapsedGenerator",
    "ConditionalDiscriminator",
    "ConvLSTM",
    "Encoder",
    "HyperConv",
    "HyperDecoder",
    "ManyToMany",
    "MeanTranslation",
    "Pix2Pix",
    "ResViT",
    "Seq2SeqGenerator",
    "SequenceDiscriminators",
    "build_classifier",
]
