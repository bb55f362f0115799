# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The interface of the methods that are compared, the paper's generator behind it, and their discriminator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from monai.networks.nets.patchgan_discriminator import PatchDiscriminator
from torch import nn

from seq2seq_mri.networks.generator import SequenceTranslator
from seq2seq_mri.sequences import check_sequences

__all__ = ["ConditionalDiscriminator", "ManyToMany", "MeanTranslation", "output_layer"]

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
    """

    def __init__(self, spatial_dims: int, sequences: Mapping[str, int], in_channels: int = 1) -> None:
        super().__init__()
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
        """Return the network's output, nothing copied, for losses; otherwise like :meth:`forward`."""
        return self.synthesise(image.masked_fill(~self.of_timepoints(image, available), 0.0), available > 0)

    def forward(self, image: torch.Tensor, available: torch.Tensor) -> torch.Tensor:
        """Complete images.

        Args:
            image: ``(B, ΣT, in_channels, *spatial)``, the timepoints of all sequences in the table's order, as laid out
                by :func:`channel_slices`; any spatial size. Missing ones may hold anything.
            available: bool ``(B, S)``, which sequences each sample has. A sample that has none is synthesised from 0.

        Returns:
            Images of the shape of ``image``: available sequences as they came, the others synthesised, in the range of
            the output activation.
        """
        predicted = self.predict(image, available)
        return torch.where(self.of_timepoints(image, available), image, predicted)

    def of_timepoints(self, image: torch.Tensor, available: torch.Tensor) -> torch.Tensor:
        """Return the mask ``(B, ΣT, 1, ...)`` of available timepoints, to be broadcast to ``image``."""
        columns = [available[:, index : index + 1].expand(-1, count) for index, count in enumerate(self.timepoints)]
        mask = torch.cat(columns, dim=1) > 0
        return mask.view([mask.shape[0], mask.shape[1]] + [1] * (image.dim() - 2))


class MeanTranslation(ManyToMany):
    """A missing sequence is the mean of its translations from the available ones.

    Each available sequence is encoded once, and decoded once into each sequence that a sample lacks.

    Args:
        generator: e.g. a :class:`Seq2SeqGenerator`; the weights are shared with it.

    Example:
        >>> from seq2seq_mri.networks.generator import Seq2SeqGenerator
        >>> generator = Seq2SeqGenerator(2, {"t1": 1, "dce": 4}, 1, channels=(4, 6, 8), num_res_blocks=1)
        >>> MeanTranslation(generator)(torch.rand(1, 5, 1, 21, 18), torch.tensor([[True, False]])).shape
        torch.Size([1, 5, 1, 21, 18])
    """

    def __init__(self, generator: SequenceTranslator) -> None:
        super().__init__(generator.spatial_dims, generator.sequences, generator.in_channels)
        self.generator = generator

    def synthesise(self, given: torch.Tensor, available: torch.Tensor) -> torch.Tensor:
        """Translate from every available sequence into every missing one; 0 for available sequences."""
        count = len(self.timepoints)
        codes = torch.eye(count, dtype=given.dtype, device=given.device)
        size = list(given.shape[3:])
        frames = given.split(self.timepoints, dim=1)
        images = [torch.zeros_like(sequence) for sequence in frames]
        weights = 1 / available.sum(1).clamp(min=1).to(given.dtype)
        for source in range(count):
            rows = torch.nonzero(available[:, source] & ~available.all(1))[:, 0]
            if len(rows) == 0:
                continue
            features = self.generator.encode(frames[source][rows])
            missing = ~available[rows]
            for timepoints in sorted(set(self.timepoints)):
                targets = [index for index in range(count) if self.timepoints[index] == timepoints]
                row, position = torch.nonzero(missing[:, targets], as_tuple=True)
                if len(row) == 0:
                    continue
                wanted = torch.tensor(targets, device=given.device)[position]
                unrolled = self.generator.unroll(features, timepoints)
                decoded = self.generator.decode(unrolled[row], codes[wanted], size)
                weighted = decoded * weights[rows[row]].view([-1] + [1] * (decoded.dim() - 1))
                for target in targets:
                    chosen = wanted == target
                    images[target] = images[target].index_add(0, rows[row[chosen]], weighted[chosen])
        return torch.cat(images, dim=1)


class ConditionalDiscriminator(nn.Module):
    """A patch discriminator of the channels of condition and image together.

    Source: Isola et al., "Image-to-image translation with conditional adversarial networks", CVPR 2017, section 3.2.2;
    three layers give its patches of 70 × 70 pixels. What the methods give it:

    - Pix2Pix (one for each pair): condition the source, image the target, one output;
    - MM-GAN: condition the measured image, image the completed one, an output for each sequence (the released code has
      one more halving);
    - ResViT: condition what the network was given, image the completed one, one output.

    Args:
        spatial_dims: 2 or 3.
        condition_channels, image_channels: channels of condition and image, all timepoints together.
        out_channels: number of scores of each patch.
        width: feature channels of the first layer; they double with each further layer.
        num_layers: number of layers after the first; all but the last of them halve the spatial size.

    Example:
        >>> discriminator = ConditionalDiscriminator(2, 1, 4, width=8, num_layers=2)
        >>> discriminator(torch.rand(1, 1, 1, 32, 32), torch.rand(1, 4, 1, 32, 32)).shape
        torch.Size([1, 1, 6, 6])
    """

    def __init__(
        self,
        spatial_dims: int,
        condition_channels: int,
        image_channels: int,
        out_channels: int = 1,
        width: int = 64,
        num_layers: int = 3,
    ) -> None:
        super().__init__()
        channels = condition_channels + image_channels
        self.network = PatchDiscriminator(spatial_dims, width, channels, out_channels, num_layers, norm="INSTANCE")

    def forward(self, condition: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """Return scores of overlapping patches ``(B, out_channels, *patches)``, without activation: high means real.

        Args:
            condition: ``(B, T, C, *spatial)``.
            image: ``(B, T', C', *spatial)``.
        """
        # PatchDiscriminator returns every layer's output; the last is the score.
        return self.network(torch.cat([condition.flatten(1, 2), image.flatten(1, 2)], dim=1))[-1]
