# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The generator: any MRI sequence into any other, 3D or 4D.

Source: Han et al., Synthesis-based imaging-differentiation representation learning for multi-sequence 3D/4D MRI,
Medical Image Analysis 2024 (Seq2Seq).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from seq2seq_mri.networks.collapsed import CollapsedGenerator
from seq2seq_mri.networks.conv_lstm import HIDDEN_SCALE, ConvLSTM
from seq2seq_mri.networks.decoder import HyperDecoder
from seq2seq_mri.networks.encoder import Encoder
from seq2seq_mri.networks.translator import SequenceTranslator
from seq2seq_mri.sequences import check_sequences

__all__ = ["Seq2SeqGenerator"]


class Seq2SeqGenerator(SequenceTranslator):
    """One generator for all pairs of MRI sequences; :class:`SequenceTranslator` says how images pass through.

    The default arguments give the published network.

    Args:
        spatial_dims: 2 or 3.
        sequences: the sequence table, name to number of timepoints. A target code is one-hot in its order.
        in_channels: channels of an image: 3 for an axial slice between its neighbours, 1 for a volume.
        channels: feature channels of the encoder's stem and of each halving of the resolution.
        num_res_blocks: residual blocks in the encoder and in the decoder.
        lstm_layers: layers of each ConvLSTM.
        code_channels: length of the embedded code, at least the number of sequences.
        weight_code_channels: number of kernels in a HyperConv's bank (c_w in the paper).
        upsample: ``"last"``: the paper; ``"first"``: the released code. See :class:`HyperDecoder`.
        conditioning: ``"hyper"`` (Seq2Seq-C), or the ablations ``"adain"`` (-A) and ``"dynamic"`` (-B).
        output_activation: ``"tanh"``, ``"sigmoid"`` or ``"none"``.

    Raises:
        ValueError: when an argument cannot be used; the message names it.

    Example:
        >>> sequences = {"t1": 1, "dce": 4}
        >>> generator = Seq2SeqGenerator(2, sequences, in_channels=1, channels=(4, 6, 8), num_res_blocks=1)
        >>> generator(torch.rand(1, 1, 21, 18), target=torch.tensor([[0.0, 1.0]])).shape
        torch.Size([1, 4, 1, 21, 18])
    """

    def __init__(
        self,
        spatial_dims: int,
        sequences: Mapping[str, int],
        in_channels: int = 3,
        channels: Sequence[int] = (64, 128, 256),
        num_res_blocks: int = 6,
        lstm_layers: int = 3,
        code_channels: int = 64,
        weight_code_channels: int = 16,
        upsample: str = "last",
        conditioning: str = "hyper",
        output_activation: str = "tanh",
    ) -> None:
        if spatial_dims not in (2, 3):
            raise ValueError(f"spatial_dims must be 2 or 3, got {spatial_dims}.")
        if len(channels) < 2:
            raise ValueError(f"channels needs at least two entries, got {tuple(channels)}.")
        sequences = check_sequences(sequences)
        if len(sequences) > code_channels:
            raise ValueError(f"code_channels is {code_channels}, but there are {len(sequences)} sequences.")
        width = channels[-1]
        # Every residual block adds unit variance to the encoder's output.
        encoder_scale = math.sqrt(1.0 + num_res_blocks)
        super().__init__(
            spatial_dims,
            sequences,
            in_channels,
            reduction=2 ** (len(channels) - 1),
            encoder=Encoder(spatial_dims, in_channels, channels, num_res_blocks),
            encoder_lstm=ConvLSTM(spatial_dims, width, width, lstm_layers, input_scale=encoder_scale),
            decoder_lstm=ConvLSTM(spatial_dims, width, width, lstm_layers, input_scale=HIDDEN_SCALE),
            decoder=HyperDecoder(
                spatial_dims,
                in_channels,
                channels,
                num_res_blocks,
                code_channels,
                weight_code_channels,
                upsample,
                conditioning,
                output_activation,
            ),
        )

    def collapse(self, targets: Sequence[str] | None = None) -> CollapsedGenerator:
        """Return the network that this one is for fixed targets: their kernels are computed once and kept.

        Args:
            targets: names of sequences of the table; all of it by default.

        Returns:
            A network of its own, with copies of the weights as they are now and without gradients.

        Raises:
            ValueError: when there is no target, or one is not in the table.
        """
        return CollapsedGenerator(self, list(self.sequences) if targets is None else list(targets))
