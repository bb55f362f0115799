# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""A data set of images with one label each, checked so that a bad one is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from monai.utils import convert_to_tensor
from torch.utils.data import Dataset

__all__ = ["LabelledImages"]


class LabelledImages(Dataset):
    """What a classifier is trained on: image, label and subject of each item of another data set, and nothing else.

    Args:
        dataset: its items are ``{"image": [C, *spatial], "label": whole number, "subject": name, ...}``. If it has the
            attributes ``labels`` and ``subjects`` (one for each item), these are taken; otherwise every item has to be
            loaded once to see them.
        num_classes: 1 for a binary task (labels 0 and 1), else the number of classes.
        name: of the data set, for error messages.
        need_labels: whether an item must have a label; where it need not, items have only image and subject.

    Raises:
        ValueError: when the data set is empty.
    """

    def __init__(self, dataset: Any, num_classes: int = 1, name: str = "training", need_labels: bool = True) -> None:
        if len(dataset) == 0:
            raise ValueError(f"The {name} data set is empty; a classifier needs at least one subject in it.")
        self.dataset = dataset
        self.need_labels = need_labels
        self.num_classes = num_classes
        self.name = name
        self._shape: tuple[int, ...] | None = None
        self._labels: np.ndarray | None = None
        self._subjects: list[str] | None = None

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return ``image`` (float32 ``[C, *spatial]``, a plain tensor), ``label`` (int64 scalar) and ``subject``.

        Raises:
            ValueError: when the image has a value that is not finite or another shape than those before, or the label
                is missing or none of the classes.
        """
        item = self.dataset[index]
        subject = str(item.get("subject", index))
        image = convert_to_tensor(item["image"], dtype=torch.float32, track_meta=False)
        if not bool(torch.isfinite(image).all()):
            raise ValueError(f"Subject '{subject}': the image has values that are not finite; check its file.")
        self._shape = self._shape or tuple(image.shape)
        if tuple(image.shape) != self._shape:
            raise ValueError(
                f"Subject '{subject}': the image has shape {tuple(image.shape)}, others {self._shape}; crop or pad all "
                "to one size."
            )
        label = {"label": torch.tensor(self._checked_label(item, subject))} if self.need_labels else {}
        return {"image": image, **label, "subject": subject}

    @property
    def labels(self) -> np.ndarray:
        """Labels of all items, int64 ``[N]``."""
        self._look()
        if self._labels is None:
            raise ValueError(f"The {self.name} data set has no labels.")
        return self._labels

    @property
    def subjects(self) -> list[str]:
        """Names of all items' subjects."""
        self._look()
        return self._subjects or []

    def _look(self) -> None:
        if self._labels is not None:
            return
        if hasattr(self.dataset, "labels") and hasattr(self.dataset, "subjects"):
            pairs = zip(self.dataset.subjects, self.dataset.labels, strict=True)
            items: Any = ({"subject": subject, "label": label} for subject, label in pairs)
        else:
            items = (self.dataset[index] for index in range(len(self)))
        subjects, labels = [], []
        for index, item in enumerate(items):
            subjects.append(str(item.get("subject", index)))
            labels.append(self._checked_label(item, subjects[-1]))
        self._subjects, self._labels = subjects, np.asarray(labels, dtype=np.int64)

    def _checked_label(self, item: Any, subject: str) -> int:
        count = max(2, self.num_classes)
        try:
            label = np.asarray(item.get("label", np.nan), dtype=np.float64)
        except (TypeError, ValueError):  # a text, for example
            label = np.asarray(np.nan)
        if label.size != 1 or float(label.reshape(())) not in range(count):
            raise ValueError(
                f"Subject '{subject}': the label is {item.get('label')!r}; it must be a whole number from 0 to "
                f"{count - 1}."
            )
        return int(label.reshape(()))
