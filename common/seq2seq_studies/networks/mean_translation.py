# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The paper's generator behind the interface of the methods that it is compared with."""

from __future__ import annotations

import torch

from seq2seq_mri.networks.generator import SequenceTranslator
from seq2seq_studies.networks.many_to_many import ManyToMany

__all__ = ["MeanTranslation"]


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
        """Translate from every available sequence into every missing one; see :meth:`ManyToMany.synthesise`.

        Returns:
            Images of the shape of ``given``, 0 for available sequences.
        """
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
