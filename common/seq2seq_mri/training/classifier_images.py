# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Data sets of a classifier: chosen channels of images and maps that were made before, with each subject's label."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from torch.utils.data import Dataset

__all__ = ["ClassifierImages", "SampleLookup"]


class _Samples(Protocol):
    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> dict[str, Any]: ...


class SampleLookup(Mapping[str, dict[str, Any]]):
    """The samples of data sets by the name of their subject.

    Args:
        datasets: their items are dictionaries with ``subject``. One that has the attribute ``subjects``, a name for
            each item, is not loaded to see the names.

    Raises:
        ValueError: when two items have the same subject.
    """

    def __init__(self, *datasets: _Samples) -> None:
        self._places: dict[str, tuple[_Samples, int]] = {}
        for dataset in datasets:
            names = getattr(dataset, "subjects", None) or [dataset[index]["subject"] for index in range(len(dataset))]
            for index, name in enumerate(names):
                if name in self._places:
                    raise ValueError(f"Subject {name} stands twice among the samples of the classifier.")
                self._places[name] = (dataset, index)

    def __getitem__(self, subject: str) -> dict[str, Any]:
        dataset, index = self._places[subject]
        return dataset[index]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class ClassifierImages(Dataset):
    """Images with labels, to train a classifier or to measure it.

    An item is ``subject``, ``image`` ``[C, *spatial]`` and, where it is known, ``label``.

    Args:
        entries: a datalist's entries with ``subject`` and, where it is known, ``label``, a whole number.
        samples: for each of these subjects its images, and maps if they are chosen; see :class:`SampleLookup`.
        transform: makes ``image`` ``[C, *spatial]`` of a sample, for example :class:`SelectChannelsd`.

    Raises:
        ValueError: when a subject has no sample.
    """

    def __init__(
        self,
        entries: Sequence[Mapping[str, Any]],
        samples: Mapping[str, Mapping[str, Any]],
        transform: Callable[..., Mapping],
    ) -> None:
        self.entries = list(entries)
        self.samples = samples
        self.transform = transform
        absent = [entry["subject"] for entry in self.entries if entry["subject"] not in samples]
        if absent:
            raise ValueError(f"{len(absent)} subjects have no images for the classifier, {absent[0]} for example.")

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> dict[str, Any]:
        entry = self.entries[index]
        sample = self.transform(self.samples[entry["subject"]])
        label = {"label": entry["label"]} if "label" in entry else {}
        return {"subject": entry["subject"], "image": sample["image"], **label}

    @property
    def subjects(self) -> list[str]:
        """Names of the subjects."""
        return [entry["subject"] for entry in self.entries]

    @property
    def labels(self) -> np.ndarray:
        """Their labels, int64 ``[N]``."""
        return np.array([entry["label"] for entry in self.entries], dtype=np.int64)
