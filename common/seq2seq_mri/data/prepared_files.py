# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The files of one prepared subject: its images slice by slice, and a description of what they are.

``SUBJECT.KEY.npy`` is an image as float16 ``[Z, channels, X, Y]``: a slice with its neighbours, of all sequences, is
one contiguous piece. ``SUBJECT.json`` is written last and removed first, so that images with a description are whole.

Half precision has a relative error of at most 2^-11, and needs no scale that all who read it would have to know: on
intensities in [0, 1] of real brains the error is 88 dB below 1, where 8 bits give 59 and 16 bits 107 dB, and images are
compared at 20 to 40 dB. numpy's memory map is all that it takes: MONAI's PersistentDataset pickles whole subjects, and
blosc2 and zarr decompress whole chunks, to save a third of the disc.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seq2seq_mri.files import atomic_path

__all__ = ["PreparedFiles"]

# What damaged files, or files of something else, raise.
_UNREADABLE = (OSError, ValueError, TypeError, AttributeError, KeyError, EOFError)
FLAGS = ("available", "measured", "withheld")


@dataclass(frozen=True)
class PreparedFiles:
    """The files of a subject in a folder.

    Attributes:
        folder: where they are.
        subject: the subject's name.
    """

    folder: Path
    subject: str

    @property
    def description(self) -> Path:
        """The file that describes the others."""
        return self.folder / f"{self.subject}.json"

    def image(self, key: str) -> Path:
        """Return the file of an image."""
        return self.folder / f"{self.subject}.{key}.npy"

    def read_description(self) -> dict[str, Any] | None:
        """Return what :meth:`write` has written, or ``None`` where there is nothing, or not all.

        Returns:
            ``origin``, as it was given; ``bytes``, the size of each image's file; ``tissue``, see :meth:`write`; and
            the sample's flags.

        Raises:
            ValueError: when the file is damaged or something else.
        """
        if not self.description.exists():
            return None
        try:
            content = json.loads(self.description.read_text(encoding="utf-8"))
            whole = all(
                self.image(key).is_file() and self.image(key).stat().st_size == size
                for key, size in content["bytes"].items()
            )
            content["tissue"] = np.asarray(content["tissue"], dtype=np.int32)
            content["origin"]["settings"]["layout"]  # noqa: B018 -- whether it is there
        except _UNREADABLE as error:
            raise ValueError(
                f"{self.description} is no file of a prepared subject, or is damaged; remove it."
            ) from error
        return content if whole else None

    def write(self, images: Mapping[str, torch.Tensor], flags: Mapping[str, Any], origin: Mapping[str, Any]) -> int:
        """Write a subject, replacing files of an earlier time.

        The description counts, for each slice and channel of ``image``, the voxels above the image's background, which
        is its lowest value.

        Args:
            images: key → ``[channels, *spatial]``, finite in half precision.
            flags: of the sample; those of the sequences (``available``, …) are kept.
            origin: what the images were made from, to be written as JSON.

        Returns:
            the size of the images' files in bytes.

        Raises:
            OSError: when they cannot be written; the message names the file.
        """
        # From here on until all is written the subject counts as not prepared.
        self.description.unlink(missing_ok=True)
        for key, image in images.items():
            with atomic_path(self.image(key), overwrite=True) as temporary:
                np.save(temporary, image.movedim(-1, 0).contiguous().numpy())
        sizes = {key: self.image(key).stat().st_size for key in images}
        tissue = (images["image"] > images["image"].min()).movedim(-1, 0).flatten(2).sum(dim=2)
        content = {
            "origin": origin,
            "bytes": sizes,
            **{key: torch.as_tensor(flags[key]).tolist() for key in FLAGS if key in flags},
            "tissue": tissue.tolist(),
        }
        with atomic_path(self.description, overwrite=True) as temporary:
            temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")
        return sum(sizes.values())

    def open(self, key: str) -> np.ndarray:
        """Return an image, float16 ``[Z, channels, X, Y]``, mapped to memory: only what is used of it is read.

        Raises:
            ValueError: when the file is absent or damaged.
        """
        try:
            # Copied on writing, because torch warns of memory that may not be written.
            return np.load(self.image(key), mmap_mode="c")
        except _UNREADABLE as error:
            raise ValueError(
                f"{self.image(key)} cannot be read: {error}. Remove it to have it made again."
            ) from error
