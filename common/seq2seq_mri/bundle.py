# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Finds a bundle's folder for its configuration, and has a run that fails print the cause last."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import TracebackType

from seq2seq_mri.options import check_options

__all__ = ["begin", "explain_errors", "find_bundle_root"]


def find_bundle_root(name: str) -> str:
    """Return the folder of the bundle ``name``, so that a configuration works from any working directory.

    ``python -m monai.bundle run`` puts the root of the bundle that it runs on ``sys.path``, which is therefore looked
    at first; then the working directory and its ``bundles/<name>``.

    Args:
        name: the ``name`` in the bundle's ``configs/metadata.json``.

    Raises:
        FileNotFoundError: when no such bundle is found; pass ``--bundle_root`` then.
    """
    for folder in [*map(Path, sys.path), Path.cwd(), Path.cwd() / "bundles" / name]:
        if _bundle_name(folder / "configs" / "metadata.json") == name:
            return str(folder.absolute())
    raise FileNotFoundError(f"The bundle {name} was not found; give its folder by --bundle_root.")


def _bundle_name(metadata: Path) -> str | None:
    """Return the name in a bundle's metadata, or ``None`` for a file that is absent or something else."""
    try:
        content = json.loads(metadata.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content.get("name") if isinstance(content, dict) else None


def begin() -> None:
    """Do what every run of a bundle begins with: from now on errors are explained, and the options are checked.

    Raises:
        ValueError: when an option is unknown or its value cannot be.
    """
    explain_errors()
    check_options()


def explain_errors() -> None:
    """Make a program that ends in an error say last what was wrong.

    MONAI's config parser wraps an error into ``RuntimeError: Failed to evaluate ...``, once for each part of the
    configuration that led to it, and Python prints these after the one that matters. From now on the message of that
    one is repeated at the end, behind the traceback.
    """
    sys.excepthook = _explain


def _explain(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.__excepthook__(kind, error, trace)
    origin = error
    while isinstance(origin, RuntimeError) and origin.__cause__ is not None:
        origin = origin.__cause__
    if origin is not error:
        print(f"\nError: {origin}", file=sys.stderr)
