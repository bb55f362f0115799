# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The generator: any MRI sequence into any other, 3D or 4D.

Source: Han et al., Synthesis-based imaging-differentiation representation learning for multi-sequence 3D/4D MRI,
Medical Image Analysis 2024 (Seq2Seq).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from seq2seq_mri.networks.blocks import Encoder
from seq2seq_mri.networks.conv_lstm import HIDDEN_SCALE, ConvLSTM
from seq2seq_mri.networks.decoder import HyperDecoder
from seq2seq_mri.sequences import check_sequences

if TYPE_CHECKING:
    from seq2seq_mri.networks.specialised import SpecialisedGenerator

__all__ = ["Seq2SeqGenerator", "SequenceTranslator"]


class SequenceTranslator(nn.Module):
    """An encoder, a ConvLSTM for the source's timepoints, one for the target's, and a decoder.

    An image is encoded timepoint by timepoint; a ConvLSTM reads the timepoints and the mean of its outputs is the
    encoding. A second ConvLSTM unrolls it to the target's timepoints, and the decoder, conditioned on the target's
    one-hot code, makes the image. Only that last step sees the target, so the others can be shared by all targets:

    - :meth:`encode` once per source,
    - :meth:`unroll` once per source and number of timepoints,
    - :meth:`decode` once per target.

    Args:
        spatial_dims: 2 or 3.
        sequences: the sequence table, name to number of timepoints. A target code is one-hot in its order.
        in_channels: channels of an image.
        reduction: by how much the encoder reduces each spatial size.
        encoder: ``(N, in_channels, *spatial)`` to ``(N, F, *reduced)``.
        encoder_lstm: a :class:`ConvLSTM` of F channels.
        decoder_lstm: another one.
        decoder: ``(N, F, *reduced)``, codes ``(K, S)`` and runs of samples to ``(N, in_channels, *spatial)``, see
            :class:`HyperDecoder`.
        default_target: position in the table of the sequence that :meth:`forward` makes when no target is given.
    """

    def __init__(
        self,
        spatial_dims: int,
        sequences: Mapping[str, int],
        in_channels: int,
        reduction: int,
        encoder: nn.Module,
        encoder_lstm: nn.Module,
        decoder_lstm: nn.Module,
        decoder: nn.Module,
        default_target: int = 0,
    ) -> None:
        super().__init__()
        self.spatial_dims = spatial_dims
        self.sequences = check_sequences(sequences)
        self.timepoints = list(self.sequences.values())
        self.in_channels = in_channels
        self.reduction = reduction
        self.encoder = encoder
        self.encoder_lstm = encoder_lstm
        self.decoder_lstm = decoder_lstm
        self.decoder = decoder
        self.default_target = default_target

    @torch.jit.export
    def encode(self, image: torch.Tensor) -> torch.Tensor:
        """Encode a source; nothing in it depends on the target.

        Args:
            image: ``(B, T, in_channels, *spatial)``, any T, any spatial size above the reduction (4 by default).

        Returns:
            Features ``(B, channels[-1], *reduced)``; reduced is spatial / reduction, rounded up.

        Raises:
            ValueError: when the image's shape does not fit.
        """
        if image.dim() != self.spatial_dims + 3 or image.shape[2] != self.in_channels:
            raise ValueError(
                f"An image (batch, timepoints, {self.in_channels} channels, {self.spatial_dims} spatial dimensions) is "
                f"needed, got shape {list(image.shape)}."
            )
        padding: list[int] = []
        # F.pad counts from the last dimension.
        for size in image.shape[3:][::-1]:
            if size <= self.reduction:
                raise ValueError(
                    f"Every spatial size must be at least {self.reduction + 1}, got shape {list(image.shape)}."
                )
            padding += [0, -size % self.reduction]
        batch_and_time = image.shape[:2]
        frames = image.flatten(0, 1)
        if sum(padding) > 0:
            frames = F.pad(frames, padding, mode="reflect")
        outputs, _ = self.encoder_lstm(self.encoder(frames).unflatten(0, batch_and_time))
        # The mean over a single timepoint would only be a copy.
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs.mean(dim=1)

    @torch.jit.export
    def unroll(self, features: torch.Tensor, timepoints: int) -> torch.Tensor:
        """Unroll an encoding to a number of timepoints; the same for all targets that have as many.

        Args:
            features: ``(B, F, *reduced)`` from :meth:`encode`.
            timepoints: number of timepoints T of the target.

        Returns:
            Features ``(B, T, F, *reduced)``.
        """
        outputs, _ = self.decoder_lstm(features.unsqueeze(1), None, timepoints)
        return outputs

    @torch.jit.export
    def decode(
        self, unrolled: torch.Tensor, target: torch.Tensor, spatial_size: list[int], runs: list[int] | None = None
    ) -> torch.Tensor:
        """Make the target's image from unrolled features.

        Args:
            unrolled: ``(B, T, F, *reduced)`` from :meth:`unroll`.
            target: one-hot codes ``(B, S)``, ``(1, S)`` for the whole batch, or ``(K, S)`` for K runs.
            spatial_size: spatial size of the source image, to which the result is cropped.
            runs: how many consecutive samples share each target, K numbers with the sum B; None for one each.

        Returns:
            Images ``(B, T, in_channels, *spatial_size)`` in the range of the output activation.

        Raises:
            ValueError: when the target's shape does not fit.
        """
        batch, timepoints = unrolled.shape[:2]
        self._check_target(target, batch if runs is None else len(runs))
        if len(spatial_size) != self.spatial_dims:
            raise ValueError(f"spatial_size needs {self.spatial_dims} numbers, got {spatial_size}.")
        frames: list[int] | None = None
        if runs is not None:
            frames = [run * timepoints for run in runs]
        image = self.decoder(unrolled.flatten(0, 1), target.to(unrolled.dtype), frames).unflatten(
            0, (batch, timepoints)
        )
        for axis, size in enumerate(spatial_size):
            image = image.narrow(axis + 3, 0, size)
        return image

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
            self._check_target(target, image.shape[0])
            timepoints = self._target_timepoints(target)
        output = self.decode(self.unroll(self.encode(image), timepoints), target, list(image.shape[3:]), None)
        return output.squeeze(1) if without_time and timepoints == 1 else output

    def _check_target(self, target: torch.Tensor, batch_size: int) -> None:
        count = len(self.timepoints)
        if target.dim() != 2 or target.shape[1] != count or (target.shape[0] != 1 and target.shape[0] != batch_size):
            raise ValueError(
                f"A target of shape [{batch_size}, {count}] or [1, {count}] is needed, got {list(target.shape)}."
            )

    def _target_timepoints(self, target: torch.Tensor) -> int:
        timepoints = self.timepoints[0]
        if min(self.timepoints) == max(self.timepoints):
            # Nothing to read from the target: this keeps the graph free of values, for torch.export.
            return timepoints
        indices: list[int] = target.argmax(dim=1).tolist()
        timepoints = self.timepoints[indices[0]]
        for index in indices:
            if self.timepoints[index] != timepoints:
                raise ValueError(
                    "The targets of one batch must have equal numbers of timepoints, "
                    f"got {[self.timepoints[i] for i in indices]}."
                )
        return timepoints


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
        >>> import torch
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

    def specialise(self, targets: Sequence[str] | None = None) -> SpecialisedGenerator:
        """Return the network that this one is for fixed targets: their kernels are computed once and kept.

        Args:
            targets: names of sequences of the table; all of it by default.

        Returns:
            A network of its own, with copies of the weights as they are now and without gradients.
        """
        from seq2seq_mri.networks.specialised import SpecialisedGenerator  # which is derived from the same base

        return SpecialisedGenerator(self, list(self.sequences) if targets is None else list(targets))
