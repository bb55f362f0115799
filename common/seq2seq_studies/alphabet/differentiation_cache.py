# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Imaging-differentiation maps of a whole data set of 2D images, computed once and kept on disk.

They are :class:`PreparedSubjects`, of which each one is many images, laid on each
other like the slices of a volume.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import Dataset

from seq2seq_mri.inference.differentiation_maps import translated_differentiation_maps
from seq2seq_mri.inference.generator_bundle import generator_fingerprint
from seq2seq_mri.training.prepared_subjects import PreparedSubjects

if TYPE_CHECKING:
    from seq2seq_mri.inference.slice_inferer import SliceTranslationInferer
    from seq2seq_mri.networks.generator import SequenceTranslator

__all__ = ["DifferentiationDataset", "DifferentiationMaps"]


class DifferentiationDataset(Dataset):
    """A data set whose samples have their imaging-differentiation maps beside the image.

    Args:
        dataset: samples are dictionaries.
        maps: of all samples.
        key: of the maps in a sample: float32 ``[ΣT, X, Y, 1]``, one channel for each channel of the image.
        transform: applied to a sample with its maps.

    Raises:
        ValueError: when there are more or fewer maps than samples.
    """

    def __init__(
        self, dataset: Dataset, maps: DifferentiationMaps, key: str = "image_md", transform: Callable | None = None
    ) -> None:
        if len(maps) != _length(dataset):
            raise ValueError(f"There are {len(maps)} differentiation maps for {_length(dataset)} samples.")
        self.dataset = dataset
        self.maps = maps
        self.key = key
        self.transform = transform

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, index: int) -> Any:
        """Return a sample of the data set, and its maps, or what the transform makes of it."""
        sample = {**self.dataset[index], self.key: self.maps[index]}
        return sample if self.transform is None else self.transform(sample)


class DifferentiationMaps(Dataset):
    """The imaging-differentiation maps M_d of all samples, computed now or read from an earlier time.

    Maps are read when the data set's parameters, its first image, the weights of the generator and the settings of the
    inferer are those they were made with. An unfinished computation is continued on the same condition.

    Args:
        dataset: complete samples with an ``image`` ``[ΣT, X, Y, 1]``, all of one size, without random transforms.
        generator: a network for single slices (``spatial_dims`` 2, ``in_channels`` 1), on the device to compute on.
        folder: where the maps are; made when absent.
        inferer: translates many samples as the slices of one volume. Its ``include_self`` says whether the mean of
            Eq. 5 takes the target's reconstruction from itself, as in the paper.
        parameters: what the samples depend on, to be written as JSON; default: the data set's own ``parameters``.
        chunk_size: number of samples that are computed, and written, together.
        overwrite: whether maps made from something else are replaced, or refused.
        progress: whether to show a progress bar.

    Raises:
        ValueError: when the folder has maps made from something else and ``overwrite`` is false, when a sample or the
            generator does not fit, or the parameters are unknown.
        OSError: when the disc is full.

    Example:
        >>> training = AlphabetDataset("training", size=9000)  # doctest: +SKIP
        >>> maps = DifferentiationMaps(
        ...     training, generator, "maps/training", SliceTranslationInferer(slice_batch_size=32)
        ... )  # doctest: +SKIP
        >>> DifferentiationDataset(training, maps)[12]["image_md"].shape  # doctest: +SKIP
        torch.Size([2, 128, 128, 1])
    """

    def __init__(
        self,
        dataset: Dataset,
        generator: SequenceTranslator,
        folder: str | os.PathLike,
        inferer: SliceTranslationInferer,
        *,
        parameters: Mapping[str, Any] | None = None,
        chunk_size: int = 64,
        overwrite: bool = False,
        progress: bool = True,
    ) -> None:
        if chunk_size < 1:
            raise ValueError(f"chunk_size is {chunk_size}; give at least 1.")
        if generator.spatial_dims != 2 or generator.in_channels != 1:
            raise ValueError(
                f"The generator has spatial_dims {generator.spatial_dims} and in_channels {generator.in_channels}; "
                "maps of single images need 2 and 1."
            )
        self.count = _length(dataset)
        self.chunk_size = chunk_size
        if self.count == 0:
            raise ValueError("The data set has no samples to compute differentiation maps of.")
        first = _image(dataset, 0, None, generator)
        origin = {
            "dataset": dict(_parameters(dataset) if parameters is None else parameters),
            "first_image": hashlib.sha256((first * 255).round().to(torch.uint8).numpy().tobytes()).hexdigest(),
            "generator": generator_fingerprint(generator),
            "sequences": dict(generator.sequences),
            "include_self": inferer.include_self,
            "output_range": None if inferer.output_range is None else list(inferer.output_range),
            "computed_in": str(inferer.prepare.dtype or next(generator.parameters()).dtype).removeprefix("torch."),
            "chunk_size": chunk_size,
        }

        def maps(chunk: Mapping[str, Any]) -> dict[str, Any]:
            begin = int(chunk["subject"])
            indices = range(begin, min(begin + chunk_size, self.count))
            # Each image becomes a slice.
            volume = torch.cat([_image(dataset, index, first.shape, generator) for index in indices], dim=-1)
            computed = translated_differentiation_maps(volume, generator, inferer, include_self=inferer.include_self)
            return {"image": computed, "available": torch.ones(len(generator.sequences), dtype=torch.bool)}

        chunks = [{"subject": f"{begin:08d}"} for begin in range(0, self.count, chunk_size)]
        self.chunks = PreparedSubjects(
            chunks, maps, folder, origin, differentiation=False, overwrite=overwrite, progress=progress
        )

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> torch.Tensor:
        """Return the maps of a sample, float32 ``[ΣT, X, Y, 1]``.

        They are :func:`differentiation_map` of its image, in units of its
        intensity, rounded to half precision.
        """
        chunk, place = divmod(range(self.count)[index], self.chunk_size)
        image = self.chunks.stored(chunk)["image"].read(place, place + 1)
        return torch.from_numpy(image)[0, ..., None].to(torch.float32)


def _image(dataset: Dataset, index: int, shape: torch.Size | None, generator: SequenceTranslator) -> torch.Tensor:
    """Return the image of a sample after checking it; ``shape`` is that of the others, if already known."""
    sample = dataset[index]
    name, image = sample.get("subject", index), torch.as_tensor(sample["image"], dtype=torch.float32)
    channels = sum(generator.sequences.values())
    if image.ndim != 4 or image.shape[0] != channels or image.shape[3] != 1:
        raise ValueError(
            f"The image of {name} has shape {tuple(image.shape)}; ({channels}, X, Y, 1) is needed, one channel per "
            f"timepoint of {', '.join(generator.sequences)}."
        )
    if shape is not None and image.shape != shape:
        raise ValueError(f"The image of {name} has shape {tuple(image.shape)}, but that of others is {tuple(shape)}.")
    if not bool(torch.as_tensor(sample.get("available", True)).all()):
        raise ValueError(f"{name} lacks a sequence; differentiation maps are cached for complete samples only.")
    return image.as_subclass(torch.Tensor).cpu()


def _parameters(dataset: Dataset) -> Mapping[str, Any]:
    parameters = getattr(dataset, "parameters", None)
    if not isinstance(parameters, Mapping):
        raise ValueError(
            f"What a {type(dataset).__name__} depends on is unknown; give parameters, by which to recognise its maps."
        )
    return parameters


def _length(dataset: Dataset) -> int:
    return len(dataset)  # type: ignore[arg-type]
