# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Translates volumes by a 2.5D generator, slice by slice."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from tqdm import tqdm

from seq2seq_mri.inference.activation_memory import activation_memory
from seq2seq_mri.inference.translation_inferer import Reduction, TranslationInferer, check_spatial_size
from seq2seq_mri.networks.generator import SequenceTranslator
from seq2seq_mri.transforms.slice_stack import slice_stacks

__all__ = ["SliceTranslationInferer"]

MEBIBYTE = 2**20
FLOAT_BYTES = 4
GATHERED_SHARE = 0.25  # of a GPU's free memory, the most that results may take


class SliceTranslationInferer(TranslationInferer):
    """Translate volumes through a generator with ``spatial_dims`` 2.

    The generator sees axial slices (along the last axis), each with its neighbours as channels, and the middle channel
    of its output is the result; slices that are background in all sources are passed over. MONAI's ``SliceInferer`` has
    no place for the target code and its own loop over sources, which is why this one exists.

    Args:
        slice_batch_size: number of slices that are translated together; the decoder's batch is this times the number
            of sources. By default 1 on a CPU, where more only leave its caches (measured), and 8 on other devices.
        memory_limit_mb: when given, the number of slices is chosen instead so that the tensors which a batch allocates
            stay below this many MiB (weights, inputs and results, and workspaces inside of an operation, not
            counted); at least one. Two small batches are run to measure it, once for each size of slices.
        options: those of :class:`TranslationInferer`.

    Raises:
        ValueError: when an argument cannot be used.

    Example:
        >>> from seq2seq_mri.networks.generator import Seq2SeqGenerator
        >>> generator = Seq2SeqGenerator(2, {"t1": 1, "t2": 1}, channels=(4, 8, 8), num_res_blocks=1)
        >>> image = torch.rand(1, 2, 17, 15, 6)
        >>> SliceTranslationInferer()(image, generator.eval(), sources=["t1"], targets=["t2"]).shape
        torch.Size([1, 1, 17, 15, 6])
    """

    spatial_dims = 2

    def __init__(
        self, slice_batch_size: int | None = None, memory_limit_mb: float | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        if slice_batch_size is not None and slice_batch_size < 1:
            raise ValueError(f"slice_batch_size is {slice_batch_size}; give at least 1.")
        if memory_limit_mb is not None and memory_limit_mb <= 0:
            raise ValueError(f"memory_limit_mb is {memory_limit_mb}; give a positive number of MiB.")
        self.slice_batch_size = slice_batch_size
        self.memory_limit_mb = memory_limit_mb
        self._measured: dict[tuple, int] = {}

    def translate_volume(
        self,
        volumes: Mapping[str, torch.Tensor],
        generator: SequenceTranslator,
        targets: Sequence[str],
        reduce: Reduction | None,
    ) -> torch.Tensor:
        """Translate; see :meth:`TranslationInferer.translate_volume`.

        Raises:
            ValueError: when the slices are too small for the generator.
        """
        shape = next(iter(volumes.values())).shape[1:]
        check_spatial_size(shape[:2], generator, "An axial slice")
        rows = sum(generator.sequences[target] for target in targets)
        layers = len(volumes) if reduce is None else 2
        device = next(generator.parameters()).device
        # Slices are written whole, so they come before the axes within a slice; the caller gets them as the last axis.
        size = (layers, rows, shape[2], *shape[:2])
        # What is not translated is empty in all sources, which the caller fills.
        slices_first = torch.empty(size, device=self._gathering_device(math.prod(size), device))
        result = slices_first.movedim(2, -1)
        filled = [(volume != self.background).flatten(0, 2).any(0).cpu() for volume in volumes.values()]
        slices = torch.nonzero(torch.stack(filled).any(0))[:, 0]
        if len(slices) == 0:
            return result
        batch_size = self._batch_size(volumes, generator, targets, reduce, device)
        with tqdm(total=len(slices), unit="slice", disable=not self.progress) as bar:
            for batch in slices.split(batch_size):
                images = self._images(volumes, batch, generator.in_channels)
                places = batch.to(slices_first.device, non_blocking=True)
                row = 0
                for values in self.translate_batch(images, generator, targets, reduce):
                    last = row + values.shape[2]
                    slices_first[:, row:last].index_copy_(2, places, values.transpose(1, 2).to(slices_first.device))
                    row = last
                bar.update(len(batch))
        return result

    def _gathering_device(self, values: int, device: torch.device) -> torch.device:
        """Return where results are gathered: on a GPU that has room for them, so that it waits for no copy."""
        if device.type != "cuda":
            return self.output_device
        free, _ = torch.cuda.mem_get_info(device)
        return device if values * FLOAT_BYTES < free * GATHERED_SHARE else self.output_device

    def _images(
        self, volumes: Mapping[str, torch.Tensor], slices: torch.Tensor, in_channels: int
    ) -> dict[str, torch.Tensor]:
        return {name: slice_stacks(volume, slices, in_channels) for name, volume in volumes.items()}

    def _batch_size(
        self,
        volumes: Mapping[str, torch.Tensor],
        generator: SequenceTranslator,
        targets: Sequence[str],
        reduce: Reduction | None,
        device: torch.device,
    ) -> int:
        if self.memory_limit_mb is None:
            return self.slice_batch_size or (1 if device.type == "cpu" else 8)
        size = sum(weight.nbytes for weight in generator.parameters())
        key = (size, self.include_self, *next(iter(volumes.values())).shape[1:3], *volumes, "to", *targets)
        if key not in self._measured:

            def run(count: int) -> None:
                images = self._images(volumes, torch.zeros(count, dtype=torch.long), generator.in_channels)
                for _ in self.translate_batch(images, generator, targets, reduce):
                    pass

            # What a batch needs has a part that does not depend on its size, such as the target's kernels.
            one, two = activation_memory(partial(run, 1)), activation_memory(partial(run, 2))
            room = self.memory_limit_mb * MEBIBYTE - one
            self._measured[key] = 1 + max(0, int(room // max(two - one, 1)))
        return self._measured[key]
