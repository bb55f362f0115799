# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The form in which MONAI's model zoo takes a bundle: files above 25 MB are listed in ``large_files.yml`` instead."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

from tools.model_info import file_hash

__all__ = ["LIMIT", "model_zoo_form"]

LIMIT = 25 * 10**6


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
        download = f"{key}_{Path(name).name}"
        downloads[download] = content
        listed.append(
            {
                "path": name,
                "url": f"{source.rstrip('/')}/{download}",
                "hash_val": file_hash(content, "sha256"),
                "hash_type": "sha256",
            }
        )
    if listed:
        kept["large_files.yml"] = yaml.safe_dump({"large_files": listed}, sort_keys=False).encode()
    return kept, downloads
