# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Preparing subjects, in several processes: a transform's samples, checked and written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.utils import convert_to_tensor
from torch.utils.data import DataLoader, Dataset

from seq2seq_mri.training.prepared_files import PreparedFiles
from seq2seq_mri.training.subject_dataset import original_error

__all__ = ["Preparation"]


class Preparation(Dataset):
    """Prepares a subject when it is asked for, in whatever process that is.

    Args:
        entries: of the subjects.
        origins: of each, what its description says it was made from.
        transform: makes of an entry a sample.
        folder: where the files are written.
        keys: of the images that are stored, ``"image"`` first.
    """

    def __init__(
        self,
        entries: Sequence[Mapping[str, Any]],
        origins: Sequence[Mapping[str, Any]],
        transform: Callable,
        folder: Path,
        keys: Sequence[str],
    ) -> None:
        self.entries = entries
        self.origins = origins
        self.transform = transform
        self.folder = folder
        self.keys = keys

    def outcomes(self, pending: Sequence[int], num_workers: int) -> Iterator[tuple[int, int | str | OSError]]:
        """Yield index and outcome of each pending subject; the first one alone, by which to judge the others."""
        for index in pending if num_workers == 0 else pending[:1]:
            yield index, self[index]
        rest = pending[1:] if num_workers > 0 else []
        if rest:
            loader = DataLoader(
                self, batch_size=None, sampler=rest, num_workers=min(num_workers, len(rest)), collate_fn=_unchanged
            )
            yield from zip(rest, loader, strict=True)

    def __getitem__(self, index: int) -> int | str | OSError:
        """Prepare a subject.

        Returns:
            the size of its images in bytes; or what is wrong with it; or why nothing can be written.

        Raises:
            ValueError: when the transform does not make what is to be stored.
        """
        subject = str(self.entries[index]["subject"])
        try:
            sample = self.transform(dict(self.entries[index]))
        except Exception as error:
            reason = original_error(error)
            # What is wrong with a subject's data does not stop the others; anything else does.
            if not isinstance(reason, (ValueError, OSError)):
                raise
            return str(reason)
        images = _images(sample, subject, self.keys)
        try:
            return PreparedFiles(self.folder, subject).write(images, sample, self.origins[index])
        except OSError as error:
            return error


def _images(sample: Mapping[str, Any], subject: str, keys: Sequence[str]) -> dict[str, torch.Tensor]:
    """Return what is stored of a subject."""
    for key in (*keys, "available"):
        if key not in sample:
            raise ValueError(f"Subject '{subject}': the transforms make no '{key}', which has to be stored.")
    images = {key: convert_to_tensor(sample[key], dtype=torch.float16, device="cpu", track_meta=False) for key in keys}
    for key, image in images.items():
        if image.shape != images["image"].shape:
            raise ValueError(
                f"Subject '{subject}': '{key}' has shape {tuple(image.shape)}, the image "
                f"{tuple(images['image'].shape)}; apply every spatial transform to both."
            )
        if not bool(torch.isfinite(image).all()):
            raise ValueError(
                f"Subject '{subject}': '{key}' has values that are not finite in half precision; normalise the "
                "intensities."
            )
    return images


def _unchanged(outcome: Any) -> Any:
    return outcome
