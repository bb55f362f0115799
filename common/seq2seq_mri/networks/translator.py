# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The way of an image through the network: encode, recur, render."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import nn

from seq2seq_mri.sequences import check_sequences

__all__ = ["SequenceTranslator"]


class SequenceTranslator(nn.Module):
    """An encoder, a ConvLSTM for the source's timepoints, one for the target's, and a decoder.

    An image is encoded timepoint by timepoint; a ConvLSTM reads the timepoints and the mean of its outputs is the
    encoding. A second ConvLSTM unrolls it to the target's timepoints, and the decoder, conditioned on the target's
    one-hot code, makes the image. Only that last step sees the target, so the others can be shared by all targets:

    - :meth:`encode` once per source,
    - :meth:`recur` once per source and number of timepoints,
    - :meth:`render` once per target.

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
    def recur(self, features: torch.Tensor, timepoints: int) -> torch.Tensor:
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
    def render(
        self, recurred: torch.Tensor, target: torch.Tensor, spatial_size: list[int], runs: list[int] | None = None
    ) -> torch.Tensor:
        """Make the target's image from unrolled features.

        Args:
            recurred: ``(B, T, F, *reduced)`` from :meth:`recur`.
            target: one-hot codes ``(B, S)``, ``(1, S)`` for the whole batch, or ``(K, S)`` for K runs.
            spatial_size: spatial size of the source image, to which the result is cropped.
            runs: how many consecutive samples share each target, K numbers with the sum B; None for one each.

        Returns:
            Images ``(B, T, in_channels, *spatial_size)`` in the range of the output activation.

        Raises:
            ValueError: when the target's shape does not fit.
        """
        batch, timepoints = recurred.shape[:2]
        self._check_target(target, batch if runs is None else len(runs))
        if len(spatial_size) != self.spatial_dims:
            raise ValueError(f"spatial_size needs {self.spatial_dims} numbers, got {spatial_size}.")
        frames: list[int] | None = None
        if runs is not None:
            frames = [run * timepoints for run in runs]
        image = self.decoder(recurred.flatten(0, 1), target.to(recurred.dtype), frames).unflatten(
            0, (batch, timepoints)
        )
        for axis, size in enumerate(spatial_size):
            image = image.narrow(axis + 3, 0, size)
        return image

    @torch.jit.export
    def decode(
        self, features: torch.Tensor, target: torch.Tensor, timepoints: int, spatial_size: list[int]
    ) -> torch.Tensor:
        """Decode an encoding: :meth:`recur`, then :meth:`render`.

        Args:
            features: ``(B, F, *reduced)`` from :meth:`encode`.
            target: one-hot codes ``(B, S)``, or ``(1, S)`` for the whole batch.
            timepoints: number of timepoints T of the targets.
            spatial_size: spatial size of the source image, to which the result is cropped.

        Returns:
            Images ``(B, T, in_channels, *spatial_size)`` in the range of the output activation.
        """
        return self.render(self.recur(features, timepoints), target, spatial_size, None)

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
        output = self.decode(self.encode(image), target, timepoints, list(image.shape[3:]))
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
