# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The alphabet data set with imaging-differentiation maps M_d, which are computed once and kept on disk.

They are :class:`PreparedSubjects`, of which each one is many images, laid on each other like the slices of a volume.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping

import torch
from torch.utils.data import Dataset

from seq2seq_mri.inference.differentiation_maps import translated_differentiation_maps
from seq2seq_mri.inference.generator_bundle import generator_fingerprint
from seq2seq_mri.inference.slice_inferer import SliceTranslationInferer
from seq2seq_mri.networks.generator import SequenceTranslator
from seq2seq_mri.training.prepared_subjects import PreparedSubjects
from seq2seq_studies.alphabet.alphabet import AlphabetDataset

__all__ = ["DifferentiationDataset"]


class DifferentiationDataset(Dataset):
    """The samples of the alphabet data set with their maps M_d, computed now or read from an earlier time.

    A sample's ``differentiation`` is float32 ``[2, X, Y, 1]``, in units of the intensity, rounded to half precision.
    Maps are read when the data set's parameters, its first image, the weights of the generator and the settings of the
    inferer are those they were made with. An unfinished computation is continued on the same condition.

    Args:
        dataset: the samples.
        generator: of their two images, on the device to compute on.
        folder: where the maps are; made when absent.
        inferer: translates many samples as the slices of one volume. Its ``include_self`` says whether the mean of
            Eq. 5 takes the target's reconstruction from itself, as in the paper.
        chunk_size: number of samples that are computed, and written, together.

    Raises:
        ValueError: when the folder has maps made from something else.
    """

    def __init__(
        self,
        dataset: AlphabetDataset,
        generator: SequenceTranslator,
        folder: str | os.PathLike,
        inferer: SliceTranslationInferer,
        chunk_size: int = 64,
    ) -> None:
        self.dataset = dataset
        self.chunk_size = chunk_size
        first = (dataset[0]["image"] * 255).round().to(torch.uint8)
        origin = {
            "dataset": dataset.parameters,
            "first_image": hashlib.sha256(first.numpy().tobytes()).hexdigest(),
            "generator": generator_fingerprint(generator),
            "sequences": dict(generator.sequences),
            "include_self": inferer.include_self,
            "output_range": None if inferer.output_range is None else list(inferer.output_range),
            "computed_in": str(inferer.prepare.dtype or next(generator.parameters()).dtype).removeprefix("torch."),
            "chunk_size": chunk_size,
        }

        def maps(chunk: Mapping[str, str]) -> dict[str, torch.Tensor]:
            begin = int(chunk["subject"])
            # Each image becomes a slice.
            images = [dataset[index]["image"] for index in range(begin, min(begin + chunk_size, len(dataset)))]
            volume = torch.cat(images, dim=-1)
            computed = translated_differentiation_maps(volume, generator, inferer, include_self=inferer.include_self)
            return {"image": computed, "available": torch.ones(len(generator.sequences), dtype=torch.bool)}

        chunks = [{"subject": f"{begin:08d}"} for begin in range(0, len(dataset), chunk_size)]
        self.chunks = PreparedSubjects(chunks, maps, folder, origin, differentiation=False)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, object]:
        sample = self.dataset[index]
        chunk, place = divmod(range(len(self))[index], self.chunk_size)
        maps = torch.from_numpy(self.chunks.stored(chunk)["image"].read(place, place + 1))
        return {**sample, "differentiation": maps[0, ..., None].to(torch.float32)}
