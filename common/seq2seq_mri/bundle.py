# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Finding the bundle whose configuration is being run."""

from __future__ import annotations

import json
import sys
from pathlib import Path

__all__ = ["find_bundle_root"]


def find_bundle_root(name: str) -> str:
    """Return the folder of the bundle ``name``, so that a configuration works from any working directory.

    ``python -m monai.bundle run`` puts the root of the bundle that it runs on ``sys.path``; the working directory and
    its ``bundles/<name>`` are looked at too.

    Args:
        name: the ``name`` in the bundle's ``configs/metadata.json``.

    Raises:
        FileNotFoundError: when no such bundle is found; pass ``--bundle_root`` then.
    """
    for folder in [Path.cwd(), Path.cwd() / "bundles" / name, *map(Path, sys.path)]:
        metadata = folder / "configs" / "metadata.json"
        if metadata.is_file():
            content = json.loads(metadata.read_text(encoding="utf-8"))
            if content.get("name") == name:
                return str(folder)
    raise FileNotFoundError(f"The bundle {name} was not found; give its folder by --bundle_root.")
