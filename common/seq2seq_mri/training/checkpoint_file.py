# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Files of tensors and plain containers, written whole and read with errors that say what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from seq2seq_mri.files import atomic_path

__all__ = ["read_checkpoint", "write_checkpoint"]


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a file that ``torch.save`` wrote, tensors and plain containers only.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is not a checkpoint, or is truncated.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no checkpoint {path}; train first, or give the path of one.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the unpickler raise nearly anything
        raise ValueError(f"{path} cannot be read as a checkpoint; it is truncated or of another kind.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a checkpoint.")
    return content


def write_checkpoint(content: dict[str, Any], path: str | Path, overwrite: bool = False) -> None:
    """Write tensors and plain containers atomically, so that :func:`read_checkpoint` reads them."""
    # Into an open file: given a path, torch.save writes the temporary file's name into the archive.
    with atomic_path(path, overwrite=overwrite) as temporary, temporary.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            # torch's archive writer says only that it is at an unexpected position when the disc is full.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise
