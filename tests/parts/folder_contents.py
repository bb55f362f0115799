# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""All that a folder holds, to be compared with what it held before or what another one holds."""

from __future__ import annotations

from pathlib import Path


def folder_contents(folder: Path) -> dict[str, bytes]:
    """Return the contents of all files below a folder, by their paths within it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
