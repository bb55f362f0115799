# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Imaging-differentiation maps of a whole data set of 2D images, computed once and kept on disk.

A folder belongs to the maps of one data set by one generator:

- ``maps.npy``: the maps ``[N, ΣT, X, Y, 1]``, to be memory-mapped;
- ``maps.json``: what they were made from. It is compared before the maps are used;
- ``unfinished.npy`` and ``unfinished.json`` while they are computed. An interrupted run goes on from there.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from seq2seq_mri.data.map_file import MapFile
from seq2seq_mri.inferers.differentiation import translated_differentiation_maps

if TYPE_CHECKING:
    from seq2seq_mri.inferers.slice_inferer import SliceTranslationInferer
    from seq2seq_mri.networks.translator import SequenceTranslator

__all__ = ["DifferentiationDataset", "cached_differentiation_maps", "generator_fingerprint"]


class DifferentiationDataset(Dataset):
    """A data set whose samples have their imaging-differentiation maps beside the image.

    Args:
        dataset: samples are dictionaries.
        maps: ``[N, ΣT, X, Y, 1]``, of all samples, from :func:`cached_differentiation_maps`.
        key: of the maps in a sample: float32 ``[ΣT, X, Y, 1]``, one channel for each channel of the image.
        transform: applied to a sample with its maps.

    Raises:
        ValueError: when there are more or fewer maps than samples.
    """

    def __init__(
        self, dataset: Dataset, maps: np.ndarray, key: str = "image_md", transform: Callable | None = None
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
        sample = {**self.dataset[index], self.key: torch.from_numpy(self.maps[index].astype(np.float32))}
        return sample if self.transform is None else self.transform(sample)

    def __getstate__(self) -> dict[str, Any]:
        # Pickled for a worker process, a memory map would be read into memory and copied.
        state = dict(self.__dict__)
        # Not of a part of a file, whose base is the whole.
        if isinstance(self.maps, np.memmap) and isinstance(self.maps.base, mmap.mmap):
            state["maps"] = Path(str(self.maps.filename))
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if isinstance(self.maps, Path):
            self.maps = np.load(self.maps, mmap_mode="r")


def cached_differentiation_maps(
    dataset: Dataset,
    generator: SequenceTranslator,
    folder: str | os.PathLike,
    inferer: SliceTranslationInferer,
    *,
    parameters: Mapping[str, Any] | None = None,
    dtype: str = "float16",
    chunk_size: int = 64,
    overwrite: bool = False,
    progress: bool = True,
) -> np.ndarray:
    """Return the imaging-differentiation maps M_d of all samples, computed now or read from an earlier time.

    Maps are read when the data set's parameters, its first image, the weights of the generator and the settings of the
    inferer are those they were made with. An unfinished computation is continued on the same condition.

    Args:
        dataset: complete samples with an ``image`` ``[ΣT, X, Y, 1]``, all of one size, without random transforms.
        generator: a network for single slices (``spatial_dims`` 2, ``in_channels`` 1), on the device to compute on.
        folder: where the maps are; made when absent.
        inferer: translates many samples as the slices of one volume. Its ``include_self`` says whether the mean of
            Eq. 5 takes the target's reconstruction from itself, as in the paper.
        parameters: what the samples depend on, to be written as JSON; default: the data set's own ``parameters``.
        dtype: of the file, ``"float16"`` or ``"float32"``.
        chunk_size: number of samples that are computed, and written, together.
        overwrite: whether maps made from something else are replaced, or refused.
        progress: whether to show a progress bar.

    Returns:
        Memory map ``[N, ΣT, X, Y, 1]``, read-only: the M_d of each image, see
        :func:`~seq2seq_mri.analysis.differentiation.differentiation_map`, in units of its intensity.

    Raises:
        ValueError: when the folder has maps made from something else and ``overwrite`` is false, when a sample or the
            generator does not fit, or the parameters are unknown.
        OSError: when the disc is full.

    Example:
        >>> training = AlphabetDataset("training", size=9000)  # doctest: +SKIP
        >>> maps = cached_differentiation_maps(
        ...     training, generator, "maps/training", SliceTranslationInferer(slice_batch_size=32)
        ... )  # doctest: +SKIP
        >>> DifferentiationDataset(training, maps)[12]["image_md"].shape  # doctest: +SKIP
        torch.Size([2, 128, 128, 1])
    """
    if dtype not in ("float16", "float32"):
        raise ValueError(f"The dtype of differentiation maps is '{dtype}'; choose float16 or float32.")
    if chunk_size < 1:
        raise ValueError(f"chunk_size is {chunk_size}; give at least 1.")
    if generator.spatial_dims != 2 or generator.in_channels != 1:
        raise ValueError(
            f"The generator has spatial_dims {generator.spatial_dims} and in_channels {generator.in_channels}; a cache "
            "of single images needs 2 and 1."
        )
    count = _length(dataset)
    if count == 0:
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
    }
    file = MapFile(folder, (count, *first.shape), dtype, origin, overwrite)
    if file.is_finished:
        return file.read()
    start = file.rows_written()
    with tqdm(total=count, initial=start, desc="M_d", unit="subject", disable=not progress) as bar:
        for begin in range(start, count, chunk_size):
            indices = range(begin, min(begin + chunk_size, count))
            images = torch.stack([_image(dataset, index, first.shape, generator) for index in indices])
            file.append(_maps(images, generator, inferer).numpy())
            bar.update(len(indices))
    file.finish()
    return file.read()


@torch.no_grad()
def generator_fingerprint(generator: torch.nn.Module) -> str:
    """Return a hash of the names, shapes, types and values of a network's weights; the device makes no difference."""
    digest = hashlib.sha256()
    for name, weight in generator.state_dict().items():
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}\n".encode())
        # As bytes: numpy has no bfloat16.
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _maps(images: torch.Tensor, generator: SequenceTranslator, inferer: SliceTranslationInferer) -> torch.Tensor:
    """Return the maps ``[N, ΣT, X, Y, 1]`` of images of the same shape."""
    volume = images[..., 0].permute(1, 2, 3, 0)  # each image becomes a slice
    maps = translated_differentiation_maps(volume, generator, inferer, include_self=inferer.include_self)
    return maps.permute(3, 0, 1, 2)[..., None]


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
