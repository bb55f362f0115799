# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""``models/model_info.json``, from which ``monai.bundle download --source github`` takes the versions that exist."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from seq2seq_mri.files import atomic_path

__all__ = ["file_hash", "read_model_info", "update_model_info", "write_model_info"]


def file_hash(path: Path, kind: str = "sha1") -> str:
    """Return the hash of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest() if hasattr(hashlib, "file_digest") else _digest(path, kind)


def _digest(path: Path, kind: str) -> str:
    return hashlib.new(kind, path.read_bytes()).hexdigest()  # Python 3.10


def read_model_info(path: Path) -> dict[str, dict[str, str]]:
    """Read the list; an absent one is empty.

    Raises:
        ValueError: when the file is something else.
    """
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}).") from error
    if not isinstance(content, dict) or not all(isinstance(entry, dict) for entry in content.values()):
        raise ValueError(f"{path} is not a list of releases: it must map NAME_vX.Y.Z to checksum and source.")
    return content


def update_model_info(
    content: Mapping[str, dict[str, str]], archives: Mapping[str, Path], source: str, path: Path, overwrite: bool
) -> dict[str, dict[str, str]]:
    """Return ``content`` with an entry for each archive, in place of those of other versions of the same bundle.

    MONAI takes the version that sorts last as text for the latest (0.9.0 after 0.10.0), and looks for it among the
    files of the tag from which it has read the list. A tagged list therefore has one version of a bundle: its own.

    Args:
        content: the list.
        archives: files by ``NAME_vX.Y.Z``.
        source: address of the folder from which they can be downloaded.
        path: of the list, for messages.
        overwrite: whether the entry of a version may change.

    Raises:
        FileExistsError: when a version is listed with another checksum or address, and ``overwrite`` is false.
    """
    updated = dict(content)
    for key, archive in archives.items():
        entry = {"checksum": file_hash(archive), "source": f"{source.rstrip('/')}/{key}.zip"}
        if not overwrite and updated.get(key, entry) != entry:
            raise FileExistsError(
                f"{path} lists {key} with another checksum or source: what is published must not change. Give it a "
                "new version in configs/metadata.json, or allow it by --overwrite."
            )
        name = key.rsplit("_v", 1)[0]
        updated = {other: value for other, value in updated.items() if other.rsplit("_v", 1)[0] != name}
        updated[key] = entry
    return dict(sorted(updated.items()))


def write_model_info(content: Mapping[str, dict[str, str]], path: Path) -> None:
    """Write the list."""
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")
