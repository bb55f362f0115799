# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The generator, which translates any MRI sequence into any other, and its form for fixed targets.

Source: Han et al., Synthesis-based imaging-differentiation representation learning for multi-sequence 3D/4D MRI,
Medical Image Analysis 2024 (Seq2Seq).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from seq2seq_mri.networks.blocks import Encoder
from seq2seq_mri.networks.conditioning import Conditioning
from seq2seq_mri.networks.conv_lstm import HIDDEN_SCALE, ConvLSTM
from seq2seq_mri.networks.decoder import Decoder, SpecialisedDecoder
from seq2seq_mri.networks.functional import crop_to, pad_to_multiple
from seq2seq_mri.sequences import check_sequences, sequence_codes, sequence_index

__all__ = ["Seq2SeqGenerator", "SequenceTranslator", "SpecialisedGenerator"]


class SequenceTranslator(nn.Module):
    """An encoder, a ConvLSTM for the source's timepoints, one for the target's, and a decoder.

    An image is encoded timepoint by timepoint; a ConvLSTM reads the timepoints and the mean of its outputs is the
    encoding. A second ConvLSTM unrolls it to the target's timepoints, and the decoder, conditioned on the target's
    one-hot code, makes the image. Only that last step sees the target, so the others can be shared by all targets:

    - :meth:`encode` once per source,
    - :meth:`unroll` once per source and number of timepoints,
    - :meth:`decode` once per target.

    Args:
        sequences: the sequence table, name to number of timepoints. A target code is one-hot in its order.
        encoder: images to F feature channels.
        encoder_lstm: of F channels.
        decoder_lstm: of F channels.
        decoder: features and codes to images.
        default_target: position in the table of the sequence that :meth:`forward` makes when no target is given.
    """

    def __init__(
        self,
        sequences: Mapping[str, int],
        encoder: Encoder,
        encoder_lstm: ConvLSTM,
        decoder_lstm: ConvLSTM,
        decoder: Decoder | SpecialisedDecoder,
        default_target: int = 0,
    ) -> None:
        super().__init__()
        self.sequences = dict(sequences)
        self.timepoints = list(self.sequences.values())
        self.spatial_dims = encoder.spatial_dims
        self.in_channels = encoder.in_channels
        self.reduction = encoder.reduction
        self.encoder = encoder
        self.encoder_lstm = encoder_lstm
        self.decoder_lstm = decoder_lstm
        self.decoder = decoder
        self.default_target = default_target

    @torch.jit.export
    def encode(self, image: torch.Tensor) -> torch.Tensor:
        """Return the features ``(B, F, *reduced)`` of a source; nothing in them depends on the target.

        Args:
            image: ``(B, T, in_channels, *spatial)``, any T, any spatial size above the reduction (4 by default);
                reduced is spatial / reduction, rounded up.

        Raises:
            ValueError: when the image's shape does not fit.
        """
        if image.dim() != self.spatial_dims + 3 or image.shape[2] != self.in_channels:
            raise ValueError(
                f"An image (batch, timepoints, {self.in_channels} channels, {self.spatial_dims} spatial dimensions) is "
                f"needed, got shape {list(image.shape)}."
            )
        if min(image.shape[3:]) <= self.reduction:
            raise ValueError(
                f"Every spatial size must be at least {self.reduction + 1}, got shape {list(image.shape)}."
            )
        frames = pad_to_multiple(image.flatten(0, 1), self.reduction, mode="reflect")
        outputs, _ = self.encoder_lstm(self.encoder(frames).unflatten(0, image.shape[:2]))
        # The mean over a single timepoint would only be a copy.
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs.mean(dim=1)

    @torch.jit.export
    def unroll(self, features: torch.Tensor, timepoints: int) -> torch.Tensor:
        """Return an encoding ``(B, F, *reduced)`` unrolled to the target's timepoints, ``(B, T, F, *reduced)``."""
        outputs, _ = self.decoder_lstm(features.unsqueeze(1), None, timepoints)
        return outputs

    @torch.jit.export
    def decode(
        self, unrolled: torch.Tensor, target: torch.Tensor, spatial_size: list[int], runs: list[int] | None = None
    ) -> torch.Tensor:
        """Return the target's images ``(B, T, in_channels, *spatial_size)``.

        Args:
            unrolled: ``(B, T, F, *reduced)`` from :meth:`unroll`.
            target: one-hot codes ``(B, S)``, ``(1, S)`` for the whole batch, or ``(K, S)`` for K runs.
            spatial_size: spatial size of the source image, to which the result is cropped.
            runs: how many consecutive samples share each target, K numbers with the sum B; None for one each.
        """
        batch_and_time = unrolled.shape[:2]
        frames = None if runs is None else [run * batch_and_time[1] for run in runs]
        image = self.decoder(unrolled.flatten(0, 1), target.to(unrolled.dtype), frames)
        return crop_to(image, spatial_size).unflatten(0, batch_and_time)

    def forward(self, image: torch.Tensor, target: torch.Tensor | None = None) -> torch.Tensor:
        """Translate images into target sequences.

        Args:
            image: ``(B, T, in_channels, *spatial)``, or ``(B, in_channels, *spatial)`` for one timepoint.
            target: one-hot codes ``(B, S)``, or ``(1, S)`` for the whole batch; None for the default target.
                Targets of one batch must have equal numbers of timepoints.

        Returns:
            Images ``(B, T_target, in_channels, *spatial)``, without the time axis when the input had none and the
            target has one timepoint.

        Raises:
            ValueError: when a shape does not fit, or the targets have different numbers of timepoints.
        """
        without_time = image.dim() == self.spatial_dims + 2
        if without_time:
            image = image.unsqueeze(1)
        if target is None:
            target = F.one_hot(torch.tensor([self.default_target], device=image.device), len(self.timepoints))
            target = target.to(image.dtype)
            timepoints = self.timepoints[self.default_target]
        else:
            timepoints = self._target_timepoints(target, image.shape[0])
        output = self.decode(self.unroll(self.encode(image), timepoints), target, list(image.shape[3:]), None)
        return output.squeeze(1) if without_time and timepoints == 1 else output

    def _target_timepoints(self, target: torch.Tensor, batch_size: int) -> int:
        count = len(self.timepoints)
        if target.dim() != 2 or target.shape[1] != count or (target.shape[0] != 1 and target.shape[0] != batch_size):
            raise ValueError(
                f"A target of shape [{batch_size}, {count}] or [1, {count}] is needed, got {list(target.shape)}."
            )
        if min(self.timepoints) == max(self.timepoints):
            # Nothing to read from the target: this keeps the graph free of values, for torch.export.
            return self.timepoints[0]
        indices: list[int] = target.argmax(dim=1).tolist()  # at once: a GPU is waited for
        wanted = [self.timepoints[index] for index in indices]
        if min(wanted) != max(wanted):
            raise ValueError(f"The targets of one batch must have equal numbers of timepoints, got {wanted}.")
        return wanted[0]


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
        upsample: ``"last"``: the paper; ``"first"``: the released code. See :class:`Decoder`.
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
            sequences,
            encoder=Encoder(spatial_dims, in_channels, channels, num_res_blocks),
            encoder_lstm=ConvLSTM(spatial_dims, width, width, lstm_layers, input_scale=encoder_scale),
            decoder_lstm=ConvLSTM(spatial_dims, width, width, lstm_layers, input_scale=HIDDEN_SCALE),
            decoder=Decoder(
                Conditioning(conditioning, spatial_dims, code_channels, weight_code_channels),
                in_channels,
                channels,
                num_res_blocks,
                upsample,
                output_activation,
            ),
        )
        self.decoder: Decoder

    def specialise(self, targets: Sequence[str] | None = None) -> SpecialisedGenerator:
        """Return the network that this one is for fixed targets, by default all: see :class:`SpecialisedGenerator`."""
        return SpecialisedGenerator(self, list(self.sequences) if targets is None else targets)


class SpecialisedGenerator(SequenceTranslator):
    """A generator for fixed targets: the same images without HyperConv banks.

    The kernels of a HyperConv depend on the target only. Here they are computed once, so that each target has a plain
    decoder, of a sixteenth of the size of the conditional one: specialised to one target, the published network has 43
    instead of 155 million parameters. It has the methods of the generator that it was made of, is meant for inference
    (no parameter has a gradient) and may be converted to another precision as a whole, scripted and exported.

    Args:
        generator: copied, with its weights as they are now.
        targets: names of sequences of its table, without repetition; the first is the default target.

    Raises:
        ValueError: when there is no target, or one is unknown or named twice.
    """

    def __init__(self, generator: Seq2SeqGenerator, targets: Sequence[str]) -> None:
        if len(targets) == 0 or len(set(targets)) < len(targets):
            raise ValueError(f"A generator is specialised to one or more different targets, got {list(targets)}.")
        codes = sequence_codes(generator.sequences, targets).to(next(generator.parameters()))
        decoders = {name: generator.decoder.specialise(code[None]) for name, code in zip(targets, codes, strict=True)}
        super().__init__(
            generator.sequences,
            encoder=copy.deepcopy(generator.encoder),
            encoder_lstm=copy.deepcopy(generator.encoder_lstm),
            decoder_lstm=copy.deepcopy(generator.decoder_lstm),
            decoder=SpecialisedDecoder(decoders, generator.sequences),
            default_target=sequence_index(generator.sequences, targets[0]),
        )
        self.targets = list(targets)
        self.requires_grad_(False)
        self.eval()
        if next(generator.parameters()).device.type == "cpu":
            # Convolutions then need not bring the kernels into the format of their input.
            self.to(memory_format=torch.channels_last if self.spatial_dims == 2 else torch.channels_last_3d)
