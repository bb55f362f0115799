# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The one interface of all methods that are compared: what is there goes in, every sequence comes out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import nn

from seq2seq_mri.sequences import check_sequences

__all__ = ["OUTPUT_LAYERS", "ManyToMany", "output_layer"]

OUTPUT_LAYERS: dict[str, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "relu": nn.ReLU,
    "none": nn.Identity,
}


def output_layer(name: str) -> nn.Module:
    """Return the last activation of a network.

    Args:
        name: ``"tanh"`` for values in (-1, 1), ``"sigmoid"`` for (0, 1), ``"relu"`` for values ≥ 0, or ``"none"``.

    Raises:
        ValueError: for another name.
    """
    if name not in OUTPUT_LAYERS:
        raise ValueError(f"Unknown output_activation '{name}'; use one of {', '.join(OUTPUT_LAYERS)}.")
    return OUTPUT_LAYERS[name]()


class ManyToMany(nn.Module, ABC):
    """A network that is given any of the sequences and completes the others.

    Whatever the method, three things hold: the content of a missing sequence's channels, which may be anything, is
    never read (they are set to 0, "zero imputation"); an available sequence is returned as it came; and the timepoints
    of a sequence are channels. A subclass writes :meth:`synthesise`.

    Args:
        spatial_dims: 2 or 3.
        sequences: the sequence table, name to number of timepoints.
        in_channels: channels of an image: 1, or the number of adjacent slices that are given to a network of two
            spatial dimensions.

    Raises:
        ValueError: when an argument cannot be used; the message names it.
    """

    def __init__(self, spatial_dims: int, sequences: Mapping[str, int], in_channels: int = 1) -> None:
        super().__init__()
        if spatial_dims not in (2, 3):
            raise ValueError(f"spatial_dims must be 2 or 3, got {spatial_dims}.")
        if in_channels < 1:
            raise ValueError(f"in_channels must be at least 1, got {in_channels}.")
        self.spatial_dims = spatial_dims
        self.sequences = check_sequences(sequences)
        self.timepoints = list(self.sequences.values())
        self.in_channels = in_channels

    @property
    def image_channels(self) -> int:
        """Number of channels of all timepoints of all sequences together."""
        return sum(self.timepoints) * self.in_channels

    @abstractmethod
    def synthesise(self, given: torch.Tensor, available: torch.Tensor) -> torch.Tensor:
        """Synthesise sequences from those that are available.

        Args:
            given: ``(B, ΣT, in_channels, *spatial)``, 0 where a sequence is missing.
            available: bool ``(B, S)``.

        Returns:
            Images of the shape of ``given``. What they hold of an available sequence is the method's own affair.
        """

    @torch.jit.export
    def predict(self, image: torch.Tensor, available: torch.Tensor) -> torch.Tensor:
        """Synthesise sequences, the available ones as well as far as the method does; for losses on these.

        Args:
            image: as of :meth:`forward`.
            available: as of :meth:`forward`.

        Returns:
            Images ``(B, ΣT, in_channels, *spatial)``: the network's output, nothing copied.

        Raises:
            ValueError: when a shape does not fit.
        """
        self._check(image, available)
        return self.synthesise(image.masked_fill(~self._of_timepoints(image, available), 0.0), available > 0)

    def forward(self, image: torch.Tensor, available: torch.Tensor) -> torch.Tensor:
        """Complete images.

        Args:
            image: ``(B, ΣT, in_channels, *spatial)``, the timepoints of all sequences in the table's order, as laid out
                by :func:`channel_slices`; any spatial size. Missing ones may hold anything.
            available: bool ``(B, S)``, which sequences each sample has. A sample that has none is synthesised from 0.

        Returns:
            Images of the shape of ``image``: available sequences as they came, the others synthesised, in the range of
            the output activation.

        Raises:
            ValueError: when a shape does not fit.
        """
        predicted = self.predict(image, available)
        return torch.where(self._of_timepoints(image, available), image, predicted)

    def _of_timepoints(self, image: torch.Tensor, available: torch.Tensor) -> torch.Tensor:
        """Return the mask ``(B, ΣT, 1, ...)`` of available timepoints, to be broadcast to ``image``."""
        columns = [available[:, index : index + 1].expand(-1, count) for index, count in enumerate(self.timepoints)]
        mask = torch.cat(columns, dim=1) > 0
        return mask.view([mask.shape[0], mask.shape[1]] + [1] * (image.dim() - 2))

    def _check(self, image: torch.Tensor, available: torch.Tensor) -> None:
        channels = [sum(self.timepoints), self.in_channels]
        if image.dim() != self.spatial_dims + 3 or list(image.shape[1:3]) != channels:
            raise ValueError(
                f"Images (batch, {channels[0]} timepoints, {channels[1]} channels, {self.spatial_dims} spatial "
                f"dimensions) are needed, got shape {list(image.shape)}."
            )
        if list(available.shape) != [image.shape[0], len(self.timepoints)]:
            raise ValueError(
                f"A mask of available sequences of shape [{image.shape[0]}, {len(self.timepoints)}] is needed, got "
                f"{list(available.shape)}."
            )
