# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Lists from which MONAI downloads: ``models/model_info.json`` of releases, ``large_files.yml`` of the model zoo."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import yaml

__all__ = ["file_hash", "model_zoo_form", "read_model_info", "update_model_info"]

#: Bytes from which a file is too large for the model zoo's repository.
LIMIT = 25 * 10**6

ModelInfo = dict[str, dict[str, str]]


def file_hash(path: Path, kind: str = "sha1") -> str:
    """Return the hash of a file, in hexadecimal digits."""
    return hashlib.new(kind, path.read_bytes()).hexdigest()


def read_model_info(path: Path) -> ModelInfo:
    """Read the list of releases, ``{"NAME_vX.Y.Z": {"checksum": ..., "source": ...}}``; an absent one is empty.

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
    content: ModelInfo, archives: Mapping[str, Path], source: str, path: Path, overwrite: bool
) -> ModelInfo:
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


def model_zoo_form(
    files: Mapping[str, bytes | Path], key: str, source: str | None, limit: int = LIMIT
) -> tuple[dict[str, bytes | Path], dict[str, Path]]:
    """Divide a bundle into what the model zoo's repository takes and what has to be downloaded.

    Args:
        files: the bundle's files.
        key: ``NAME_vX.Y.Z``, with which the names of downloads begin.
        source: address of the folder where the downloads will be.
        limit: bytes from which a file is too large.

    Returns:
        the files that stay, with ``large_files.yml`` if there are others; and these others, by the name of their
        download. ``python -m monai.bundle download_large_files --bundle_path NAME`` brings them back.

    Raises:
        ValueError: when a file is too large and there is no ``source``.
    """
    kept = dict(files)
    downloads: dict[str, Path] = {}
    listed = []
    for name, content in files.items():
        if not isinstance(content, Path) or content.stat().st_size <= limit:
            continue
        if source is None:
            raise ValueError(
                f"{name} has {content.stat().st_size / 1e6:.1f} MB, too much for the model zoo's repository; say from "
                "where it can be downloaded by --source."
            )
        del kept[name]
        download = f"{key}_{content.name}"
        downloads[download] = content
        url, digest = f"{source.rstrip('/')}/{download}", file_hash(content, "sha256")
        listed.append({"path": name, "url": url, "hash_val": digest, "hash_type": "sha256"})
    if listed:
        kept["large_files.yml"] = yaml.safe_dump({"large_files": listed}, sort_keys=False).encode()
    return kept, downloads
